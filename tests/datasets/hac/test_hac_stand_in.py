"""The made-up stand-in of HAC, and the download."""

import json
from pathlib import Path

import pytest
import soundfile
from support_hac import ALL, command, recorded

from benchmark import run
from datasets import hac, hac_files
from datasets.media import fabricate
from mmdg_common import UsageError


def test_stand_in_has_the_layout_of_the_real_one(stand_in: Path) -> None:
    assert (stand_in / fabricate.MARKER).is_file()
    for domain in hac.Hac.card.domains:
        for part in ("train", "test"):
            content = hac_files.split_file(stand_in, domain, part).read_bytes()
            assert content.count(b"\r\n") == 7
            assert content.endswith(b"\r\n")
        folder = stand_in / domain
        assert len(list((folder / "videos").glob("*.mp4"))) == 14
        assert len(list((folder / "flow").glob("*_flow_[xy].mp4"))) == 28
        assert len(list((folder / "audio").glob("*.wav"))) == 14
    assert soundfile.info(stand_in / "human" / "audio" / "eating_0.wav").samplerate == 16000


def test_fabricating_takes_two_clips_and_a_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        hac.Hac.fabricate(tmp_path / "new", 1)
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="other files"):
        hac.Hac.fabricate(tmp_path, 4)


def test_download_without_split_files_says_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hac.hub, "fetch", lambda repository, root, without: (root / "human").mkdir()
    )
    with pytest.raises(UsageError, match=r"no HAC_Splits and no animal and no cartoon .*SimMMDG"):
        hac.Hac.download(tmp_path)


def test_stand_in_runs_end_to_end(
    stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(command(stand_in, tmp_path)) == 0, capsys.readouterr()
    (result,) = recorded(tmp_path).values()
    target = result["rules"]["best-val"]["target"]
    assert target["n"] == 14
    assert set(target["modalities"]) == set(ALL)
    specs = [json.loads(p.read_text()) for p in tmp_path.rglob("spec.json")]
    assert all(spec["fabricated"] for spec in specs)
