"""HAC, on made-up clips in its layout and on the real split files."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import datasets
from benchmark import run
from datasets import hac, hac_files
from datasets.base import MultimodalDataset, Sample
from datasets.media import MediaError, audio, clips, fabricate, substream, video
from mmdg_common import UsageError

ALL = ["video", "flow", "audio"]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of each class and domain; tests that change something work on a `tree`."""
    root = tmp_path_factory.mktemp("hac") / "data"
    datasets.get("hac").fabricate(root, 2)
    return root


@pytest.fixture
def tree(stand_in: Path, tmp_path: Path) -> Path:
    """A copy of the made-up clips; files are links, so they are replaced, never written into."""
    shutil.copytree(stand_in, tmp_path / "data", copy_function=os.link)
    return tmp_path / "data"


def opened(root: Path, cache: Path | None = None, **options: Any) -> hac.Hac:
    dataset = datasets.create("hac", root, cache, **options)
    assert isinstance(dataset, hac.Hac)
    return dataset


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def names(samples: Any) -> list[str]:
    return [sample.id for sample in samples]


def with_copies(root: Path) -> list[str]:
    """Name human's first two training clips in its test file too; return their names."""
    train, test = (hac_files.split_file(root, "human", part) for part in ("train", "test"))
    rows = train.read_bytes().splitlines(keepends=True)[:2]
    content = test.read_bytes()
    replace(test, rows[0] + content + rows[1])
    return [f"human/{row.decode().split('.mp4')[0]}" for row in rows]


# --- the index ---------------------------------------------------------------------------------


def test_card_is_the_one_of_the_field() -> None:
    card = hac.Hac.card
    assert [(m.name, m.shape) for m in card.modalities] == [
        ("video", (3, 32, 224, 224)),
        ("flow", (2, 8, 224, 224)),
        ("audio", (1, 257, 1004)),
    ]
    assert card.domains == ("human", "animal", "cartoon")
    assert (len(card.classes), card.classes[0], card.classes[6]) == (7, "sleeping", "door_opening")
    recipe = card.recipe
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.batch_size) == (
        20,
        1e-4,
        1e-4,
        16,
    )


def test_roles_follow_the_split_files(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for domain in dataset.card.domains:
        train, val = (dataset.samples(domain, role) for role in ("train", "val"))
        assert Counter(s.label for s in train) == Counter(s.label for s in val)
        assert not set(names(train)) & set(names(val))
        assert list(dataset.samples(domain, "target")) == [*train, *val]
        assert train[0] == Sample(f"{domain}/sleeping_1", 0, domain)


def test_copies_of_training_clips_follow_the_options(tree: Path) -> None:
    copies = with_copies(tree)
    train = names(opened(tree).samples("human", "train"))
    new = names(opened(tree).samples("human", "val"))
    assert not set(copies) & set(new)
    assert set(copies) <= set(train)
    marked = [copies[0] + "@test", *new, copies[1] + "@test"]
    assert names(opened(tree, validation="with-duplicates").samples("human", "val")) == marked
    targets = {
        choice: names(opened(tree, target_set=choice).samples("human", "target"))
        for choice in ("all", "all-with-duplicates", "test")
    }
    assert targets == {"all": train + new, "all-with-duplicates": train + marked, "test": marked}


def test_a_copy_loads_the_clip_it_is_a_copy_of(tree: Path) -> None:
    with_copies(tree)
    dataset = opened(tree, target_set="all-with-duplicates")
    pair = [s for s in dataset.samples("human", "target") if s.id.startswith("human/sleeping_1")]
    assert len(pair) == 2
    first, second = (dataset.load(s, ALL, 4) for s in pair)
    assert all(torch.equal(first[m], second[m]) for m in ALL)


def test_mmdg_benchmarks_layout_is_read_too(tree: Path) -> None:
    usual = opened(tree)
    sample = usual.samples("human", "val")[0]
    expected, planned = usual.load(sample, ["flow"], None)["flow"], usual.fingerprint(ALL)
    for domain in usual.card.domains:
        (tree / domain).rename(tree / "HAC_Splits" / domain)
    moved = opened(tree)
    assert torch.equal(moved.load(sample, ["flow"], None)["flow"], expected)
    assert moved.fingerprint(ALL) == planned


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prepare hac --download"):
        datasets.create("hac", None if root is None else tmp_path / root)


def test_missing_split_file_is_named(tree: Path) -> None:
    hac_files.split_file(tree, "animal", "test").unlink()
    with pytest.raises(UsageError, match=r"HAC_test_only_animal\.csv is missing"):
        opened(tree)


@pytest.mark.parametrize("line", ["a.mp4", "a.mp4,7", "a.mp4,x", "a.avi,0", "a.mp4,0,1"])
def test_broken_line_of_a_split_file_is_named(tree: Path, line: str) -> None:
    path = hac_files.split_file(tree, "cartoon", "train")
    replace(path, b"good.mp4,3\r\n\r\n" + line.encode() + b"\r\n")
    with pytest.raises(UsageError, match=rf"line 3 of .*train_only_cartoon\.csv.*{line}"):
        opened(tree)


def test_a_clip_named_twice_in_one_file_is_an_error(tree: Path) -> None:
    path = hac_files.split_file(tree, "cartoon", "train")
    replace(path, b"a b .mp4,3\r\na b .mp4,3\r\n")
    with pytest.raises(UsageError, match=r"line 2 .*names a clip again"):
        opened(tree)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ({"validation": "cleam"}, "Did you mean 'clean'"),
        ({"target_set": "all_with_duplicates"}, "Did you mean 'all-with-duplicates'"),
        ({"audio_crop": "referense"}, "Did you mean 'reference'"),
        ({"frame_index": "off_by_one"}, "Did you mean 'off-by-one'"),
        ({"flow_test_crop": "257"}, "Did you mean '256'"),
        ({"on_bad_sample": "skipp"}, "Did you mean 'skip'"),
        ({"on_bad_samples": "skip"}, "Did you mean 'on_bad_sample'"),
    ],
)
def test_unknown_options_name_the_nearest(
    stand_in: Path, option: dict[str, str], nearest: str
) -> None:
    with pytest.raises(UsageError, match=nearest):
        opened(stand_in, **option)


def test_unknown_domain_and_modality_name_the_nearest(stand_in: Path) -> None:
    dataset = opened(stand_in)
    with pytest.raises(UsageError, match="'human'"):
        dataset.samples("humans", "train")
    with pytest.raises(UsageError, match="'video'"):
        dataset.prepare(["vidoe"])
    with pytest.raises(UsageError, match="'audio'"):
        dataset.load(dataset.samples("human", "train")[0], ["audi"], None)


def test_fingerprint_needs_no_decoding_and_follows_sizes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "probe", None)
    monkeypatch.setattr(audio, "duration", None)
    before = {m: opened(tree).fingerprint([m]) for m in ALL}
    assert opened(tree, flow_test_crop=256).fingerprint(["video"]) != before["video"]
    moved = tree.rename(tmp_path / "moved")
    flow = moved / "human" / "flow" / "eating_1_flow_y.mp4"
    replace(flow, flow.read_bytes() + b"\0")
    after = {m: opened(moved).fingerprint([m]) for m in ALL}
    assert [m for m in ALL if before[m] != after[m]] == ["flow"]
    clip = moved / "human" / "videos" / "eating_1.mp4"
    replace(clip, clip.read_bytes() + b"\0")  # says where the sound is cut
    after = {m: opened(moved).fingerprint([m]) for m in ALL}
    assert before["audio"] != after["audio"]
    reference = [opened(root, audio_crop="reference") for root in (moved, moved)]
    replace(clip, clip.read_bytes() + b"\0")
    assert len({d.fingerprint(["audio"]) for d in reference}) == 1


def test_stand_in_is_marked_and_counts_as_other_data(tree: Path) -> None:
    fabricated = opened(tree)
    assert fabricated.fabricated
    (tree / fabricate.MARKER).unlink()
    passed_off = opened(tree)
    assert not passed_off.fabricated
    assert fabricated.fingerprint(ALL) != passed_off.fingerprint(ALL)


# --- loading -----------------------------------------------------------------------------------


def test_load_gives_the_declared_shapes(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for sample in dataset.samples("animal", "target")[::6]:
        for seed in (None, 3):
            tensors = dataset.load(sample, ALL, seed)
            for modality in dataset.card.modalities:
                tensor = tensors[modality.name]
                assert (tensor.shape, tensor.dtype) == (modality.shape, torch.float32)
                assert tensor.is_contiguous()
                assert torch.isfinite(tensor).all()


def test_same_seed_same_tensors_in_any_subset_with_or_without_index(
    stand_in: Path, tmp_path: Path
) -> None:
    dataset, fresh = opened(stand_in, tmp_path), opened(stand_in)
    dataset.prepare(ALL)
    sample = dataset.samples("cartoon", "train")[4]
    for seed in (None, 0, 1):
        together = dataset.load(sample, ALL, seed)
        for subset in (["video"], ["flow"], ["audio"], ["audio", "flow"]):
            apart = fresh.load(sample, subset, seed)
            assert all(torch.equal(together[m], apart[m]) for m in subset)
    first, second = (dataset.load(sample, ALL, seed) for seed in (0, 1))
    assert not any(torch.equal(first[m], second[m]) for m in ALL)


def test_each_modality_is_the_pipeline_on_its_own_file(stand_in: Path) -> None:
    """The evaluation clip, put together by hand from a whole decoding."""
    dataset = opened(stand_in)
    sample = dataset.samples("human", "train")[2]
    clip = stand_in / "human" / "videos" / "eating_1.mp4"
    info = video.probe(clip)
    start = int((info.frames - 63) / 2)
    frames = video.decode(clip, info, range(info.frames))[start : start + 64 : 2]
    tensors = dataset.load(sample, ALL, None)
    assert torch.equal(tensors["video"], clips.rgb_clip(frames, None))
    halves = []
    for half in ("x", "y"):
        path = stand_in / "human" / "flow" / f"eating_1_flow_{half}.mp4"
        info = video.probe(path)
        assert info.frames == len(range(info.frames))
        start = int((info.frames - 31) / 2)
        whole = video.decode(path, info, range(info.frames), gray=True)
        halves.append(whole[start : start + 32 : 4])
    assert torch.equal(tensors["flow"], clips.flow_clip(*halves, None))


def ramp(root: Path, seconds: float, fps: int, rate: int = 16000) -> Path:
    """Replace a clip: a video of so many frames, and a sound whose values tell their second."""
    folder = root / "human"
    clip = folder / "videos" / "eating_1.mp4"
    images = np.zeros((round(seconds * fps), 32, 32, 3), np.uint8)
    images += np.arange(len(images), dtype=np.uint8)[:, None, None, None] * 2
    replace(clip, None)
    fabricate.write_mp4(clip, images, fps=fps)
    replace(folder / "audio" / "eating_1.wav", None)
    sound = np.arange(round(seconds * rate)) / rate / 16  # sixteen seconds make 1
    fabricate.write_wav(folder / "audio" / "eating_1.wav", sound, rate)
    return clip


def heard(
    dataset: hac.Hac, monkeypatch: pytest.MonkeyPatch, use: list[str], seed: Any, inner: int = 0
) -> Any:
    """First and last second of the sound that becomes a spectrogram, leaving out its ends."""
    got: list[np.ndarray] = []

    def keep(samples: np.ndarray, seed: int | None) -> torch.Tensor:
        got.append(samples)
        return torch.zeros(1, 257, 1004)

    with monkeypatch.context() as patch:
        patch.setattr(audio, "spectrogram", keep)
        dataset.load(dataset.samples("human", "train")[2], use, seed)
    (samples,) = got
    return (samples[inner] * 16, samples[-1 - inner] * 16) if len(samples) else None


SUBSETS = (["audio"], ["video", "audio"], ["flow", "audio"], ALL)


def test_sound_is_that_of_the_64_frames_whichever_modalities_are_used(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16)  # 128 frames, the central 64 are from frame 32 on
    dataset = opened(tree)
    for use in SUBSETS:
        assert heard(dataset, monkeypatch, use, None) == pytest.approx((2, 6), abs=0.01)
        start = clips.sample_indices(128, 32, 2, substream(5, "video", "start"))[0]
        span = (start / 16, (start + 64) / 16)
        assert heard(dataset, monkeypatch, use, 5) == pytest.approx(span, abs=0.01)


def test_short_clip_is_heard_whole(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp(tree, seconds=2, fps=24)
    for use in SUBSETS:
        assert heard(opened(tree), monkeypatch, use, None) == pytest.approx((0, 2), abs=0.01)


def test_reference_sound_follows_the_clip_in_use_at_24_frames_a_second(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16)
    dataset = opened(tree, audio_crop="reference")
    by_video = (32 / 24, (32 + 62) / 24)
    flow = video.probe(tree / "human" / "flow" / "eating_1_flow_x.mp4").frames
    first = (flow - 31) // 2
    by_flow = (first / 24, (first + 28) / 24)
    for use, span in zip(SUBSETS, (by_video, by_video, by_flow, by_video), strict=True):
        assert heard(dataset, monkeypatch, use, None) == pytest.approx(span, abs=0.01)


def test_reference_sound_of_a_looped_clip_is_silent_when_it_ends_before_it_starts(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=62 / 24, fps=24)  # frame 62 of 62 is frame 0 again
    dataset = opened(tree, audio_crop="reference")
    with pytest.warns(UserWarning, match=r"eating_1\.wav has no sound"):
        assert heard(dataset, monkeypatch, ["video", "audio"], None) is None
    spectrogram = dataset.load(dataset.samples("human", "train")[2], ["audio"], None)["audio"]
    assert spectrogram.abs().max() < 1e-3


def test_sound_at_another_rate_is_cut_at_the_same_seconds(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16, rate=44100)
    # The filter that resamples blurs the ends, so a sixteenth of a second is left out.
    span = heard(opened(tree), monkeypatch, ["audio"], None, inner=1000)
    assert span == pytest.approx((2 + 1 / 16, 6 - 1 / 16), abs=0.01)


def test_frame_index_is_exact_or_one_off_and_without_the_last(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=4, fps=16)  # exactly 64 frames
    seen: dict[str, list[list[int]]] = {}
    real = video.decode
    for choice in ("exact", "off-by-one"):
        got: list[list[int]] = []

        def spy(
            path: Path, info: Any, indices: Any, gray: bool, got: list[list[int]] = got
        ) -> torch.Tensor:
            got.append(list(indices))
            return real(path, info, indices, gray)

        monkeypatch.setattr(video, "decode", spy)
        dataset = opened(tree, frame_index=choice)
        dataset.load(dataset.samples("human", "train")[2], ["video"], None)
        seen[choice] = got
    assert seen["exact"] == [list(range(0, 64, 2))]
    # Of 63 countable frames the clip loops: 0, 2, ..., 62, each one less, and never below 0.
    assert seen["off-by-one"] == [[0, *range(1, 62, 2)]]


def test_flow_in_evaluation_is_as_large_as_asked_for(stand_in: Path) -> None:
    dataset = opened(stand_in, flow_test_crop="256")
    sample = dataset.samples("human", "train")[0]
    assert dataset.load(sample, ["flow"], None)["flow"].shape == (2, 8, 256, 256)
    assert dataset.load(sample, ["flow"], 1)["flow"].shape == (2, 8, 224, 224)


def test_flow_of_another_rate_is_sampled_by_its_own_count(tree: Path) -> None:
    for half in ("x", "y"):
        path = tree / "human" / "flow" / f"eating_1_flow_{half}.mp4"
        replace(path, None)
        fabricate.write_mp4(path, np.full((20 + (half == "x"), 32, 32), 128, np.uint8), fps=12)
    dataset = opened(tree)
    flow = dataset.load(dataset.samples("human", "train")[2], ["flow"], None)["flow"]
    assert flow.shape == (2, 8, 224, 224)
    assert flow.abs().max() < 0.02


# --- bad files ---------------------------------------------------------------------------------

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
    assert len(list((tmp_path / "cache").iterdir())) == 3
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


# --- the stand-in ------------------------------------------------------------------------------


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


def command(root: Path, results: Path, *more: str) -> list[str]:
    return [
        *("--method", "erm", "--dataset", "hac", "--data-root", str(root)),
        *("--sources", "human", "animal", "--target", "cartoon", "--results", str(results)),
        *("--backbone", "video=tiny_video", "flow=tiny_flow", "audio=tiny_audio"),
        *("--threads", "1", "--epochs", "1", "--batch-size", "7", *more),
    ]


def recorded(results: Path) -> dict[str, Any]:
    return {
        path.parts[-5]: json.loads(path.read_text())
        for path in results.glob("runs/hac/*/*/*/*/result.json")
    }


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


# --- the real split files ----------------------------------------------------------------------


@pytest.mark.data
def test_real_split_files_have_the_official_rows(hac_root: Path) -> None:
    dataset = opened(hac_root)
    assert not dataset.fabricated
    counts = {"human": (1111, 276), "animal": (730, 176), "cartoon": (870, 218)}
    for domain, (train, test) in counts.items():
        rows = hac_files.read_rows(hac_root, domain, 7)
        assert (len(rows.train), len(rows.test)) == (train, test)
        assert not list(rows.miscounted(domain))
        copies = [s for s in rows.test if s.id.endswith("@test")]
        assert len(copies) == (24 if domain == "human" else 0)
        by_id = {s.id: s.label for s in rows.train}
        assert all(by_id[s.id.removesuffix("@test")] == s.label for s in copies)
    human = hac_files.read_rows(hac_root, "human", 7)
    labels = Counter(s.label for s in human.test if s.id.endswith("@test"))
    assert labels == {0: 6, 1: 6, 3: 2, 4: 1, 5: 2, 6: 7}


def sizes(dataset: MultimodalDataset, role: Any) -> dict[str, int]:
    return {domain: len(dataset.samples(domain, role)) for domain in dataset.card.domains}


@pytest.mark.data
def test_real_roles_have_the_sizes_of_the_field(hac_root: Path) -> None:
    dataset = opened(hac_root)
    assert sizes(dataset, "train") == {"human": 1111, "animal": 730, "cartoon": 870}
    assert sizes(dataset, "target") == {"human": 1363, "animal": 906, "cartoon": 1088}
    val = sizes(dataset, "val")
    assert [sum(val.values()) - val[target] for target in val] == [394, 470, 428]
    reference = opened(hac_root, validation="with-duplicates", target_set="all-with-duplicates")
    val = sizes(reference, "val")
    assert [sum(val.values()) - val[target] for target in val] == [394, 494, 452]
    assert sizes(reference, "target") == {"human": 1387, "animal": 906, "cartoon": 1088}
    only = opened(hac_root, target_set="test")
    assert sizes(only, "target") == {"human": 276, "animal": 176, "cartoon": 218}
    everything = [s.id for d in reference.card.domains for s in reference.samples(d, "target")]
    assert len(set(everything)) == len(everything) == 3381


@pytest.mark.data
def test_real_actions_carry_the_names_of_their_files(hac_root: Path) -> None:
    """Cartoon clips are named after their class; `watching` is short for watching television."""
    dataset = opened(hac_root)
    for sample in dataset.samples("cartoon", "target"):
        action = sample.id.split("/")[1].rstrip(" 0123456789").rstrip("_")
        assert dataset.card.classes[sample.label].startswith(action)
