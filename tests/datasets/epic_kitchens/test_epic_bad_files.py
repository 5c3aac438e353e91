"""EPIC-Kitchens: missing and broken files, before training and in the record."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_epic import (
    ALL,
    FIRST,
    edges,
    numbered,
    opened,
    reference_numbers,
    replace,
)

from benchmark import run
from datasets.media import MediaError, fabricate, frames


def first_frames(root: Path) -> list[int]:
    return frames.numbers(root / FIRST).tolist()


@pytest.mark.parametrize("where", [0, 1, 30])
def test_an_absent_frame_is_named_and_can_be_left_out(tree: Path, where: int) -> None:
    number = first_frames(tree)[where]
    replace(tree / FIRST / frames.file_name(number), None)
    with pytest.raises(MediaError) as caught:
        opened(tree).prepare(["video"])
    message = str(caught.value)
    assert f"1 of 48 segments have no usable video. The first: {tree / FIRST}" in message
    assert f"frame_{number:010d}.jpg is missing" in message
    assert "epic-kitchens.github.io" in message
    opened(tree).prepare(["flow", "audio"])
    dataset = opened(tree, on_bad_sample="skip")
    dataset.prepare(ALL)
    assert len(dataset.skipped) == 1
    assert len(dataset.samples("D1", "train")) == 7
    assert len(dataset.listed("D1", "train")) == 8


def test_an_absent_folder_is_named_by_fingerprint_and_preparation(tree: Path) -> None:
    shutil.rmtree(tree / FIRST)
    for act in (lambda d: d.prepare(ALL), lambda d: d.fingerprint(ALL)):
        with pytest.raises(MediaError, match=r"8 of 48 segments.*P08_01/frame_0000000001\.jpg"):
            act(opened(tree))
    opened(tree).fingerprint(["flow"])
    assert opened(tree, on_bad_sample="skip").fingerprint(ALL)


@pytest.mark.parametrize("half", ["u", "v"])
def test_a_missing_half_of_the_flow_is_named(tree: Path, half: str) -> None:
    folder = tree / "flow" / "test" / "D3" / "P22_02" / half
    shutil.rmtree(folder)
    with pytest.raises(MediaError, match=rf"8 of 48 .*usable flow.*P22_02/{half}/frame_0000000001"):
        opened(tree).prepare(["flow"])


def test_missing_sound_is_named(tree: Path) -> None:
    replace(tree / "rgb" / "test" / "D2" / "P01_02.wav", None)
    with pytest.raises(MediaError, match=r"8 of 48 .*P01_02\.wav.*no such file"):
        opened(tree).prepare(["audio"])


@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.99])
def test_a_truncated_frame_is_named(tree: Path, share: float) -> None:
    dataset = opened(tree)
    sample = dataset.samples("D1", "train")[0]
    indices = reference_numbers(*edges(dataset, sample), "video", None)
    path = tree / FIRST / frames.file_name(indices[3])
    content = path.read_bytes()
    replace(path, content[: int(share * len(content))])
    with pytest.raises(MediaError, match=rf"{path.name} cannot be read as a picture"):
        dataset.load(sample, ["video"], None)
    if share == 0.6:
        (problem,) = opened(tree).verify()
        assert str(path) in problem


def broken_frame(root: Path, kind: str, folder: Path, number: int) -> Path:
    """Break one frame in its place in one way, and return its file."""
    path = root / folder / frames.file_name(number)
    content = path.read_bytes()
    contents = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "without its end": content[:-2],
        "zeros at the end": content[:-300] + bytes(300),
        "noise": bytes(range(256)) * 8,
        "one byte": b"x",
    }
    replace(path, contents[kind])
    return path


KINDS = [
    *("empty", "cut", "zeros at the end"),
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("without its end", "noise", "one byte")
    ),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_frame_stops_preparation_or_is_left_out(
    tree: Path, kind: str, tmp_path: Path
) -> None:
    path = broken_frame(tree, kind, FIRST, 5)
    with pytest.raises(MediaError) as caught:
        opened(tree).prepare(["video"])
    assert f"1 of 48 segments have no usable video. The first: {path} cannot be" in str(
        caught.value
    )
    assert "on_bad_sample=skip" in str(caught.value)
    opened(tree).prepare(["flow", "audio"])
    for _ in range(2):  # the second time from the index
        dataset = opened(tree, tmp_path / "cache", on_bad_sample="skip")
        dataset.prepare(ALL)
        assert list(dataset.skipped) == ["D1/train/0"]
        assert str(path) in dataset.skipped["D1/train/0"]
        assert len(dataset.samples("D1", "train")) == 7
    (problem,) = opened(tree).verify()
    assert str(path) in problem


@pytest.mark.parametrize("half", ["u", "v"])
def test_a_broken_half_of_the_flow_of_a_target_is_left_out(tree: Path, half: str) -> None:
    path = broken_frame(tree, "cut", Path("flow/test/D3/P22_02") / half, 4)
    dataset = opened(tree, on_bad_sample="skip")
    dataset.prepare(ALL)
    assert list(dataset.skipped) == ["D3/test/0"]
    assert str(path) in dataset.skipped["D3/test/0"]
    assert len(dataset.samples("D3", "target")) == 7


def test_a_broken_frame_between_segments_harms_none(tree: Path) -> None:
    dataset = opened(tree)
    inside = {n for s in dataset._tables["D1", "train"] for n in range(s.start, s.stop)}
    between = min(set(range(1, max(inside))) - inside)
    (tree / FIRST / frames.file_name(between)).write_bytes(b"")
    dataset.prepare(["video"])


def test_a_whole_frame_with_bytes_behind_its_end_is_no_problem(tree: Path) -> None:
    path = tree / FIRST / frames.file_name(5)
    replace(path, path.read_bytes() + bytes(10))
    opened(tree).prepare(["video"])


def test_frames_are_looked_into_again_after_a_change_of_their_folder_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into, real = list[Path](), frames.broken
    monkeypatch.setattr(
        frames, "broken", lambda folder, n: (looked_into.append(folder), real(folder, n))[1]
    )

    def prepare() -> tuple[list[str], int]:
        looked_into.clear()
        dataset = opened(tree, tmp_path / "cache", on_bad_sample="skip")
        dataset.prepare(["video"])
        return list(dataset.skipped), len(looked_into)

    whole = (tree / FIRST / frames.file_name(5)).read_bytes()
    assert prepare() == ([], 6)
    assert prepare() == ([], 0)
    path = broken_frame(tree, "cut", FIRST, 5)
    assert prepare() == (["D1/train/0"], 6)
    assert prepare() == (["D1/train/0"], 0)
    path.write_bytes(whole)  # in its place, which the folder does not tell
    assert prepare() == ([], 0)


def test_a_frame_that_breaks_after_preparation_is_named_with_the_way_out(
    tree: Path, tmp_path: Path
) -> None:
    opened(tree, tmp_path / "cache").prepare(["video"])
    dataset = opened(tree, tmp_path / "cache", on_bad_sample="skip")
    sample = dataset.samples("D1", "train")[0]
    number = reference_numbers(*edges(dataset, sample), "video", None)[2]
    path = tree / FIRST / frames.file_name(number)
    replace(path, b"")
    with pytest.raises(MediaError) as caught:
        dataset.load(sample, ["video"], None)
    assert f"{path} cannot be read as a picture: it is empty" in str(caught.value)
    assert "datasets.prepare epic_kitchens" in str(caught.value)


def test_verify_decodes_every_frame(tree: Path) -> None:
    """Also one that has both its ends and is in no evaluation clip."""
    dataset = opened(tree)
    sample = max(dataset.samples("D1", "train"), key=lambda s: np.diff(edges(dataset, s)))
    start, stop = edges(dataset, sample)
    (number, *_) = sorted(
        set(range(start, stop)) - set(reference_numbers(start, stop, "video", None))
    )
    path = tree / FIRST / frames.file_name(number)
    replace(path, frames.START + b"no picture" + frames.END)
    dataset.prepare(["video"])
    (problem,) = opened(tree).verify()
    assert str(path) in problem


def test_broken_frames_are_counted_in_the_record(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_source = broken_frame(tree, "cut", FIRST, 5)
    in_target = broken_frame(tree, "noise", Path("rgb/test/D3/P22_02"), 5)
    arguments = command(tree, tmp_path / "r", "--modalities", "video")
    assert run.main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: epic_kitchens: 2 of 48 segments")
    assert str(in_source) in error
    assert run.main([*arguments, "--on-bad-sample", "skip"]) == 0
    (path,) = (tmp_path / "r").rglob("result.json")
    left_out = json.loads(path.read_text())["left_out"]
    assert left_out.keys() == {"D1/train/0", "D3/test/0"}
    assert str(in_target) in left_out["D3/test/0"]
    assert target_of(tmp_path / "r")["n"] == 7


def test_a_clip_cut_beforehand_that_is_damaged_inside_is_found_when_decoded(
    tmp_path: Path,
) -> None:
    dataset = numbered(tmp_path, start_frame=1, stop_frame=81)
    clip = tmp_path / "video" / "train" / "D1" / "D1_P08_01_1_81_0.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (80, 32, 32, 3), np.uint8)
    fabricate.write_mp4(clip, noise)
    content = clip.read_bytes()
    middle = slice(len(content) // 3, len(content) // 2)
    zeros = bytes(middle.stop - middle.start)
    clip.write_bytes(content[: middle.start] + zeros + content[middle.stop :])
    (sample,) = dataset.samples("D1", "train")
    with pytest.raises(MediaError, match=rf"{clip.name}.*datasets\.prepare epic_kitchens"):
        dataset.load(sample, ["video"], None)
    assert any(clip.name in problem for problem in opened(tmp_path).verify())


def test_frames_or_halves_of_unequal_size_are_an_error(tree: Path) -> None:
    dataset = opened(tree)
    sample = dataset.samples("D1", "train")[0]
    start, stop = edges(dataset, sample)
    indices = reference_numbers(start, stop, "video", None)
    path = tree / FIRST / frames.file_name(indices[3])
    replace(path, None)
    frames.write(path.parent, indices[3], np.zeros((1, 40, 40, 3), np.uint8))
    with pytest.raises(MediaError, match=r"P08_01: frames .* differ in size"):
        dataset.load(sample, ["video"], None)
    flow = tree / "flow" / "train" / "D1" / "P08_01" / "u"
    shutil.rmtree(flow)
    frames.write(flow, 1, np.zeros((stop, 40, 40), np.uint8))
    with pytest.raises(MediaError, match="u and v differ in size"):
        dataset.load(sample, ["flow"], None)


def test_verify_is_silent_about_whole_data_and_tells_everything_else(tree: Path) -> None:
    assert not list(opened(tree).verify())
    for wav in tree.rglob("*.wav"):
        wav.unlink()
    replace(tree / FIRST / frames.file_name(first_frames(tree)[2]), None)
    (tree / fabricate.MARKER).unlink()
    problems = list(opened(tree).verify())
    assert any("no segment has usable audio" in p for p in problems)
    assert any("frame_0000000003.jpg is missing" in p for p in problems)
    official = "D1_train.pkl has 1 rows of class 0, the official table 421"
    assert official in problems
    # One table has as few rows of one class as the real one: D3 test, of class 6.
    assert len(problems) == 2 + 47


def test_fingerprint_follows_sizes_options_and_the_mark(tree: Path) -> None:
    whole = opened(tree).fingerprint(ALL)
    assert whole == opened(tree).fingerprint(ALL)
    assert whole != opened(tree).fingerprint(["video"])
    assert whole != opened(tree, flow_test_crop=256).fingerprint(ALL)
    wav = tree / "rgb" / "test" / "D2" / "P01_02.wav"
    replace(wav, wav.read_bytes() + b"\0\0")
    louder = opened(tree).fingerprint(ALL)
    assert whole != louder
    replace(tree / FIRST / frames.file_name(3), None)
    assert louder != opened(tree, on_bad_sample="skip").fingerprint(ALL)
    (tree / fabricate.MARKER).unlink()
    assert not opened(tree).fabricated


def test_folders_are_listed_once_and_whole_frames_not_decoded(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: Counter[Path] = Counter()
    real = frames.numbers
    monkeypatch.setattr(frames, "numbers", lambda p: (listed.update([p]), real(p))[1])
    monkeypatch.setattr(frames, "_read_jpeg", lambda *_: pytest.fail("a frame was decoded"))
    dataset = opened(stand_in)
    dataset.prepare(["video", "flow"])
    dataset.fingerprint(["video", "flow"])
    assert len(listed) == 6 * 3
    assert set(listed.values()) == {1}


def test_opening_tables_needs_neither_pandas_nor_torchvision(stand_in: Path) -> None:
    code = (
        "import sys, datasets; d = datasets.create('epic_kitchens', sys.argv[1]);"
        "d.prepare(['video']); d.fingerprint(['flow']);"
        "print({'pandas', 'torchvision', 'soundfile', 'av'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(stand_in)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "set()\n"


def command(root: Path, results: Path, *more: str) -> list[str]:
    return [
        *("--method", "erm", "--dataset", "epic_kitchens", "--data-root", str(root)),
        *("--sources", "D1", "D2", "--target", "D3", "--results", str(results)),
        *("--backbone", "video=tiny_video", "flow=tiny_flow", "audio=tiny_audio"),
        *("--threads", "1", "--epochs", "1", "--batch-size", "8", *more),
    ]


def target_of(results: Path) -> dict[str, Any]:
    (path,) = results.glob("runs/epic_kitchens/*/*/*/*/result.json")
    found: dict[str, Any] = json.loads(path.read_text())["rules"]["last"]["target"]
    return found
