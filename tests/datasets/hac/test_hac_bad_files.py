"""HAC: missing and broken files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support_hac import ALL, command, names, opened, recorded, replace, with_copies

from benchmark import run
from datasets import hac_files
from datasets.media import MediaError, audio, fabricate, video

BAD = {
    "human/videos/eating_1.mp4": (b"", "video"),
    "animal/videos/running_0.mp4": (b"x" * 500, "video"),
    "animal/flow/running_1_flow_y.mp4": (None, "flow"),
    "cartoon/audio/sleeping_1.wav": (None, "audio"),
    "cartoon/audio/eating_1.wav": (b"RIFF", "audio"),
}


@pytest.mark.parametrize("file", BAD)
def test_a_bad_file_stops_preparation_and_is_named(tree: Path, file: str) -> None:
    content, modality = BAD[file]
    replace(tree / file, content)
    with pytest.raises(MediaError, match="on_bad_sample=skip") as caught:
        opened(tree).prepare([modality])
    assert str(tree / file) in str(caught.value)
    others = [m for m in ("video", "flow") if m != modality]
    opened(tree).prepare(others)


@pytest.mark.parametrize("file", ["human/videos/eating_1.mp4", "animal/flow/eating_0_flow_x.mp4"])
def test_a_missing_or_empty_file_is_named_by_the_fingerprint(tree: Path, file: str) -> None:
    replace(tree / file, b"" if "human" in file else None)
    with pytest.raises(MediaError, match=file):
        opened(tree).fingerprint(ALL)


def test_bad_samples_are_left_out_and_told_when_asked_for(tree: Path, tmp_path: Path) -> None:
    for file, (content, _) in BAD.items():
        replace(tree / file, content)
    dataset = opened(tree, tmp_path / "cache", on_bad_sample="skip")
    planned = dataset.fingerprint(ALL)
    assert len(dataset.samples("animal", "target")) == 14
    dataset.prepare(ALL)
    assert set(dataset.skipped) == {
        "human/eating_1",
        "animal/running_0",
        "animal/running_1",
        "cartoon/sleeping_1",
        "cartoon/eating_1",
    }
    assert "running_1_flow_y.mp4" in dataset.skipped["animal/running_1"]
    assert "it is empty" in dataset.skipped["human/eating_1"]
    assert len(dataset.samples("animal", "target")) == 12
    assert "human/eating_1" not in names(dataset.samples("human", "train"))
    assert dataset.fingerprint(ALL) == planned  # a run keeps its name
    for domain in dataset.card.domains:
        for sample in dataset.samples(domain, "target")[::5]:
            dataset.load(sample, ALL, None)
    dataset.prepare(["flow"])  # its own bad samples, whatever was prepared before
    assert set(dataset.skipped) == {"animal/running_1"}


def test_a_clip_that_only_the_split_file_knows_is_a_bad_sample(tree: Path) -> None:
    path = hac_files.split_file(tree, "human", "train")
    replace(path, path.read_bytes() + b"absent.mp4,3\r\n")
    with pytest.raises(MediaError, match=r"absent\.mp4"):
        opened(tree).prepare(["video"])
    dataset = opened(tree, on_bad_sample="skip")
    dataset.prepare(["video"])
    assert list(dataset.skipped) == ["human/absent"]


def test_a_broken_copy_is_left_out_under_both_names(tree: Path) -> None:
    first = with_copies(tree)[0]
    replace(tree / "human" / "videos" / f"{first.split('/')[1]}.mp4", None)
    dataset = opened(tree, on_bad_sample="skip", target_set="all-with-duplicates")
    dataset.prepare(["video"])
    assert set(dataset.skipped) == {first, first + "@test"}


def test_loading_a_broken_clip_names_its_file(tree: Path) -> None:
    dataset = opened(tree)
    sample = dataset.samples("human", "train")[2]
    for modality, file in (
        ("video", "videos/eating_1.mp4"),
        ("flow", "flow/eating_1_flow_y.mp4"),
        ("audio", "audio/eating_1.wav"),
    ):
        content = (tree / "human" / file).read_bytes()
        replace(tree / "human" / file, b"broken")
        with pytest.raises(MediaError, match=file):
            opened(tree).load(sample, [modality], None)
        replace(tree / "human" / file, content)


def damaged(path: Path) -> None:
    """Overwrite a part in the middle of a video's pictures; its table of contents stays whole."""
    content = path.read_bytes()
    first = content.index(b"mdat") + (content.index(b"moov") - content.index(b"mdat")) // 3
    length = len(content) // 5
    replace(path, content[:first] + bytes(length) + content[first + length :])


@pytest.mark.parametrize("choice", ["error", "skip"])
@pytest.mark.parametrize(
    "modality, file", [("video", "videos/eating_1.mp4"), ("flow", "flow/eating_1_flow_y.mp4")]
)
def test_damage_inside_a_video_is_named_with_the_way_out_when_decoded(
    tree: Path, choice: str, modality: str, file: str
) -> None:
    damaged(tree / "human" / file)
    dataset = opened(tree, on_bad_sample=choice)
    dataset.prepare([modality])  # which decodes nothing
    sample = dataset.samples("human", "train")[2]
    with pytest.raises(MediaError) as caught:
        dataset.load(sample, [modality], None)
    assert str(tree / "human" / file) in str(caught.value)
    assert "datasets.prepare hac" in str(caught.value)
    assert "--on-bad-sample skip" in str(caught.value)
    (problem,) = dataset.verify()
    assert str(tree / "human" / file) in problem


def test_verify_decodes_what_no_evaluation_clip_shows(tree: Path) -> None:
    path = tree / "human" / "videos" / "eating_1.mp4"
    replace(path, None)
    images = np.random.default_rng(0).integers(0, 256, (240, 32, 32, 3), np.uint8)
    fabricate.write_mp4(path, images)
    content = path.read_bytes()
    first = content.index(b"mdat") + 4000  # in the first quarter; the clip starts at frame 88
    replace(path, content[:first] + bytes(10000) + content[first + 10000 :])
    dataset = opened(tree)
    dataset.load(dataset.samples("human", "train")[2], ["video"], None)
    (problem,) = dataset.verify()
    assert str(path) in problem


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_fails_over_damage_inside_a_video_and_can_leave_it_out(
    tree: Path, tmp_path: Path, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree / "cartoon" / "videos" / "eating_1.mp4"
    damaged(path)
    more = ("--modalities", "video", "--on-bad-sample", "skip", "--workers", workers)
    assert run.main(command(tree, tmp_path, *more)) == 1
    (status,) = (json.loads(p.read_text()) for p in tmp_path.rglob("status.json"))
    assert status["state"] == "failed"
    assert str(path) in status["error"]
    assert not list(tmp_path.rglob("result.json"))
    assert str(path) in capsys.readouterr().err
    path.unlink()
    assert run.main(command(tree, tmp_path, *more)) == 0
    (result,) = recorded(tmp_path).values()
    assert result["left_out"].keys() == {"cartoon/eating_1"}


def test_halves_of_the_flow_of_unequal_size_are_an_error(tree: Path) -> None:
    path = tree / "human" / "flow" / "eating_1_flow_y.mp4"
    replace(path, None)
    fabricate.write_mp4(path, np.full((70, 32, 32), 128, np.uint8))
    dataset = opened(tree)
    with pytest.raises(MediaError, match=r"eating_1_flow_x\.mp4 and its other half"):
        dataset.load(dataset.samples("human", "train")[2], ["flow"], None)


def test_index_spares_probing(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(stand_in, tmp_path / "cache").prepare(ALL)
    assert len(list((tmp_path / "cache").glob("*.json"))) == 3
    monkeypatch.setattr(video, "probe", None)
    monkeypatch.setattr(audio, "duration", None)
    dataset = opened(stand_in, tmp_path / "cache")
    dataset.prepare(ALL)
    dataset.load(dataset.samples("human", "train")[0], ALL, None)


def test_verify_names_everything_that_is_wrong(tree: Path) -> None:
    for file, (content, _) in BAD.items():
        replace(tree / file, content)
    shutil.rmtree(tree / "human" / "audio")
    problems = list(opened(tree).verify())
    assert f"{tree / 'human' / 'audio'} is missing or holds no file" in problems
    for file in BAD:
        assert sum(str(tree / file) in problem for problem in problems) == 1
    assert len(problems) == 1 + len(BAD)


def test_verify_compares_real_data_with_the_official_counts(tree: Path) -> None:
    (tree / fabricate.MARKER).unlink()
    problems = list(opened(tree).verify())
    assert len(problems) == 3 * 2 * 7
    assert problems[0].startswith("HAC_train_only_human.csv has 1 rows of class 0, the official")
