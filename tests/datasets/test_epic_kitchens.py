"""EPIC-Kitchens, on made-up frames in its layouts and on the real split tables."""

import json
import math
import os
import pickle
import pickletools
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import datasets
from benchmark import run
from datasets import epic_files, epic_kitchens, epic_layouts
from datasets.base import Sample
from datasets.epic_files import SPLITS, Segment
from datasets.media import MediaError, audio, clips, fabricate, frames, substream
from datasets.media.tables import read_table
from mmdg_common import UsageError

ALL = ["video", "flow", "audio"]
DOMAINS = ("D1", "D2", "D3")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of each class and domain; tests that change something work on a `tree`."""
    root = tmp_path_factory.mktemp("epic") / "data"
    datasets.get("epic_kitchens").fabricate(root, 2)
    return root


@pytest.fixture
def tree(stand_in: Path, tmp_path: Path) -> Path:
    """A copy of the made-up data; files are links, so they are replaced, never written into."""
    shutil.copytree(stand_in, tmp_path / "data", copy_function=os.link)
    return tmp_path / "data"


def opened(root: Path, cache: Path | None = None, **options: Any) -> epic_kitchens.EpicKitchens:
    dataset = datasets.create("epic_kitchens", root, cache, **options)
    assert isinstance(dataset, epic_kitchens.EpicKitchens)
    return dataset


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def table_row(**changes: Any) -> dict[str, Any]:
    row = epic_files._row(7, "P08_01", 11, 100, "take", 0)
    return {**row, **changes}


def numbered(root: Path, **changes: Any) -> epic_kitchens.EpicKitchens:
    """One segment a table; those of D1's training table can have frames of `numbered_frames`."""
    for domain, part in product(DOMAINS, ("train", "test")):
        epic_files.write_table(root / SPLITS / f"{domain}_{part}.pkl", [table_row(**changes)])
    return opened(root)


def gray_frames(first: int, last: int, scale: int, offset: int) -> np.ndarray:
    values = np.arange(first, last + 1) * scale + offset
    assert 0 <= values.min() <= values.max() <= 255
    return np.broadcast_to(values.astype(np.uint8)[:, None, None], (len(values), 32, 32))


def rgb(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=3)


def used_rgb(tensor: torch.Tensor) -> list[int]:
    """Return the frame numbers of a clip whose frames are twice as bright as their number."""
    return (((tensor[0] * clips.RGB_STD[0] + clips.RGB_MEAN[0]).mean((1, 2))) / 2).round().tolist()


def used_flow(tensor: torch.Tensor) -> tuple[list[int], list[int]]:
    """The same of flow whose u is twice as bright as its number, and whose v is 40 more."""
    u, v = (tensor * 128 + 128).mean((2, 3))
    return (u / 2).round().tolist(), ((v - 40) / 2).round().tolist()


# --- card, tables and roles --------------------------------------------------------------------


def test_card_is_the_one_of_the_field() -> None:
    card = epic_kitchens.EpicKitchens.card
    assert [(m.name, m.shape, m.encoder) for m in card.modalities] == [
        ("video", (3, 32, 224, 224), "slowfast_r101"),
        ("flow", (2, 8, 224, 224), "slowonly_r50_flow"),
        ("audio", (1, 257, 1004), "vggsound_resnet18"),
    ]
    assert card.domains == DOMAINS
    assert " ".join(card.classes) == "take put open close wash cut mix pour"
    recipe = card.recipe
    assert (recipe.epochs, recipe.lr, recipe.batch_size, recipe.weight_decay) == (
        20,
        1e-4,
        16,
        1e-4,
    )


def test_test_tables_validate_sources_and_are_all_of_a_target(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for domain in DOMAINS:
        roles = {role: dataset.samples(domain, role) for role in ("train", "val", "target")}
        assert roles["val"] == roles["target"]
        assert {s.id.rpartition("/")[0] for s in roles["train"]} == {f"{domain}/train"}
        assert {s.id.rpartition("/")[0] for s in roles["val"]} == {f"{domain}/test"}
        assert Counter(s.label for s in roles["train"]) == dict.fromkeys(range(8), 1)
        assert all(s.domain == domain for role in roles.values() for s in role)


def test_the_folder_of_the_tables_can_be_the_root(tmp_path: Path) -> None:
    numbered(tmp_path)
    assert opened(tmp_path / SPLITS).samples("D3", "val") == [Sample("D3/test/7", 0, "D3")]


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"github\.com/donghao51/SimMMDG"):
        datasets.create("epic_kitchens", root and tmp_path / root)


def test_missing_table_is_named(tree: Path) -> None:
    replace(tree / SPLITS / "D2_test.pkl", None)
    with pytest.raises(UsageError, match=r"D2_test\.pkl is missing"):
        opened(tree)


@pytest.mark.parametrize(
    "column, value",
    [
        ("verb_class", 8),
        ("verb_class", -1),
        ("video_id", "../../P08_01"),
        ("video_id", ".."),
        ("stop_frame", 12),
        ("start_frame", -2),
        ("stop_timestamp", "ten past"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, column: str, value: Any) -> None:
    wrong = "stop_frame" if column == "start_frame" else column
    with pytest.raises(MediaError, match=rf"D1_train\.pkl: {wrong} of the row with uid 7"):
        numbered(tmp_path, **{column: value})


def test_a_uid_given_twice_is_an_error(tmp_path: Path) -> None:
    numbered(tmp_path)
    epic_files.write_table(tmp_path / SPLITS / "D2_train.pkl", [table_row(), table_row()])
    with pytest.raises(MediaError, match="uid of the row with uid 7"):
        opened(tmp_path)


@pytest.mark.parametrize("change", [{"uid": "7"}, {"video_id": 5}, {"verb_class": 1.5}])
def test_a_column_of_another_type_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match=f"column '{next(iter(change))}' does not hold"):
        numbered(tmp_path, **change)


def test_unknown_names_and_choices_name_the_valid_ones(stand_in: Path) -> None:
    with pytest.raises(UsageError, match="D1, D2, D3"):
        opened(stand_in).samples("D4", "train")
    with pytest.raises(UsageError, match="video, flow, audio"):
        opened(stand_in).size(opened(stand_in).samples("D1", "val")[0], "sound")
    with pytest.raises(UsageError, match="224, 256"):
        opened(stand_in, flow_test_crop=225)
    with pytest.raises(UsageError, match="'skip'"):
        opened(stand_in, on_bad_sample="skipp")


# --- pickles -----------------------------------------------------------------------------------

FRAME = pd.DataFrame([table_row(), table_row(uid=8, verb_class=5)])


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("texts", ["str", "object"])
def test_tables_of_this_pandas_are_read(tmp_path: Path, protocol: int, texts: str) -> None:
    frame = FRAME.astype(dict.fromkeys(["video_id", "start_timestamp", "stop_timestamp"], texts))
    frame.columns = pd.Index(list(frame.columns), dtype=texts)
    frame.to_pickle(tmp_path / "t.pkl", protocol=protocol)
    expected = frame[list(epic_files.COLUMNS)].to_dict("records")
    if protocol > 2:
        assert read_table(tmp_path / "t.pkl", epic_files.COLUMNS) == expected
    else:  # bytes go through a codec there, one more thing to call
        with pytest.raises(MediaError, match=r"_codecs\.encode"):
            read_table(tmp_path / "t.pkl", epic_files.COLUMNS)


def called(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls something, written by hand, because pickle looks names up."""
    words = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() for w in (module, name))
    packed = b"".join(pickletools.optimize(pickle.dumps(a, 2))[2:-1] for a in arguments)
    return b"\x80\x04" + words + b"\x93(" + packed + b"tR."


REFUSED = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "open"),
    ("importlib", "import_module"),
    ("operator", "attrgetter"),
    ("functools", "partial"),
    ("subprocess", "Popen"),
    ("pickle", "loads"),
    ("pandas", "eval"),
    ("pandas", "read_pickle"),
    ("pandas.io.common", "os.system"),
    ("pandas.core.frame", "DataFrame.eval"),
    ("pandas.core.frame", "sys.modules"),
    ("pandas.core.computation.eval", "eval"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy", "ndarray.tofile"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py", "compile"),
    ("numpy._core.multiarray", "scalar"),
]


@pytest.mark.parametrize("module, name", REFUSED)
def test_a_malicious_pickle_is_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    (tmp_path / "evil.pkl").write_bytes(called(module, name, "x"))
    with pytest.raises(MediaError, match=rf"evil\.pkl was not read.*{module}\.{name}"):
        read_table(tmp_path / "evil.pkl", epic_files.COLUMNS)


def test_a_malicious_pickle_runs_nothing(tree: Path) -> None:
    trace = tree / "trace"
    evil = [
        called("posix", "system", f"touch {trace}"),
        called("builtins", "eval", f"open({str(trace)!r}, 'w')"),
        # What it asks for comes first, and a good table after it.
        called("builtins", "open", str(trace), "w")[:-1] + b"0" + pickle.dumps(FRAME, 4)[2:],
    ]
    for content in evil:
        pickle.loads(content)
        trace.unlink()  # elsewhere it is run
        replace(tree / SPLITS / "D1_train.pkl", content)
        with pytest.raises(UsageError, match=r"D1_train\.pkl was not read: it asks to call"):
            opened(tree)
        assert not trace.exists()


def test_allowed_names_are_not_called_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pandas was called")

    FRAME.to_pickle(tmp_path / "t.pkl")
    monkeypatch.setattr(pd.DataFrame, "__setstate__", refuse)
    monkeypatch.setattr(pd.core.indexes.base, "_new_Index", refuse)
    assert len(read_table(tmp_path / "t.pkl", epic_files.COLUMNS)) == 2


def test_a_type_that_lies_about_its_bytes_is_no_pointer(tmp_path: Path) -> None:
    """Objects given as bytes would be addresses for numpy to follow."""
    frame = pd.DataFrame({"uid": np.array([1, 2])})
    content = pickle.dumps(frame, 4)
    assert content.count(b"\x8c\x02i8") == 1
    (tmp_path / "t.pkl").write_bytes(content.replace(b"\x8c\x02i8", b"\x8c\x02O8"))
    with pytest.raises(MediaError, match="values of type O8"):
        read_table(tmp_path / "t.pkl", {"uid": int})


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_corrupt_pickle_is_named(tree: Path, share: float) -> None:
    path = tree / SPLITS / "D3_train.pkl"
    content = path.read_bytes()
    replace(path, content[: int(share * len(content))])
    with pytest.raises(UsageError, match=r"D3_train\.pkl is not a readable table"):
        opened(tree)


def test_flipped_bytes_end_in_a_table_or_in_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.pkl"
    content = bytearray(pickle.dumps(FRAME))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_table(path, epic_files.COLUMNS)
        except MediaError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "text", 5, None])
def test_a_pickle_of_something_else_is_named(tmp_path: Path, value: Any) -> None:
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(MediaError, match="holds no DataFrame"):
        read_table(tmp_path / "t.pkl", {})


# --- which frames ------------------------------------------------------------------------------


def reference_numbers(start: int, stop: int, modality: str, draw: int | None) -> list[int]:
    """The frames of a clip, walked through one by one as the public code defines them."""
    length, interval = (32, 2) if modality == "video" else (8, 4)
    first, total = start, stop - start
    if modality == "flow":
        first, total = math.ceil(start / 2), int((stop - start) / 2)
    ring = [first + i for i in range(total)]
    if draw is not None:
        position = draw
    else:
        position = int((total - length * interval + 1) / 2) if total > length * interval - 1 else 0
    walked = []
    for _ in range(length):
        walked.append(ring[position])
        for _ in range(interval):
            position = position + 1 if position + 1 < total else 0
    return walked


@pytest.mark.parametrize("modality", ["video", "flow"])
def test_frames_are_those_of_the_public_code(
    modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every length up to 140, from even and odd first frames; training draws every start."""
    asked: list[list[int]] = []
    monkeypatch.setattr(frames, "read", lambda folder, wanted, gray: asked.append(wanted))
    folders = epic_layouts.FrameFolders(tmp_path, modality)
    span = 64 if modality == "video" else 32
    for start, length in product((1, 2, 3, 4), range(2, 141)):
        segment = Segment(Sample("D1/train/1", 0, "D1"), "train", "v", start, start + length, 0, 1)
        total = folders.total(segment)
        starts = max(1, total - span + 1)
        for seed in (None, 0, 1):
            sampling = epic_kitchens.SAMPLING[modality]
            indices = clips.sample_indices(total, *sampling, seed)
            folders.read(segment, indices)
            assert 0 <= indices[0] < starts
            draw = None if seed is None else int(indices[0])
            expected = reference_numbers(start, start + length, modality, draw)
            assert all(numbers == expected for numbers in asked)
            asked.clear()
    drawn = {int(clips.sample_indices(span + 4, *sampling, seed)[0]) for seed in range(100)}
    assert drawn == set(range(5))


@pytest.mark.parametrize("start, stop", [(11, 100), (12, 76), (13, 52), (2, 33)])
def test_single_frames_are_read_by_their_number(tmp_path: Path, start: int, stop: int) -> None:
    dataset = numbered(tmp_path, start_frame=start, stop_frame=stop)
    low, high = math.ceil(start / 2), math.ceil(start / 2) + (stop - start) // 2 - 1
    (train,), (test,) = (dataset.samples("D1", role) for role in ("train", "target"))
    for part in ("train", "test"):
        folder = tmp_path / "rgb" / part / "D1" / "P08_01"
        frames.write(folder, start, rgb(gray_frames(start, stop - 1, 2, 0)))
        flow = tmp_path / "flow" / part / "D1" / "P08_01"
        frames.write(flow / "u", low, gray_frames(low, high, 2, 0))
        frames.write(flow / "v", low, gray_frames(low, high, 2, 40))
    tensors = dataset.load(test, ["video", "flow"], None)
    expected = reference_numbers(start, stop, "flow", None)
    assert used_rgb(tensors["video"]) == reference_numbers(start, stop, "video", None)
    assert used_flow(tensors["flow"]) == (expected, expected)
    for seed in range(3):
        tensors = dataset.load(train, ["video", "flow"], seed)
        draws = {
            kind: int(clips.sample_indices(total, *sampling, substream(seed, kind, "start"))[0])
            for kind, sampling, total in (
                ("video", (32, 2), stop - start),
                ("flow", (8, 4), (stop - start) // 2),
            )
        }
        video = reference_numbers(start, stop, "video", draws["video"])
        assert used_rgb(tensors["video"]) == video
        flow_numbers = reference_numbers(start, stop, "flow", draws["flow"])
        assert used_flow(tensors["flow"])[1] == flow_numbers


@pytest.mark.parametrize("base", ["", f"{SPLITS}/"])
def test_clips_cut_beforehand_are_read_from_their_first_frame(tmp_path: Path, base: str) -> None:
    dataset = numbered(tmp_path, start_frame=1001, stop_frame=1090)  # flow 501 to 544
    (sample,) = dataset.samples("D1", "target")
    folder = tmp_path / base
    name = "test/D1/D1_P08_01_1001_1090_0.mp4"
    fabricate.write_mp4(folder / "video" / name, rgb(gray_frames(0, 88, 2, 20)))
    for half, offset in (("u", 20), ("v", 60)):
        clip = folder / "flow" / "test" / "D1" / f"D1_P08_01_501_545_0_{half}.mp4"
        fabricate.write_mp4(clip, gray_frames(0, 43, 2, offset))
    sound = np.full(16000 * 3, 0.25)
    fabricate.write_wav(folder / "audio" / "test" / "D1" / "P08_01.wav", sound)
    tensors = dataset.load(sample, ALL, None)
    video, flow = reference_numbers(0, 89, "video", None), reference_numbers(0, 88, "flow", None)
    assert np.allclose(np.array(used_rgb(tensors["video"])) - 10, video, atol=1)
    for got in used_flow(tensors["flow"]):
        assert np.allclose(np.array(got) - 10, flow, atol=1)
    part = sound[: round(100 / 60 * 16000) - round(0.18 * 16000)]
    assert torch.allclose(tensors["audio"], audio.spectrogram(part, None), atol=1e-3)
    assert dataset.size(sample, "video") == (folder / "video" / name).stat().st_size
    with pytest.raises(MediaError, match=r"5 of 6 segments.*video/train/D1/D1_P08_01_1001_1090_0"):
        dataset.prepare(["video"])


def test_broken_and_missing_clips_cut_beforehand_are_left_out_when_asked_for(
    tmp_path: Path,
) -> None:
    numbered(tmp_path, start_frame=1, stop_frame=33)
    for domain, part in product(DOMAINS, ("train", "test")):
        folder = tmp_path / "flow" / part / domain
        for half in "uv":
            clip = folder / f"{domain}_P08_01_1_17_0_{half}.mp4"
            fabricate.write_mp4(clip, gray_frames(0, 15, 2, 20))
    (tmp_path / "flow" / "train" / "D2" / "D2_P08_01_1_17_0_v.mp4").unlink()
    broken = tmp_path / "flow" / "test" / "D3" / "D3_P08_01_1_17_0_u.mp4"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(MediaError, match=r"2 of 6.*D2_P08_01_1_17_0_v\.mp4"):
        opened(tmp_path).prepare(["flow"])
    dataset = opened(tmp_path, tmp_path / "cache", on_bad_sample="skip")
    dataset.prepare(["flow"])
    assert list(dataset.skipped) == ["D2/train/7", "D3/test/7"]
    assert len(dataset.samples("D2", "train")) == 0
    assert len(dataset.listed("D2", "train")) == 1
    assert "D3_P08_01_1_17_0_u.mp4" in dataset.skipped["D3/test/7"]


def test_two_modalities_can_have_two_layouts(tree: Path) -> None:
    for part, domain in product(("train", "test"), DOMAINS):
        for wav in (tree / "rgb" / part / domain).glob("*.wav"):
            (tree / "audio" / part / domain).mkdir(parents=True)
            wav.rename(tree / "audio" / part / domain / wav.name)
    opened(tree).prepare(ALL)


# --- sound -------------------------------------------------------------------------------------


def heard(root: Path, sound: np.ndarray | None, rate: int = 16000, **changes: Any) -> torch.Tensor:
    dataset = numbered(root, **changes)
    if sound is not None:
        fabricate.write_wav(root / "rgb" / "test" / "D1" / "P08_01.wav", sound, rate)
    return dataset.load(dataset.samples("D1", "target")[0], ["audio"], None)["audio"]


def two_tones(rate: int, seconds: float = 4.0) -> np.ndarray:
    """440 Hz, and in the third second 1760 Hz."""
    time = np.arange(round(rate * seconds)) / rate
    pitch = np.where((time >= 2) & (time < 3), 1760, 440)
    return 0.5 * np.sin(2 * np.pi * pitch * time)


TIMES = {"start_timestamp": "00:00:02.00", "stop_timestamp": "00:00:03.00"}


def test_sound_is_that_of_the_whole_segment_by_its_time_stamps(tmp_path: Path) -> None:
    sound = two_tones(16000)
    fabricate.write_wav(tmp_path / "copy.wav", sound[32000:48000])
    part = audio.read_wav(tmp_path / "copy.wav", 0, 1)
    assert torch.equal(heard(tmp_path / "epic", sound, **TIMES), audio.spectrogram(part, None))


@pytest.mark.parametrize("rate, channels", [(16000, 2), (44100, 1), (44100, 2), (8000, 1)])
def test_sound_of_another_kind_is_brought_to_one_channel_of_16_khz(
    tmp_path: Path, rate: int, channels: int
) -> None:
    sound = np.repeat(two_tones(rate)[:, None], channels, axis=1)
    values = heard(tmp_path, sound, rate, **TIMES)
    assert values.shape == (1, 257, 1004)
    loudest = values[0].mean(1).argmax().item()
    assert loudest == pytest.approx(1760 / 16000 * 512, abs=1)


@pytest.mark.parametrize("start, stop", [("01:00:00.00", "01:00:05.00"), ("00:00:03.00",) * 2])
def test_a_segment_beyond_the_sound_is_silence_with_a_warning(
    tmp_path: Path, start: str, stop: str
) -> None:
    begun = time.monotonic()
    with pytest.warns(UserWarning, match=r"P08_01\.wav has no sound where its clip is"):
        values = heard(tmp_path, two_tones(16000), start_timestamp=start, stop_timestamp=stop)
    assert torch.equal(values, audio.spectrogram(np.zeros(0), None))
    assert time.monotonic() - begun < 5


def test_a_segment_half_beyond_the_sound_is_what_there_is(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = heard(tmp_path / "a", two_tones(16000)[:40000], **TIMES)
    assert torch.equal(got, heard(tmp_path / "b", two_tones(16000)[:40000], **TIMES))
    assert got[0].mean(1).argmax().item() == pytest.approx(56, abs=1)


def test_hours_and_minutes_of_a_time_stamp_count() -> None:
    assert epic_files._seconds("01:02:03.45") == pytest.approx(3723.45)
    assert epic_files._seconds("00:00:59") == 59
    assert epic_files._seconds("1:2") is None


def test_cut_off_sound_and_a_broken_header_are_named(tree: Path) -> None:
    path = tree / "rgb" / "train" / "D1" / "P08_01.wav"
    content = path.read_bytes()
    for kept in (len(content) // 2, 30):
        replace(path, content[:kept])
        with pytest.raises(MediaError, match=r"8 of 48 segments.*audio.*train/D1/P08_01\.wav"):
            opened(tree).prepare(["audio"])
        skipping = opened(tree, on_bad_sample="skip")
        skipping.prepare(["audio"])
        assert len(skipping.skipped) == 8 and not skipping.samples("D1", "train")
    with pytest.raises(MediaError, match=r"P08_01\.wav cannot be read as sound"):
        opened(tree).load(opened(tree).listed("D1", "train")[0], ["audio"], None)


# --- draws -------------------------------------------------------------------------------------


def test_every_modality_has_the_declared_shape(stand_in: Path) -> None:
    dataset = opened(stand_in)
    dataset.prepare(ALL)
    shapes = {m.name: m.shape for m in dataset.card.modalities}
    for domain, seed in product(DOMAINS, (None, 1)):
        tensors = dataset.load(dataset.samples(domain, "train")[0], ALL, seed)
        assert {m: tuple(t.shape) for m, t in tensors.items()} == shapes
        assert all(t.dtype == torch.float32 for t in tensors.values())
        assert all(t.isfinite().all() and t.std() > 0 for t in tensors.values())


def test_same_seed_same_tensors_in_any_subset_of_modalities(stand_in: Path) -> None:
    for seed in (None, 0, 77):
        sample = opened(stand_in).samples("D2", "train")[0]
        whole = opened(stand_in).load(sample, ALL, seed)
        np.random.seed(seed or 5)  # noqa: NPY002 - global generators must not matter
        torch.manual_seed(seed or 5)
        for use in (["flow"], ["audio"], ["audio", "video"]):
            some = opened(stand_in).load(sample, use, seed)
            assert list(some) == use
            assert all(torch.equal(some[m], whole[m]) for m in use)


def test_other_seeds_give_other_tensors(stand_in: Path) -> None:
    dataset = opened(stand_in)
    sample = dataset.samples("D2", "train")[0]
    first, second = (dataset.load(sample, ALL, seed) for seed in (1, 2))
    assert not any(torch.equal(first[m], second[m]) for m in ALL)


def test_flow_in_evaluation_is_as_large_as_asked_for(stand_in: Path) -> None:
    dataset = opened(stand_in, flow_test_crop="256")
    sample = dataset.samples("D1", "train")[0]
    large = dataset.load(sample, ["flow"], None)["flow"]
    assert large.shape == (2, 8, 256, 256)
    small = opened(stand_in).load(sample, ["flow"], None)["flow"]
    assert torch.equal(large[..., 16:240, 16:240], small)
    assert dataset.load(sample, ["flow"], 3)["flow"].shape == (2, 8, 224, 224)


# --- what can be wrong with the files ----------------------------------------------------------

FIRST = Path("rgb") / "train" / "D1" / "P08_01"


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
    indices = reference_numbers(*_edges(dataset, sample), "video", None)
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


KINDS = ["empty", "cut", "without its end", "zeros at the end", "noise", "one byte"]


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
    number = reference_numbers(*_edges(dataset, sample), "video", None)[2]
    path = tree / FIRST / frames.file_name(number)
    replace(path, b"")
    with pytest.raises(MediaError) as caught:
        dataset.load(sample, ["video"], None)
    assert f"{path} cannot be read as a picture: it is empty" in str(caught.value)
    assert "datasets.prepare epic_kitchens" in str(caught.value)


def test_verify_decodes_every_frame(tree: Path) -> None:
    """Also one that has both its ends and is in no evaluation clip."""
    dataset = opened(tree)
    sample = max(dataset.samples("D1", "train"), key=lambda s: np.diff(_edges(dataset, s)))
    start, stop = _edges(dataset, sample)
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


def _edges(dataset: epic_kitchens.EpicKitchens, sample: Sample) -> tuple[int, int]:
    segment = dataset._segments[sample.id]
    return segment.start, segment.stop


def test_frames_or_halves_of_unequal_size_are_an_error(tree: Path) -> None:
    dataset = opened(tree)
    sample = dataset.samples("D1", "train")[0]
    start, stop = _edges(dataset, sample)
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


# --- the stand-in ------------------------------------------------------------------------------


def test_stand_in_has_the_columns_and_the_layout_of_the_real_one(stand_in: Path) -> None:
    assert opened(stand_in).fabricated
    table = pd.read_pickle(stand_in / SPLITS / "D2_train.pkl")
    columns = "uid participant_id video_id narration start_timestamp stop_timestamp start_frame"
    assert " ".join(table.columns) == f"{columns} stop_frame verb verb_class"
    assert set(table.participant_id) == {"P01"}
    lengths = table.stop_frame - table.start_frame
    assert lengths.min() < 64 < lengths.max()
    assert {start % 2 for start in table.start_frame} == {0, 1}
    seconds = table.start_timestamp.map(epic_files._seconds)
    assert np.allclose(seconds, table.start_frame / 60, atol=0.005)


def test_sound_of_the_stand_in_lies_where_the_time_stamps_say(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for sample in dataset.samples("D1", "train"):
        values = dataset.load(sample, ["audio"], None)["audio"][0]
        tone = fabricate.Subject(sample.label, 8, 0, 3).tone
        assert values[12:].mean(1).argmax() + 12 == pytest.approx(
            tone / 16000 * 512, abs=3, rel=0.05
        )


def test_fabricating_takes_two_segments_and_a_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        epic_kitchens.EpicKitchens.fabricate(tmp_path / "new", 1)
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="other files"):
        epic_kitchens.EpicKitchens.fabricate(tmp_path, 4)


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


# --- the real split tables ---------------------------------------------------------------------

HISTOGRAMS = {
    ("D1", "train"): (1543, [421, 383, 231, 128, 223, 71, 42, 44]),
    ("D1", "test"): (435, [124, 104, 52, 34, 66, 13, 20, 22]),
    ("D2", "train"): (2495, [715, 692, 245, 214, 298, 89, 113, 129]),
    ("D2", "test"): (750, [208, 217, 68, 56, 136, 14, 26, 25]),
    ("D3", "train"): (3897, [919, 1121, 450, 367, 808, 110, 53, 69]),
    ("D3", "test"): (974, [241, 280, 102, 71, 245, 29, 1, 5]),
}


@pytest.fixture(scope="session")
def real(epic_root: Path) -> epic_kitchens.EpicKitchens:
    return opened(epic_root)


@pytest.mark.data
@pytest.mark.parametrize("domain, part", HISTOGRAMS)
def test_real_tables_have_the_official_rows(
    real: epic_kitchens.EpicKitchens, domain: str, part: str
) -> None:
    rows, histogram = HISTOGRAMS[domain, part]
    samples = real.samples(domain, "train" if part == "train" else "target")
    counts = Counter(sample.label for sample in samples)
    assert len(samples) == len({s.id for s in samples}) == rows
    assert [counts[label] for label in range(8)] == histogram
    assert not list(epic_files.miscounted(real._tables[domain, part], domain, part))


@pytest.mark.data
def test_real_majority_classes_have_the_known_shares(real: epic_kitchens.EpicKitchens) -> None:
    shares = []
    for domain in DOMAINS:
        labels = Counter(sample.label for sample in real.samples(domain, "target"))
        shares.append(100 * max(labels.values()) / labels.total())
    assert shares == pytest.approx([28.5, 28.9, 28.75], abs=0.05)


@pytest.mark.data
def test_two_pairs_of_real_segments_show_the_same_frames(
    real: epic_kitchens.EpicKitchens,
) -> None:
    """One pair is a duplicate; the other one carries two verbs."""
    places: dict[Any, list[Sample]] = {}
    for s in real._segments.values():
        places.setdefault((s.part, s.video, s.start, s.stop), []).append(s.sample)
    shared = [[(s.id, s.label) for s in pair] for pair in places.values() if len(pair) > 1]
    assert shared == [
        [("D3/train/25710", 4), ("D3/train/25711", 4)],
        [("D3/train/28535", 1), ("D3/train/28536", 2)],
    ]


@pytest.mark.data
def test_real_segments_loop_and_last_as_known(real: epic_kitchens.EpicKitchens) -> None:
    lengths = np.array([s.stop - s.start for s in real._segments.values()])
    assert len(lengths) == 10094
    assert (lengths.min(), lengths.max()) == (30, 3379)
    assert np.mean(lengths < 64) == pytest.approx(0.267, abs=0.0005)
    longer = Counter(k for k, t in real._tables.items() for s in t if s.end - s.begin > 10)
    assert [longer[key] for key in HISTOGRAMS] == [98, 19, 204, 54, 70, 18]
    videos = {key: len({s.video for s in table}) for key, table in real._tables.items()}
    assert list(videos.values()) == [22, 6, 14, 5, 13, 4]


@pytest.mark.data
def test_real_rows_are_those_pandas_reads(epic_root: Path) -> None:
    for domain, part in HISTOGRAMS:
        path = epic_root / SPLITS / f"{domain}_{part}.pkl"
        rows = read_table(path, epic_files.COLUMNS)
        expected = pd.read_pickle(path)[list(epic_files.COLUMNS)]
        assert rows == expected.to_dict("records")


@pytest.mark.data
def test_real_tables_without_media_say_what_is_missing(real: epic_kitchens.EpicKitchens) -> None:
    with pytest.raises(MediaError, match=r"10094 of 10094 .*rgb/train/D1/P08_01/frame_0000000245"):
        real.prepare(["video"])
