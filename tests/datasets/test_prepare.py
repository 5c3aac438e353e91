"""`python -m datasets.prepare`."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, serving
from torch import Tensor

import datasets
from benchmark import backbones
from benchmark.backbones.official import Checkpoint
from datasets.base import Card, ModalitySpec, MultimodalDataset, Recipe, Role, Sample
from datasets.prepare import main
from mmdg_common import UsageError


class Tiny(MultimodalDataset):
    """A dataset on disk: `a` and `b` hold one empty file per recording, named by its class."""

    card = Card(
        name="tiny",
        modalities=(ModalitySpec("x", (2,), "mlp"),),
        domains=("a", "b"),
        classes=("0", "1"),
        recipe=Recipe(epochs=1, lr=1e-3, batch_size=2),
        source="copy it from the shelf.",
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Any) -> None:
        super().__init__(root, cache, options)
        if root is None or not root.is_dir():
            raise UsageError(f"there is no folder {root}. {self.card.source}")
        self.files = sorted(root.glob("*/*"))

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        return [
            Sample(str(f), int(f.name[0]), domain) for f in self.files if f.parent.name == domain
        ]

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def verify(self) -> Iterator[str]:
        yield from (f"{f} is broken" for f in self.files if f.read_text() == "broken")

    def prepare(self, modalities: Sequence[str]) -> None:
        assert self.cache is not None
        self.cache.mkdir()
        (self.cache / "done").write_text(" ".join(modalities))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    datasets.names()  # discovers the real ones first
    monkeypatch.setitem(datasets._registry._items, "tiny", Tiny)
    root = tmp_path / "tiny"
    for name in ("a/0_0", "a/1_0", "a/1_1", "b/0_0", "b/1_0"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("whole")
    return root


def test_complete_data_is_counted_and_exits_with_0(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tiny", "--root", str(tiny)]) == 0
    out = capsys.readouterr().out
    assert "5 recordings of 2 classes in 2 domains" in out
    assert "a: 3 recordings, 1 to 2 of each class" in out
    assert "b: 2 recordings, 1 to 1 of each class" in out
    assert "complete" in out


def test_everything_wrong_is_listed_to_the_end_and_nothing_is_cached(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/1_0", "b/0_0"):
        (tiny / name).write_text("broken")
    (tiny / "b" / "1_0").unlink()
    cache = tiny.parent / "cache"
    assert main(["tiny", "--root", str(tiny), "--cache", str(cache)]) == 1
    out = capsys.readouterr().out
    assert f"{tiny / 'a' / '1_0'} is broken" in out
    assert f"{tiny / 'b' / '0_0'} is broken" in out
    assert "1 of 2 classes have no recording in domain b" in out
    assert "wrong in 3 places" in out
    assert Tiny.card.source in out
    assert not cache.exists()


def test_cache_is_built_of_every_modality(tiny: Path) -> None:
    cache = tiny.parent / "cache"
    assert main(["tiny", "--root", str(tiny), "--cache", str(cache)]) == 0
    assert (cache / "done").read_text() == "x"


def test_of_several_the_one_that_is_missing_does_not_keep_the_others_from_being_checked(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMDG_DATA", str(tiny.parent))
    assert main(["mex", "tiny", "tiny", "sp_sw_har"]) == 2
    out, err = capsys.readouterr()
    assert err.count("error: ") == 1 and "mex" in err
    assert out.count("tiny: complete") == out.count("sp_sw_har: complete") == 1


def test_one_root_cannot_be_that_of_several(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny", "sp_sw_har", "--root", str(tiny)]) == 2
    out, err = capsys.readouterr()
    assert not out and "--root is the folder of one dataset, and there are 2" in err


@pytest.mark.parametrize("arguments", [["tiny"], ["tiny", "--root", "nowhere"]])
def test_missing_root_says_where_to_get_the_data(
    tiny: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert Tiny.card.source in capsys.readouterr().err


def test_unknown_dataset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["utd_mhat"]) == 2
    assert "Did you mean 'utd_mhad'?" in capsys.readouterr().err


def test_a_dataset_made_in_memory_has_nothing_to_prepare(
    monkeypatch: pytest.MonkeyPatch, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Tiny, "needs_root", False)
    monkeypatch.setattr(Tiny, "reads_root", False)
    assert main(["tiny"]) == 0
    assert "nothing to prepare" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--download"], ["--fabricate", "2"]])
def test_what_a_dataset_does_not_offer_is_said_in_words(
    tiny: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tiny", "--root", str(tiny), *flags]) == 2
    assert "tiny" in capsys.readouterr().err
    assert main(["synthetic", *flags]) == 2
    assert "made in memory" in capsys.readouterr().err


def test_downloaded_data_is_checked(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(cls: type, root: Path) -> None:
        (root / "a").mkdir(parents=True)
        (root / "a" / "0_0").write_text("broken")

    monkeypatch.setattr(Tiny, "download", classmethod(download))
    assert main(["tiny", "--root", str(tiny / "new"), "--download"]) == 1
    assert f"{tiny / 'new' / 'a' / '0_0'} is broken" in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_root_the_place_is_that_of_runs_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMDG_DATA", raising=False)
    assert main(["hac", "--fabricate", "2"]) == 0
    assert "hac: no --root given, so in data/hac\n" in capsys.readouterr().out
    assert main(["hac"]) == 0
    monkeypatch.setenv("MMDG_DATA", str(tmp_path / "mine"))
    assert main(["hac"]) == 0  # still there, as long as nothing is in the first place
    assert "so in data/hac\n" in capsys.readouterr().out
    (tmp_path / "mine").mkdir()
    (tmp_path / "data" / "hac").rename(tmp_path / "mine" / "hac")
    assert main(["hac"]) == 0
    assert f"so in {tmp_path / 'mine' / 'hac'}\n" in capsys.readouterr().out


def test_nothing_is_downloaded_among_made_up_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hac", "--root", str(tmp_path / "hac"), "--fabricate", "2"]) == 0
    before = sorted(tmp_path.rglob("*"))
    assert main(["hac", "--root", str(tmp_path / "hac"), "--download"]) == 2
    assert "made-up recordings" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """Serve a checkpoint, which that of the encoder `mlp` is for a test."""
    monkeypatch.setenv("MMDG_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        content = b"weights" * 1000
        name = f"mlp-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        server.files[name] = content
        backbones.names()  # discovers the real ones first
        monkeypatch.setitem(backbones._checkpoints, "mlp", Checkpoint(server.url(name)))
        yield server


def test_a_download_fetches_what_the_encoders_start_from_too(
    tiny: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Tiny, "download", classmethod(lambda cls, root: None))
    command = ["tiny", "--root", str(tiny), "--download"]
    server.hang_up_after = 5000
    assert main(command) == 2
    assert "cut off after 5000 of 7000 bytes" in capsys.readouterr().err
    server.hang_up_after = None
    assert main(command) == 0
    (name,) = server.files
    path = tiny.parent / "mine" / "checkpoints" / name
    assert path.read_bytes() == server.files[name]
    out = capsys.readouterr().out
    assert f"mlp: {path}" in out and "tiny: complete" in out


def test_checkpoints_are_fetched_alone_for_the_dataset_or_for_encoders_that_are_named(
    tiny: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = server.files
    path = tiny.parent / "mine" / "checkpoints" / name
    for words in (["tiny", "--checkpoints"], ["hac", "--checkpoints", "mlp", "tiny_audio"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert f"mlp: {path}" in out and "recordings" not in out
        assert path.read_bytes() == server.files[name]
        path.unlink()
    assert "tiny_audio: has no checkpoint" in out
    assert main(["tiny", "--checkpoints", "mpl"]) == 2
    assert "Did you mean 'mlp'?" in capsys.readouterr().err
    server.files.clear()
    assert main(["tiny", "--checkpoints"]) == 2
    assert "404 Not Found" in capsys.readouterr().err


FABRICATED = ("hac", "epic_kitchens", "hust_motor", "folder")


@pytest.mark.parametrize("dataset", FABRICATED)
@pytest.mark.parametrize("count", ["0", "-1"])
def test_fabricating_nothing_is_refused_and_writes_nothing(
    dataset: str, count: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "new"
    assert main([dataset, "--root", str(root), "--fabricate", count]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: fabricate at least ")
    assert error.count("\n") == 1
    assert not root.exists()


@pytest.mark.parametrize("dataset", FABRICATED)
@pytest.mark.parametrize("place", ["a file", "below a file", "among other files"])
def test_files_are_never_fabricated_over(
    dataset: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine" / "Motor_Vib.mat"
    mine.parent.mkdir()
    mine.write_text("precious")
    root = {"a file": mine, "below a file": mine / "new", "among other files": mine.parent}[place]
    assert main([dataset, "--root", str(root), "--fabricate", "4"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {root} ")
    assert error.count("\n") == 1
    assert [p.read_text() for p in tmp_path.rglob("*.*")] == ["precious"]


def test_hust_motor_is_fabricated_again_in_its_own_folder(tmp_path: Path) -> None:
    arguments = ["hust_motor", "--root", str(tmp_path / "new"), "--fabricate", "4"]
    assert main(arguments) == main(arguments) == 0


@pytest.mark.slow
def test_hac_is_fabricated_checked_and_indexed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, cache = tmp_path / "hac", tmp_path / "cache"
    assert main(["hac", "--root", str(root), "--fabricate", "2"]) == 0
    assert "hac: 42 recordings of 7 classes in 3 domains" in capsys.readouterr().out
    broken = root / "human" / "videos" / "eating_1.mp4"
    content = broken.read_bytes()
    broken.write_bytes(content[:-2000])
    assert main(["hac", "--root", str(root), "--verify", "--cache", str(cache)]) == 1
    assert str(broken) in capsys.readouterr().out
    assert not cache.exists()
    broken.write_bytes(content)
    assert main(["hac", "--root", str(root), "--cache", str(cache)]) == 0
    assert len(list(cache.glob("hac-*-index-*.json"))) == 3


def test_incomplete_utd_mhad_is_wrong_in_every_modality(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Skeleton").mkdir()
    (tmp_path / "Skeleton" / "a1_s1_t1_skeleton.mat").write_bytes(b"not a mat file")
    assert main(["utd_mhad", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'Depth'} is missing" in out
    assert f"{tmp_path / 'Inertial'} is missing" in out
    assert "a1_s1_t1_skeleton.mat is not a readable UTD-MHAD file" in out
    assert out.count("_skeleton.mat is missing") == 860
    assert "a8_s1_t4" not in out  # never recorded whole, so not missed
    assert "UTD-MHAD.html" in out


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['prepare', '--help']\n"
        "from datasets.prepare import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--root" in done.stdout


@pytest.mark.data
@pytest.mark.slow
def test_real_utd_mhad_is_complete(utd_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["utd_mhad", "--root", str(utd_root)]) == 0
    out = capsys.readouterr().out
    assert "861 recordings of 27 classes in 4 domains" in out
    assert "s1s2: 215 recordings, 7 to 8 of each class" in out
