"""The `folder` dataset: a samples.csv and real media files of every kind."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import datasets
from benchmark import backbones, report, run
from datasets import prepare
from datasets.base import Sample
from datasets.folder import Folder
from datasets.media import MediaError, arrays, audio, clips, fabricate, video
from mmdg_common import UsageError

Lines = Sequence[Sequence[str]]


def save(root: Path, file: str, content: Any) -> str:
    """Write a file of any kind, if there is none yet, and return its path below the root."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if path.suffix == ".npy":
            np.save(path, content)
        elif path.suffix in (".wav", ".flac"):
            fabricate.write_wav(path, content) if path.suffix == ".wav" else _flac(path, content)
        elif path.suffix in (".mp4", ".mkv", ".avi"):
            fabricate.write_mp4(path, content)
        else:
            path.write_text(content)
    return file


def _flac(path: Path, samples: Any) -> None:
    import soundfile  # type: ignore[import-untyped]

    soundfile.write(str(path), samples, fabricate.RATE)


def table(root: Path, lines: Lines, **how: Any) -> Path:
    """Write samples.csv."""
    root.mkdir(exist_ok=True)
    text = how.pop("end", "\n").join(",".join(line) for line in lines) + "\n"
    (root / "samples.csv").write_text(text, **{"newline": "", "encoding": "utf-8", **how})
    return root


def vectors(root: Path, counts: Any, **extra: Sequence[str]) -> list[list[str]]:
    """Write a vector a recording; return the lines of a samples.csv that names them.

    Args:
        root: where to.
        counts: recordings by (domain, label).
        extra: further columns, their cells in order.
    """
    lines = [["label", "domain", "x", *extra]]
    rng = np.random.default_rng(0)
    for (domain, label), n in counts.items():
        for i in range(n):
            file = save(root, f"x/{domain}_{label}_{i}.npy", rng.normal(size=6))
            lines.append([label, domain, file, *(v[len(lines) - 1] for v in extra.values())])
    return lines


FOURS = {(d, c): 4 for d in "BA" for c in "yx"}


def opened(root: Path, cache: Path | None = None, **options: Any) -> Folder:
    dataset = datasets.create("folder", root, cache, **options)
    assert isinstance(dataset, Folder)
    return dataset


def ids(samples: Sequence[Sample]) -> list[str]:
    return [sample.id for sample in samples]


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--fabricate 3` writes; tests read it and change nothing."""
    root = tmp_path_factory.mktemp("folder") / "data"
    Folder.fabricate(root, 3)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Vectors of two domains and two classes, four of each."""
    return table(tmp_path / "data", vectors(tmp_path / "data", FOURS))


# --- samples.csv -------------------------------------------------------------------------------


def test_columns_make_the_card(example: Path) -> None:
    card = opened(example).card
    assert (card.name, card.domains) == ("folder", ("home", "lab", "street"))
    assert card.classes == ("clap", "jump", "push", "wave")
    assert [(m.name, m.shape, m.encoder) for m in card.modalities] == [
        ("video", (3, 32, 224, 224), "tiny_video"),
        ("audio", (1, 257, 1004), "tiny_audio"),
        ("features", (16,), "mlp"),
    ]
    for modality in card.modalities:
        backbones.create(modality.encoder, modality.shape)


def test_domains_keep_their_order_and_classes_are_sorted(small: Path) -> None:
    card = opened(small).card
    assert (card.domains, card.classes) == (("B", "A"), ("x", "y"))


def test_a_fifth_of_each_class_validates_and_the_whole_target_is_tested(tmp_path: Path) -> None:
    counts = {("a", "x"): 10, ("a", "y"): 3, ("a", "z"): 2, ("b", "x"): 4, ("b", "y"): 4}
    counts[("b", "z")] = 7
    dataset = opened(table(tmp_path / "d", vectors(tmp_path / "d", counts)))
    found = {
        (d, role): Counter(s.label for s in dataset.samples(d, role))
        for d in "ab"
        for role in ("train", "val", "target")
    }
    assert found["a", "val"] == {0: 2, 1: 1}  # round(10/5), round(3/5), round(2/5)
    assert found["a", "train"] == {0: 8, 1: 2, 2: 2}
    assert found["a", "target"] == {0: 10, 1: 3, 2: 2}
    assert found["b", "val"] == {0: 1, 1: 1, 2: 1}
    train, val = (set(ids(dataset.samples("a", role))) for role in ("train", "val"))
    assert not train & val
    assert ids(dataset.held_out("a")) == ids(dataset.samples("a", "val"))


def test_the_fifth_is_drawn_by_the_ids_alone(tmp_path: Path) -> None:
    lines = vectors(tmp_path / "d", FOURS)
    before = set(ids(opened(table(tmp_path / "d", lines)).samples("A", "val")))
    shuffled = [lines[0], *reversed(lines[1:])]
    assert set(ids(opened(table(tmp_path / "d", shuffled)).samples("A", "val"))) == before


def test_a_split_column_decides_the_roles_domain_by_domain(tmp_path: Path) -> None:
    split = ["train", "train", "val", "test"] * 2 + ["train"] * 5 + ["train"] * 3
    counts = {("a", "x"): 4, ("a", "y"): 4, ("b", "x"): 5, ("b", "y"): 3}
    dataset = opened(table(tmp_path / "d", vectors(tmp_path / "d", counts, split=split)))
    assert ids(dataset.samples("a", "train")) == [f"x/a_{c}_{i}.npy" for c in "xy" for i in (0, 1)]
    assert ids(dataset.samples("a", "val")) == ["x/a_x_2.npy", "x/a_y_2.npy"]
    assert ids(dataset.samples("a", "target")) == ["x/a_x_3.npy", "x/a_y_3.npy"]
    assert ids(dataset.held_out("a")) == ["x/a_x_3.npy", "x/a_y_3.npy"]
    # `b` names neither val nor test: a fifth of each class validates, all of it is tested.
    assert Counter(s.label for s in dataset.samples("b", "val")) == {0: 1, 1: 1}
    assert len(dataset.samples("b", "train")) == 6
    assert len(dataset.samples("b", "target")) == 8


def test_ids_come_from_the_first_path_or_their_own_column(tmp_path: Path, small: Path) -> None:
    assert ids(opened(small).samples("B", "target"))[0] == "x/B_y_0.npy"
    names = [f"r{i}" for i in range(16)]
    named = opened(table(tmp_path / "d", vectors(tmp_path / "d", FOURS, id=names)))
    assert ids(named.samples("B", "target")) == names[:8]
    assert [m.name for m in named.card.modalities] == ["x"]


def test_spreadsheets_may_write_a_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    lines = vectors(tmp_path / "d", FOURS)
    plain = opened(table(tmp_path / "d", lines))
    marked = opened(table(tmp_path / "d", [*lines, [""]], end="\r\n", encoding="utf-8-sig"))
    assert marked.card == plain.card
    assert marked.fingerprint(["x"]) == plain.fingerprint(["x"])


def edited(row: int, column: int, text: str) -> Callable[[list[list[str]]], Lines]:
    def edit(lines: list[list[str]]) -> Lines:
        lines[row - 1][column] = text
        return lines

    return edit


def one_domain(lines: list[list[str]]) -> Lines:
    return [lines[0], *(line for line in lines if line[1] == "A")]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(1, 0, "Label"), r"row 1: there is no column 'label', only Label, domain, x; name"),
        (edited(1, 1, "place"), r"row 1: there is no column 'domain'"),
        (edited(1, 2, "a+b"), r"row 1: a modality cannot be named 'a\+b'; use letters"),
        (edited(1, 2, "type"), r"row 1: a modality cannot be named 'type'; use another word"),
        (edited(1, 2, "fused"), r"row 1: a modality cannot be named 'fused'"),
        (edited(1, 2, "split"), r"row 1: there is no modality; add a column of paths"),
        (edited(1, 2, "label"), r"row 1: 2 columns are named 'label'"),
        (edited(4, 0, ""), r"row 4: the cell under label is empty; fill it"),
        (edited(4, 1, ""), r"row 4: the cell under domain is empty"),
        (edited(4, 1, "../up"), r"row 4: a domain cannot be named"),
        (edited(4, 2, ""), r"row 4: it names no file; remove the row"),
        (edited(4, 2, "../secret.npy"), r"row 4: \.\./secret\.npy leads out of the folder"),
        (edited(4, 2, "/etc/x.npy"), r"row 4: /etc/x\.npy leads out of the folder"),
        (edited(4, 2, r"C:\x.npy"), r"row 4: C:\\x\.npy leads out of the folder"),
        (edited(4, 2, "x/B_y_0.npy"), r"row 4: its id 'x/B_y_0\.npy' is that of row 2 too"),
        (edited(4, 2, "a.jpg"), r"row 4: column x: 'a\.jpg' is no known medium.*\.mp4.*Remove"),
        (edited(4, 2, "7"), r"row 4: column x: '7' is no known medium"),
        (edited(4, 2, "a.npy;b.npy"), r"row 4: column x: 'a\.npy;b\.npy' is no known medium"),
        (edited(4, 2, "a.wav"), r"row 4: column x: a\.wav is sound, but the rows before hold num"),
        (edited(4, 0, "yy"), r"row 4: class 'yy' is in domain 'B' alone \(1 rows\); correct"),
        (edited(4, 1, "C"), r"row 4: domain 'C' has too few recordings, 1; correct its name"),
        (one_domain, r"all rows are of domain 'A'; there must be two"),
        (lambda lines: [[*line, ""] for line in lines[:1]] + lines[1:], r"row 2: 3 cells under 4"),
        (lambda lines: lines[:1], "there must be a row of column names and a row a recording"),
        (lambda lines: [[";".join(line)] for line in lines], "separated by semicolons; save it"),
    ],
)
def test_what_is_wrong_in_samples_csv_is_named_with_its_row(
    tmp_path: Path, edit: Callable[[list[list[str]]], Lines], message: str
) -> None:
    root = table(tmp_path / "d", edit(vectors(tmp_path / "d", FOURS)))
    with pytest.raises(UsageError, match=message) as error:
        opened(root)
    assert str(root / "samples.csv") in str(error.value)


def test_all_of_one_class_is_refused(tmp_path: Path) -> None:
    lines = vectors(tmp_path / "d", {("a", "x"): 3, ("b", "x"): 3})
    with pytest.raises(UsageError, match="all rows have the label 'x'"):
        opened(table(tmp_path / "d", lines))


def test_an_unknown_split_offers_the_nearest(tmp_path: Path) -> None:
    lines = vectors(tmp_path / "d", FOURS, split=["train"] * 15 + ["vall"])
    with pytest.raises(UsageError, match=r"row 17: unknown split 'vall'.*mean 'val'"):
        opened(table(tmp_path / "d", lines))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    lines = [[c.replace("y", "ÿ") for c in line] for line in vectors(tmp_path / "d", FOURS)]
    with pytest.raises(UsageError, match="save it as CSV UTF-8"):
        opened(table(tmp_path / "d", lines, encoding="latin-1"))


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_a_folder_without_samples_csv_says_how_to_make_it(root: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"samples\.csv, a row each.*--fabricate 5"):
        datasets.create("folder", None if root is None else tmp_path / root)


# --- the media ---------------------------------------------------------------------------------


def one_of_each(root: Path, **columns: Callable[[int], tuple[str, Any]]) -> Folder:
    """Return a dataset of 2 domains, 2 classes and 12 rows with these columns of files."""
    lines = [["label", "domain", *columns]]
    for i in range(12):
        cells = []
        for column, make in columns.items():
            name, content = make(i)
            parts = zip(name.split(";"), content if ";" in name else [content], strict=True)
            cells.append(";".join(save(root, f"{column}/{n}", c) for n, c in parts))
        lines.append([f"c{i % 2}", f"d{i // 6}", *cells])
    return opened(table(root, lines))


def first(dataset: Folder) -> Sample:
    return dataset.samples("d0", "target")[0]


def subject(i: int) -> fabricate.Subject:
    return fabricate.Subject(i % 2, 2, 0, 2)


def scene(i: int) -> fabricate.Scene:
    return fabricate.scene(subject(i), np.random.default_rng(i), 40)


def test_video_goes_through_the_pipeline_of_hac(tmp_path: Path) -> None:
    root = tmp_path / "d"
    dataset = one_of_each(root, cam=lambda i: (f"{i}.mkv", scene(i).rgb))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((3, 32, 224, 224), "tiny_video")
    loaded = dataset.load(first(dataset), ["cam"], None)["cam"]
    path = root / "cam/0.mkv"
    wanted = [i % 40 for i in range(0, 64, 2)]  # too short for 64 frames: looped from the start
    frames = video.decode(path, video.probe(path), wanted)
    assert torch.equal(loaded, clips.rgb_clip(frames, None))
    assert dataset.load(first(dataset), ["cam"], 5)["cam"].shape == (3, 32, 224, 224)


def test_two_videos_in_a_cell_are_flow(tmp_path: Path) -> None:
    root = tmp_path / "d"
    dataset = one_of_each(root, flow=lambda i: (f"{i}_x.mp4;{i}_y.mp4", (scene(i).x, scene(i).y)))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((2, 8, 224, 224), "tiny_flow")
    sample = first(dataset)
    assert sample.id == "flow/0_x.mp4;flow/0_y.mp4"
    paths = [root / f"flow/0_{half}.mp4" for half in "xy"]
    start = (39 - 32 + 1) // 2
    x, y = (video.decode(p, video.probe(p), range(start, start + 32, 4), gray=True) for p in paths)
    assert torch.equal(dataset.load(sample, ["flow"], None)["flow"], clips.flow_clip(x, y, None))
    assert dataset.size(sample, "flow") == sum(path.stat().st_size for path in paths)


def test_flow_whose_halves_differ_in_size_is_an_error(tmp_path: Path) -> None:
    def halves(i: int) -> tuple[str, Any]:
        return f"{i}_x.mp4;{i}_y.mp4", (scene(i).x, scene(i).y[:, :32, :32])

    dataset = one_of_each(tmp_path / "d", flow=halves)
    with pytest.raises(MediaError, match=r"0_x\.mp4 and .*0_y\.mp4 differ in size"):
        dataset.load(first(dataset), ["flow"], None)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_becomes_a_spectrogram(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "d"

    def tone(i: int) -> tuple[str, Any]:
        return f"{i}.{suffix}", fabricate.sound(subject(i), np.random.default_rng(i), 2)

    dataset = one_of_each(root, mic=tone)
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((1, 257, 1004), "tiny_audio")
    loaded = dataset.load(first(dataset), ["mic"], None)["mic"]
    whole = audio.read_wav(root / f"mic/0.{suffix}", 0, 10)
    assert torch.equal(loaded, audio.spectrogram(whole, None))


def test_of_a_long_sound_the_middle_is_tested_and_random_seconds_train(tmp_path: Path) -> None:
    root = tmp_path / "d"
    ramp = np.linspace(-0.9, 0.9, 14 * fabricate.RATE)
    noisy = ramp * np.random.default_rng(0).uniform(0.5, 1, len(ramp))
    dataset = one_of_each(root, mic=lambda i: (f"{i}.wav", noisy))
    sample = first(dataset)
    middle = audio.spectrogram(audio.read_wav(root / "mic/0.wav", 2, 12), None)
    assert torch.equal(dataset.load(sample, ["mic"], None)["mic"], middle)
    one, other = (dataset.load(sample, ["mic"], seed)["mic"] for seed in (1, 2))
    assert not torch.allclose(one, other, atol=0.2)


def test_vectors_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = one_of_each(tmp_path / "d", x=lambda i: (f"{i}.npy", np.arange(5) + 100 * i))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((5,), "mlp")
    loaded = dataset.load(dataset.samples("d0", "target")[1], ["x"], 3)["x"]
    assert loaded.dtype == torch.float32
    assert loaded.tolist() == [100, 101, 102, 103, 104]


def test_time_series_get_one_length_and_their_own_scale(tmp_path: Path) -> None:
    root = tmp_path / "d"

    def series(i: int) -> tuple[str, Any]:
        time = np.linspace(0, 1, 31 + i)  # every recording of another length
        return f"{i}.npy", np.stack([7 + 3 * time, np.full(len(time), 0.1)])

    dataset = one_of_each(root, imu=series)
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((2, 128), "signal_cnn")
    ramp = np.linspace(0, 1, 128)
    ramp = (ramp - ramp.mean()) / ramp.std()
    for sample in dataset.samples("d0", "target"):
        loaded = dataset.load(sample, ["imu"], None)["imu"].numpy()
        np.testing.assert_allclose(loaded[0], ramp, atol=1e-5)
        np.testing.assert_allclose(loaded[1], 0, atol=1e-5)
    kept = opened(root, length="16", standardise="none")
    np.testing.assert_allclose(
        kept.load(first(kept), ["imu"], None)["imu"],
        [np.linspace(7, 10, 16), np.full(16, 0.1)],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "text",
    ["{0},{1}", "{0};{1}", "{0} {1}", "\t{0}\t{1}"],
    ids=["comma", "semicolon", "blank", "tab"],
)
@pytest.mark.parametrize("header", [False, True])
def test_time_series_may_be_text(tmp_path: Path, text: str, header: bool) -> None:
    lines = [text.format("east", "north")] if header else []
    lines += [text.format(t, -2.5 * t) for t in range(20)]
    path = tmp_path / "a.csv"
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    assert arrays.shape(path) == (2, 20)
    np.testing.assert_array_equal(arrays.read(path), [np.arange(20), -2.5 * np.arange(20)])


def test_clips_are_read_by_a_small_encoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = one_of_each(
        tmp_path / "d", depth=lambda i: (f"{i}.npy", rng.integers(0, 255, (1, 8, 24, 24), np.uint8))
    )
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((1, 8, 24, 24), "depth_cnn")
    loaded = dataset.load(first(dataset), ["depth"], None)["depth"]
    assert loaded.mean().abs() < 1e-6
    assert loaded.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 3, 4)), r"has the shape \[2, 3, 4\]; arrays may be vectors \[D\], time"),
        (np.array(["a", "b"]), "does not hold an array of real numbers"),
        (np.array([{}]), "cannot be read as numbers"),
        (np.zeros(0), "cannot be read as numbers"),
    ],
)
def test_arrays_that_no_encoder_reads_are_refused(
    tmp_path: Path, content: Any, message: str
) -> None:
    with pytest.raises(MediaError, match=message):
        one_of_each(tmp_path / "d", x=lambda i: (f"{i}.npy", content))


def test_the_target_cannot_reach_the_tensors_of_the_sources(tmp_path: Path) -> None:
    """The sources' tensors stay the same bit for bit when all of the target is replaced."""
    rng = np.random.default_rng(0)

    def series(scale: float) -> Callable[[int], tuple[str, Any]]:
        def make(i: int) -> tuple[str, Any]:
            values = np.random.default_rng(i).normal(size=(3, 40 + i))
            if i >= 6:
                values = scale * rng.normal(size=(3, int(40 * scale)))
            return f"{i}.npy", values

        return make

    one, other = (one_of_each(tmp_path / str(scale), imu=series(scale)) for scale in (1, 50))
    assert one.card == other.card
    for sample in one.samples("d0", "train"):
        a, b = (data.load(sample, ["imu"], 1)["imu"] for data in (one, other))
        assert torch.equal(a, b)


def test_loading_depends_on_the_seed_alone(example: Path) -> None:
    names = ["video", "audio", "features"]
    dataset, again = opened(example), opened(example)
    sample = dataset.samples("lab", "train")[0]
    for seed in (None, 0, 1):
        one, other = dataset.load(sample, names, seed), again.load(sample, names, seed)
        assert all(torch.equal(one[m], other[m]) for m in names)
    alone = again.load(sample, ["audio"], 1)["audio"]
    assert torch.equal(alone, dataset.load(sample, names, 1)["audio"])
    drawn = dataset.load(sample, names, 0)
    assert not torch.equal(drawn["video"], one["video"])
    assert not torch.equal(drawn["audio"], one["audio"])


# --- identity ----------------------------------------------------------------------------------


def test_the_fingerprint_covers_labels_roles_sizes_and_options_but_no_place(
    tmp_path: Path, small: Path
) -> None:
    before = opened(small).fingerprint(["x"])
    lines = [line.split(",") for line in (small / "samples.csv").read_text().splitlines()]
    small.rename(tmp_path / "elsewhere")
    root = tmp_path / "elsewhere"
    assert opened(root).fingerprint(["x"]) == before
    assert opened(root, length=64).fingerprint(["x"]) != before

    lines[1][0] = "x"
    assert opened(table(root, lines)).fingerprint(["x"]) != before
    lines[1][0] = "y"
    split = [["split"], *[["train"]] * 15, ["test"]]
    parted = [[*line, *cell] for line, cell in zip(lines, split, strict=True)]
    assert opened(table(root, parted)).fingerprint(["x"]) != before
    assert opened(table(root, lines)).fingerprint(["x"]) == before
    np.save(root / lines[1][2], np.zeros(6, np.float16))
    assert opened(root).fingerprint(["x"]) != before


# --- broken files ------------------------------------------------------------------------------


def damaged(root: Path) -> None:
    """Spoil four recordings: a missing, an empty, a cut-off file and one of another shape."""
    (root / "x/B_y_0.npy").unlink()
    (root / "x/B_y_1.npy").write_bytes(b"")
    content = (root / "x/A_y_2.npy").read_bytes()
    (root / "x/A_y_2.npy").write_bytes(content[:-8])
    np.save(root / "x/A_x_3.npy", np.zeros(7))


def test_a_missing_file_is_named_with_its_row(small: Path) -> None:
    (small / "x/B_y_0.npy").unlink()
    dataset = opened(small)
    message = r"samples\.csv, row 2: .*B_y_0\.npy is missing or empty.*--on-bad-sample skip"
    with pytest.raises(MediaError, match=message):
        dataset.fingerprint(["x"])


def test_a_broken_file_is_named_with_its_row_before_training(small: Path) -> None:
    np.save(small / "x/B_x_1.npy", np.zeros(7))
    dataset = opened(small)
    message = r"1 rows.*row 7: .*B_x_1\.npy has the shape \[7\], but .*B_y_0\.npy has \[6\]"
    with pytest.raises(MediaError, match=message):
        dataset.prepare(["x"])


def test_skip_leaves_out_what_cannot_be_read(small: Path, tmp_path: Path) -> None:
    damaged(small)
    for _ in range(2):  # the second time from the cached index
        dataset = opened(small, tmp_path / "cache", on_bad_sample="skip")
        planned = dataset.fingerprint(["x"])
        dataset.prepare(["x"])
        spoilt = {"x/B_y_0.npy", "x/B_y_1.npy", "x/A_y_2.npy", "x/A_x_3.npy"}
        assert set(dataset.skipped) == spoilt
        every = {s.id for d in "AB" for s in dataset.samples(d, "target")}
        assert len(every) == 12
        assert not every & spoilt
        assert dataset.fingerprint(["x"]) == planned
    assert [
        p.name.split("-index")[0].rpartition("-")[0] for p in (tmp_path / "cache").iterdir()
    ] == ["folder-x"]


def test_an_empty_cell_is_a_missing_file(tmp_path: Path) -> None:
    root = tmp_path / "d"
    lines = vectors(root, FOURS)
    lines = [[*line, "y"] if n == 0 else [*line, line[2]] for n, line in enumerate(lines)]
    lines[5][3] = ""
    table(root, lines)
    with pytest.raises(MediaError, match=r"row 6: the cell under y is empty"):
        opened(root).prepare(["x", "y"])
    opened(root).prepare(["x"])
    skipping = opened(root, on_bad_sample="skip")
    skipping.prepare(["x", "y"])
    assert list(skipping.skipped) == [lines[5][2]]


def test_the_index_follows_files_and_folders(small: Path, tmp_path: Path) -> None:
    """A file replaced by one of the same size, or the same names elsewhere, is looked at anew."""
    opened(small, tmp_path / "cache").prepare(["x"])
    path = small / "x/B_x_1.npy"
    stamp = path.stat()
    np.save(path, np.zeros((2, 3)))
    assert path.stat().st_size == stamp.st_size
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    with pytest.raises(MediaError, match=r"B_x_1\.npy has the shape \[2, 3\]"):
        opened(small, tmp_path / "cache").prepare(["x"])


def test_numbers_that_are_not_finite_are_an_error_that_says_how_to_go_on(small: Path) -> None:
    np.save(small / "x/B_x_1.npy", np.full(6, np.nan))
    dataset = opened(small)
    dataset.prepare(["x"])
    (sample,) = (s for s in dataset.samples("B", "target") if s.id == "x/B_x_1.npy")
    with pytest.raises(MediaError, match=r"not finite.*prepare folder --root DIR"):
        dataset.load(sample, ["x"], None)
    (problem,) = dataset.verify()
    assert problem.startswith("row 7, x: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 15}, "length: type 16 or more"),
        ({"standardise": "sampel"}, "mean 'sample'"),
        ({"on_bad_sample": "skp"}, "mean 'skip'"),
        ({"lenght": 64}, "mean 'length'"),
    ],
)
def test_wrong_options_say_what_is_right(
    small: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(small, **options)


def test_unknown_domains_and_modalities_are_named(small: Path) -> None:
    dataset = opened(small)
    with pytest.raises(UsageError, match="unknown domain 'C'"):
        dataset.samples("C", "train")
    with pytest.raises(UsageError, match="unknown modality 'z'"):
        dataset.load(dataset.samples("A", "train")[0], ["z"], None)


# --- the commands ------------------------------------------------------------------------------


def test_prepare_counts_and_finds_nothing_wrong(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["folder", "--root", str(example)]) == 0
    out = capsys.readouterr().out
    assert "36 recordings of 4 classes in 3 domains" in out
    assert "lab: 12 recordings, 3 to 3 of each class" in out
    assert "folder: complete." in out


def test_prepare_names_everything_that_is_wrong(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(small)
    assert prepare.main(["folder", "--root", str(small)]) == 1
    out = capsys.readouterr().out
    for row, name in ((2, "B_y_0"), (3, "B_y_1"), (12, "A_y_2"), (17, "A_x_3")):
        assert f"wrong: row {row}, x: {small}/x/{name}.npy" in out
    assert "wrong in 4 places" in out


def test_a_domain_without_validation_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {("a", "x"): 2, ("a", "y"): 2, ("b", "x"): 5, ("b", "y"): 5}
    root = table(tmp_path / "d", vectors(tmp_path / "d", counts))
    assert prepare.main(["folder", "--root", str(root)]) == 1
    assert "domain a has nothing to validate on" in capsys.readouterr().out


def test_there_is_nothing_to_download_and_little_to_fabricate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["folder", "--root", str(tmp_path / "d"), "--download"]) == 2
    assert "holds your own files. Leave --download out" in capsys.readouterr().err
    assert prepare.main(["folder", "--root", str(tmp_path / "d"), "--fabricate", "2"]) == 2
    assert "at least 3 recordings" in capsys.readouterr().err


def benchmark_run(root: Path, results: Path, *more: str) -> int:
    return run.main(
        [
            *("--method", "erm", "--dataset", "folder", "--data-root", str(root)),
            *("--results", str(results), "--device", "cpu", "--threads", "1", *more),
        ]
    )


def test_two_modalities_run_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vectors and time series of two domains, one file missing."""
    root, results = tmp_path / "d", tmp_path / "r"
    rng = np.random.default_rng(0)

    def series(i: int) -> tuple[str, Any]:
        return f"{i}.npy", np.sin((1 + i % 2) * np.linspace(0, 9, 50)) + rng.normal(0, 0.1, (2, 50))

    one_of_each(root, x=lambda i: (f"{i}.npy", rng.normal(i % 2, 0.1, 4)), imu=series)
    assert benchmark_run(root, results, "--all-splits", "--epochs", "2") == 0
    (root / "imu/3.npy").unlink()
    assert benchmark_run(root, results, "--all-splits", "--epochs", "2") == 2
    assert "row 5: " in capsys.readouterr().err
    skip = ("--target", "d0", "--sources", "d1", "--epochs", "2", "--on-bad-sample", "skip")
    assert benchmark_run(root, results, *skip) == 0

    records = [json.loads(p.read_text()) for p in results.glob("runs/folder/erm/*/*/*/result.json")]
    assert sorted(len(record["left_out"]) for record in records) == [0, 0, 1]
    capsys.readouterr()
    assert report.main(["--results", str(results)]) == 0
    assert "folder · multi-source · x+imu" in capsys.readouterr().out


def test_the_command_for_a_missing_cell_runs_it(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    more = ("--setting", "single-source", "--epochs", "1")
    assert benchmark_run(small, tmp_path / "r", "--sources", "A", "--target", "B", *more) == 0
    assert benchmark_run(small, tmp_path / "r", "--all-splits", "--seeds", "1", *more) == 0
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path / "r")]) == 0
    (line,) = (n for n in capsys.readouterr().out.splitlines() if "benchmark.run" in n)
    assert run.main([*shlex.split(line)[3:], "--device", "cpu", "--threads", "1"]) == 0
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    assert "Missing" not in out
    assert out.count("single-source") == 1


def test_a_subclass_has_a_name_and_a_recipe_of_its_own(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    class Gestures(Folder):
        name = "gestures"
        recipe = replace(Folder.recipe, epochs=3)

    datasets.names()  # discovers the others first
    monkeypatch.setitem(datasets._registry._items, "gestures", Gestures)
    card = datasets.create("gestures", small).card
    assert (card.name, card.recipe.epochs, card.recipe.lr) == ("gestures", 3, 1e-3)


@pytest.mark.slow
def test_the_example_is_learned_well_above_chance(tmp_path: Path, example: Path) -> None:
    results = tmp_path / "r"
    more = ("--target", "street", "--sources", "home", "lab", "--epochs", "6", "--batch-size", "8")
    # One validation, at the end: six would take most of the time.
    more += ("--validate-every", "1000")
    subsets = ("video", "audio", "features")
    assert benchmark_run(example, results, *more, "--modalities", *subsets) == 0
    paths = list(results.rglob("result.json"))
    assert len(paths) == len(subsets)
    for path in paths:
        target = json.loads(path.read_text())["rules"]["last"]["target"]
        assert target["n"] == 12
        assert target["accuracy"] >= 0.5, path
