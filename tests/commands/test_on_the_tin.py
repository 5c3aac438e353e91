"""`python -m benchmark.run --method mbcd --dataset hac --all-splits` works as it is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from support_commands import refusal

import datasets
from benchmark import backbones, report, run, sweep
from benchmark.backbones.checkpoints import sha256
from benchmark.backbones.official import Checkpoint
from datasets.media.fabricate import MARKER

TIN = ["--method", "mbcd", "--dataset", "hac", "--all-splits"]
FILES = {
    "slowfast_r101": "slowfast_r101_8x8x1_256e_kinetics400_rgb_20210218-0dd54025.pth",
    "slowonly_r50_flow": "slowonly_r50_8x8x1_256e_kinetics400_flow_20200704-6b384243.pth",
    "vggsound_resnet18": "vggsound_avgpool.pth.tar",
}
AUDIO = [*TIN, "--modalities", "audio"]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made_up") / "hac"
    datasets.get("hac").fabricate(root, 2)
    return root


@pytest.fixture
def real(made_up: Path, tmp_path: Path) -> Path:
    """Return a home whose recordings do not say that they are made up."""
    shutil.copytree(made_up, tmp_path / "home" / "hac")
    (tmp_path / "home" / "hac" / MARKER).unlink()
    return tmp_path / "home"


@pytest.fixture(scope="module")
def audio_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the entries of the official audio checkpoint."""
    torch.manual_seed(7)
    encoder = backbones.create("vggsound_resnet18", (1, 257, 1004))
    state = {f"audnet.{k.partition('.')[2]}": v for k, v in encoder.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "file.pth.tar"
    torch.save({"model_state_dict": state}, path)
    return path


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing of this machine be found."""
    monkeypatch.delenv("MMDG_DATA", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Return the ids of the runs that a command plans, by title."""
    capsys.readouterr()
    assert run.main([*arguments, "--dry-run"]) == 0, capsys.readouterr().err
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {" ".join(line[3:]): line[2] for line in lines if line[:2] == ["to", "do"]}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    return refusal(run.main, [*arguments, "--dry-run"], capsys)


def test_where_there_is_no_data_one_line_says_where_it_was_looked_for_and_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(capsys, *TIN)
    assert "--data-root (not given), $MMDG_DATA/hac (not set), data/hac." in error
    assert "python -m datasets.prepare hac --download\n" in error
    monkeypatch.setenv("MMDG_DATA", "/nowhere")
    assert "$MMDG_DATA/hac (/nowhere/hac), data/hac." in refused(capsys, *TIN)


def test_data_is_found_in_its_places_and_the_runs_are_the_same_wherever_it_lies(
    made_up: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = planned(capsys, *TIN, "--data-root", str(made_up))
    assert len(given) == 3
    Path("data").mkdir()
    Path("data/hac").symlink_to(made_up)
    assert planned(capsys, *TIN) == given
    Path("data/hac").unlink()
    monkeypatch.setenv("MMDG_DATA", str(made_up.parent))
    assert planned(capsys, *TIN) == given


def test_made_up_recordings_start_from_random_weights_which_is_said_once(
    made_up: Path, audio_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*TIN, "--data-root", str(made_up), "--dry-run", "--all-modalities"]
    assert run.main(command) == 0
    assert capsys.readouterr().out.count("hac is fabricated data: encoders start from random") == 1
    assert run.main([*command, "--weights", "none"]) == 0
    assert "fabricated" not in capsys.readouterr().out
    plain = planned(capsys, *AUDIO, "--data-root", str(made_up))
    assert planned(capsys, *AUDIO, "--data-root", str(made_up), "--weights", "none") == plain
    Path("data/checkpoints").mkdir(parents=True)
    shutil.copy(audio_file, f"data/checkpoints/{FILES['vggsound_resnet18']}")
    assert planned(capsys, *AUDIO, "--data-root", str(made_up)) == plain


def test_real_data_without_a_checkpoint_stops_with_the_line_that_fetches_it(
    real: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMDG_DATA", str(real))
    error = refused(capsys, *TIN)
    assert f"python -m datasets.prepare hac --checkpoints {' '.join(FILES)}." in error
    assert all(file in error for file in FILES.values())
    assert f"{real / 'checkpoints'}, data/checkpoints, " in error
    assert "--weights none" in error
    error = refused(capsys, *AUDIO)
    assert "slowfast" not in error and "--checkpoints vggsound_resnet18." in error
    tiny = ("--backbone", "video=tiny_video", "flow=tiny_flow", "audio=tiny_audio")
    assert len(planned(capsys, *TIN, *tiny)) == 3


def test_an_official_file_is_used_under_either_name_and_as_if_it_were_given(
    real: Path,
    audio_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MMDG_DATA", str(real))
    given = planned(capsys, *AUDIO, "--weights", f"audio={audio_file}")
    folders = (real / "checkpoints", Path("data/checkpoints"), tmp_path / "torch/hub/checkpoints")
    for folder in folders:
        for name in ("vggsound_avgpool.pth.tar", "H.pth.tar"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(audio_file, folder / name)
            assert planned(capsys, *AUDIO) == given
            (folder / name).unlink()
    (real / "checkpoints" / "H.pth.tar").write_text("no checkpoint")
    assert "H.pth.tar is not a" in refused(capsys, *AUDIO)


def test_weights_none_accepts_random_weights_for_all_or_for_one_modality(
    real: Path, audio_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data-root", str(real / "hac"))
    everything = planned(capsys, *AUDIO, *data, "--weights", "none")
    assert planned(capsys, *AUDIO, *data, "--weights", "audio=none") == everything
    assert "slowfast" in refused(capsys, *TIN, *data, "--weights", "audio=none")
    given = planned(capsys, *AUDIO, *data, "--weights", f"audio={audio_file}")
    assert given != everything
    assert planned(capsys, *AUDIO, *data, "--weights", "none", f"audio={audio_file}") == given
    error = refused(capsys, *AUDIO, *data, "--weights", "file.pth")
    assert "--weights file.pth: write MODALITY=FILE, or none" in error


def test_sweeps_and_planned_reports_look_in_the_same_places(
    real: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("dataset: hac\nall-splits: true\nmodalities: audio\nmethod: erm\n")
    assert sweep.main([str(path), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "data/hac. Name your copy with --data-root hac=DIR" in error
    monkeypatch.setenv("MMDG_DATA", str(real))
    assert sweep.main([str(path), "--dry-run"]) == 2
    assert "prepare hac --checkpoints vggsound_resnet18" in capsys.readouterr().err
    path.write_text(f"{path.read_text()}weights: none\n")
    assert sweep.main([str(path), "--dry-run"]) == 0
    assert run.main(["--method", "erm", "--smoke", "--results", "results"]) == 0
    capsys.readouterr()
    assert report.main(["--plan", str(path)]) == 0
    text = capsys.readouterr().out
    assert "Missing: 3 runs." in text and "--data-root" not in text


# --- what a record says ------------------------------------------------------------------------


@pytest.fixture
def checkpoint(monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Return the official checkpoint of an encoder `starts`, registered for the test."""
    backbones.names()  # discovers the real ones first
    official = Checkpoint("https://nowhere.invalid/starts.pth")

    def build(shape, weights=None):
        encoder = backbones.create("mlp", shape)
        if weights is not None:
            encoder.load_state_dict(torch.load(weights, weights_only=True))
        return encoder

    monkeypatch.setitem(backbones._registry._items, "starts", build)
    monkeypatch.setitem(backbones._checkpoints, "starts", official)
    return official


def smoke(*more: str) -> dict[str, object]:
    """Return the provenance of one run whose first modality has the encoder `starts`."""
    arguments = ["--method", "erm", "--smoke", "--sources", "d1", "d2", "--target", "d3"]
    more = ("--backbone", "m1=starts", "--results", "results", *more)
    assert run.main([*arguments, *more]) == 0
    (path,) = Path("results").rglob("result.json")
    return dict(json.loads(path.read_text())["provenance"])


def test_a_record_says_where_weights_came_from_and_a_table_marks_random_ones(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    found = smoke("--weights", "none")
    assert (found["weights"], found["data_root"]) == ({"m1": "random"}, None)
    capsys.readouterr()
    assert report.main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Note: the encoders of m1 start from random weights" in text
    assert "--weights none" in text  # the command for a missing cell

    Path("data/checkpoints").mkdir(parents=True)
    file = Path("data/checkpoints/starts.pth")
    torch.save(backbones.create("mlp", (16,)).state_dict(), file)
    shutil.rmtree("results")
    assert smoke()["weights"] == {"m1": "official"}
    (path,) = Path("results").rglob("spec.json")
    assert json.loads(path.read_text())["weights"] == {"m1": sha256(file)}
    capsys.readouterr()
    assert report.main([]) == 0
    text = capsys.readouterr().out
    assert "random weights" not in text and "--weights" not in text

    shutil.rmtree("results")
    assert smoke("--weights", f"m1={file}")["weights"] == {"m1": "given"}
    capsys.readouterr()
    assert report.main([]) == 0
    assert "--weights m1=FILE" in capsys.readouterr().out


def test_a_data_root_is_repeated_in_a_command_only_where_it_was_given(
    made_up: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMDG_DATA", str(made_up.parent))
    command = [
        *("--method", "erm", "--dataset", "hac", "--sources", "human", "animal"),
        *("--target", "cartoon", "--modalities", "audio", "--backbone", "audio=tiny_audio"),
        *("--threads", "1", "--epochs", "1", "--results", "results"),
    ]
    for more, given in (((), False), (("--data-root", str(made_up)), True)):
        assert run.main([*command, *more]) == 0
        (path,) = Path("results").rglob("result.json")
        found = json.loads(path.read_text())["provenance"]
        assert (found["data_root"], found["data_root_given"]) == (str(made_up), given)
        capsys.readouterr()
        assert report.main([]) == 0
        assert ("--data-root" in capsys.readouterr().out) is given
        shutil.rmtree("results")
