"""The sound of EPIC-Kitchens, which `datasets.prepare` fetches."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import datasets
from datasets.media.published import EPIC_SOUND, REPOSITORY
from mmdg_common import UsageError


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("epic") / "data"
    datasets.get("epic_kitchens").fabricate(root, 2)
    return root


def packed(stand_in: Path, root: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the data without its sound, and let the Hub have that in an archive."""
    shutil.copytree(stand_in, root, ignore=shutil.ignore_patterns("*.wav"))

    def hub(repository: str, *, local_dir: Path, allow_patterns: str, **_: Any) -> None:
        assert (repository, allow_patterns) == (REPOSITORY, EPIC_SOUND)
        with zipfile.ZipFile(local_dir / EPIC_SOUND, "w") as archive:
            for file in sorted(stand_in.rglob("*.wav")):
                archive.write(file, f"{prefix}{file.relative_to(stand_in / 'rgb')}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)


@pytest.mark.parametrize("prefix", ["", "rgb/", "EPIC-KITCHENS-audio/", "EPIC-KITCHENS-audio/rgb/"])
def test_the_sound_is_read_where_it_is_unpacked(
    stand_in: Path, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "epic"
    packed(stand_in, root, prefix, monkeypatch)
    epic = datasets.get("epic_kitchens")
    epic.download(root)
    whole, downloaded = (datasets.create("epic_kitchens", r) for r in (stand_in, root))
    assert downloaded.fingerprint(["audio"]) == whole.fingerprint(["audio"])
    sample = whole.samples("D1", "val")[0]
    pair = [d.load(sample, ["audio"], None)["audio"] for d in (whole, downloaded)]
    assert pair[0].equal(pair[1])


def test_sound_in_another_form_is_an_error_that_says_where_it_belongs(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(stand_in, tmp_path / "epic", "some/other/place/", monkeypatch)
    with pytest.raises(UsageError, match=r"PART/DOMAIN/VIDEO\.wav.*EPIC-KITCHENS-audio.*epic/rgb"):
        datasets.get("epic_kitchens").download(tmp_path / "epic")
