"""The UTD-MHAD reader, mostly on a tiny tree in the official layout."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import poison
from scipy.io import savemat
from support_copies import skeleton, write_utd

import datasets
from benchmark import run
from datasets import utd_mhad
from datasets.base import MultimodalDataset, Sample
from datasets.media import depth as depth_video
from datasets.media import motion
from mmdg_common import UsageError

ALL = ["depth", "skeleton", "accelerometer", "gyroscope"]
WEARABLE = ["skeleton", "accelerometer", "gyroscope"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two actions by eight subjects, three trials each: 48 recordings."""
    root = tmp_path / "data"
    ids = [f"a{a}_s{s}_t{t}" for a in (1, 12) for s in range(1, 9) for t in (1, 2, 3)]
    for seed, recording in enumerate(ids):
        write_utd(root, recording, seed)
    return root


def open_tree(root: Path, cache: Path | None = None) -> utd_mhad.UtdMhad:
    dataset = datasets.create("utd_mhad", root, cache)
    assert isinstance(dataset, utd_mhad.UtdMhad)
    return dataset


def everything(dataset: MultimodalDataset) -> list[Sample]:
    return [s for domain in dataset.card.domains for s in dataset.samples(domain, "target")]


def never(*_: object, **__: object) -> None:
    pytest.fail("read again")


# --- the index ---------------------------------------------------------------------------------


def test_card_names_the_official_actions_in_order() -> None:
    card = utd_mhad.UtdMhad.card
    assert [m.name for m in card.modalities] == ALL
    assert len(card.classes) == len(set(card.classes)) == 27
    assert (card.classes[0], card.classes[11], card.classes[26]) == (
        "swipe_left",
        "bowling",
        "squat",
    )
    assert (card.recipe.epochs, card.recipe.lr, card.recipe.batch_size) == (30, 1e-3, 32)


def test_samples_carry_id_class_and_domain_of_their_file_name(tree: Path) -> None:
    found = {s.id: s for s in everything(open_tree(tree))}
    assert len(found) == 48
    assert found["a1_s1_t1"] == Sample("a1_s1_t1", 0, "s1s2")
    assert found["a12_s2_t3"] == Sample("a12_s2_t3", 11, "s1s2")
    assert found["a12_s3_t1"].domain == "s3s4"
    assert found["a1_s8_t2"].domain == "s7s8"


def test_train_and_val_share_nothing_and_make_up_the_domain(tree: Path) -> None:
    dataset = open_tree(tree)
    for domain in dataset.card.domains:
        train, val = dataset.samples(domain, "train"), dataset.samples(domain, "val")
        assert not set(train) & set(val)
        assert set(train) | set(val) == set(dataset.samples(domain, "target"))
        for label in (0, 11):  # round(6 / 5) of each class
            assert sum(s.label == label for s in val) == 1


def test_split_does_not_depend_on_listing_order_seed_or_other_domains(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {d: open_tree(tree).samples(d, "val") for d in ("s1s2", "s5s6")}
    real = utd_mhad.os.scandir

    class Reversed:
        def __init__(self, folder: Path) -> None:
            with real(folder) as entries:
                self.entries = sorted(entries, key=lambda e: e.name, reverse=True)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(utd_mhad.os, "scandir", Reversed)
    np.random.seed(99)  # noqa: NPY002 - a global seed must not matter
    torch.manual_seed(99)
    for path in tree.glob("*/a*_s3_*"):
        path.unlink()
    assert {d: open_tree(tree).samples(d, "val") for d in before} == before


def test_split_is_the_same_in_every_process(tree: Path) -> None:
    dataset = open_tree(tree)
    drawn = {d: [s.id for s in dataset.samples(d, "val")] for d in ("s1s2", "s7s8")}
    assert drawn == {"s1s2": ["a1_s1_t2", "a12_s2_t2"], "s7s8": ["a1_s8_t1", "a12_s7_t1"]}


def test_unknown_domain_and_modality_name_the_nearest(tree: Path) -> None:
    dataset = open_tree(tree)
    with pytest.raises(UsageError, match="s1s2"):
        dataset.samples("s1s3", "train")
    with pytest.raises(UsageError, match="'gyroscope'"):
        dataset.prepare(["gyroscop"])


def test_foreign_files_are_not_recordings(tree: Path) -> None:
    for name in ("a28_s1_t1", "a1_s9_t1", "a1_s1_t0", "Skeleton_joint_order"):
        (tree / "Skeleton" / f"{name}_skeleton.mat").write_bytes(b"")
    (tree / "Skeleton" / "a1_s1_t7_inertial.mat").write_bytes(b"")
    assert len(everything(open_tree(tree))) == 48


# --- what is missing ---------------------------------------------------------------------------


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    given = None if root is None else tmp_path / root
    with pytest.raises(UsageError, match=r"UTD-MHAD\.html") as caught:
        datasets.create("utd_mhad", given)
    assert given is None or str(given) in str(caught.value)


def test_missing_folder_matters_only_to_its_modality(tree: Path) -> None:
    (tree / "Depth").rename(tree / "elsewhere")
    dataset = open_tree(tree)
    dataset.prepare(WEARABLE)
    assert len(dataset.fingerprint(WEARABLE)) == 64
    for use in (dataset.prepare, dataset.fingerprint):
        with pytest.raises(UsageError, match=r"48 of 48 depth files .*a1_s1_t1_depth\.mat"):
            use(["skeleton", "depth"])


def test_one_missing_file_is_named_and_counted(tree: Path) -> None:
    (tree / "Inertial" / "a12_s4_t2_inertial.mat").unlink()
    dataset = open_tree(tree)
    dataset.prepare(["skeleton", "depth"])
    for use in (dataset.prepare, dataset.fingerprint):
        with pytest.raises(UsageError, match=r"1 of 48 .*a12_s4_t2_inertial\.mat"):
            use(["gyroscope"])


def test_fingerprint_follows_sizes_of_the_used_modalities_not_the_place(
    tree: Path, tmp_path: Path
) -> None:
    before = {m: open_tree(tree).fingerprint([m]) for m in ALL}
    moved = tree.rename(tmp_path / "moved")
    with (moved / "Inertial" / "a1_s1_t1_inertial.mat").open("ab") as file:
        file.write(b"\0")
    after = {m: open_tree(moved).fingerprint([m]) for m in ALL}
    assert [m for m in ALL if before[m] != after[m]] == ["accelerometer", "gyroscope"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("Skeleton/a1_s1_t1_skeleton.mat", None),
        ("Skeleton/a1_s1_t1_skeleton.mat", {"other": np.zeros(3)}),
        ("Skeleton/a1_s1_t1_skeleton.mat", {"d_skel": np.ones((20, 2, 5))}),
        ("Skeleton/a1_s1_t1_skeleton.mat", {"d_skel": np.full((20, 3, 5), np.nan)}),
        ("Skeleton/a1_s1_t1_skeleton.mat", {"d_skel": np.zeros((20, 3, 5))}),
        ("Inertial/a1_s1_t1_inertial.mat", {"d_iner": np.ones((0, 6))}),
        ("Depth/a1_s1_t1_depth.mat", {"d_depth": np.zeros((240, 320, 4), np.uint16)}),
        ("Depth/a1_s1_t1_depth.mat", None),
    ],
)
def test_broken_file_is_named_with_what_to_do(
    tree: Path, file: str, content: dict[str, Any] | None
) -> None:
    path = tree / file
    if content is None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        savemat(path, content)
    with pytest.raises(UsageError, match="Download it again") as caught:
        open_tree(tree).prepare(ALL)
    assert str(path) in str(caught.value)


# --- pre-processing ----------------------------------------------------------------------------


def test_resample_keeps_both_ends_and_interpolates_between() -> None:
    values = np.array([[0.0, 10.0], [2.0, 20.0], [8.0, 0.0]])
    # Positions 0, 0.5, 1, 1.5, 2 of three samples.
    expected = [[0, 10], [1, 15], [2, 20], [5, 10], [8, 0]]
    np.testing.assert_allclose(motion.resample(values, 5), expected)
    np.testing.assert_allclose(motion.resample(values, 2), values[[0, 2]])
    np.testing.assert_allclose(motion.resample(values[:1], 3), values[[0, 0, 0]])


def test_skeleton_ignores_where_and_how_large_the_person_is() -> None:
    joints = skeleton(7, seed=1)
    plain = motion.convert_skeleton(joints)
    moved = joints * 1.7 + np.array([0.3, -2.0, 5.0])[None, :, None]
    np.testing.assert_allclose(motion.convert_skeleton(moved), plain, atol=1e-5)


def test_skeleton_keeps_movement_in_torso_lengths() -> None:
    joints = np.zeros((20, 3, 2))
    joints[motion.SHOULDER_CENTER, 1] = 0.5  # a torso of half a metre
    joints[:, 2, 1] += 1.0  # everything moves away by a metre: two torsos
    converted = motion.convert_skeleton(joints)  # axis, time, joint
    assert converted.shape == (3, 48, 20)
    np.testing.assert_allclose(converted[2, 0], 0)
    np.testing.assert_allclose(converted[2, -1], 2)
    np.testing.assert_allclose(converted[1, :, motion.SHOULDER_CENTER], 1)


def test_depth_is_cropped_to_the_person_and_relative_to_it() -> None:
    frames = np.zeros((240, 320, 5), np.uint16)
    frames[100:196, 50:146] = 3000  # a square of 96 pixels, halved by the resizing
    frames[100:196, 50:98, 4] = 2500  # in the last frame the left half comes half a metre closer
    code = depth_video.convert_depth(frames)
    assert (code.shape, code.dtype) == ((1, 16, 48, 48), np.uint8)
    depth = code[0] / depth_video.DEPTH_CODES
    np.testing.assert_allclose(depth[0], 1, atol=0.01)
    np.testing.assert_allclose(depth[-1, :, :24], 1.5, atol=0.01)
    np.testing.assert_allclose(depth[-1, :, 24:], 1, atol=0.01)
    shifted = np.roll(frames, (20, 60), axis=(0, 1))
    shifted[shifted > 0] += 400
    np.testing.assert_array_equal(depth_video.convert_depth(shifted), code)


def test_depth_of_a_narrow_person_is_padded_with_background_on_both_sides() -> None:
    frames = np.zeros((240, 320, 3), np.uint16)
    frames[50:146, 10:58] = 2000
    depth = depth_video.convert_depth(frames)[0]
    assert not depth[:, :, :12].any()
    assert not depth[:, :, 36:].any()
    assert depth[:, :, 12:36].all()


def test_load_gives_the_declared_shapes_and_columns(tree: Path) -> None:
    dataset = open_tree(tree)
    for sample in everything(dataset)[::7]:
        tensors = dataset.load(sample, ALL, seed=None)
        for modality in dataset.card.modalities:
            tensor = tensors[modality.name]
            assert (tensor.shape, tensor.dtype) == (modality.shape, torch.float32)
        # Column c of the tree's inertial files holds the constant c.
        assert tensors["accelerometer"][:, 0].tolist() == [0, 1, 2]
        torch.testing.assert_close(tensors["gyroscope"][:, -1], torch.tensor([0.03, 0.04, 0.05]))
        assert tensors["depth"].max() == pytest.approx(1, abs=0.01)


def test_each_sample_loads_its_own_file(tree: Path) -> None:
    dataset = open_tree(tree)
    for sample in everything(dataset):
        path = tree / "Skeleton" / f"{sample.id}_skeleton.mat"
        expected = torch.from_numpy(utd_mhad.FILES["skeleton"].read(path))
        assert torch.equal(dataset.load(sample, ["skeleton"], seed=3)["skeleton"], expected)


def test_loaded_tensors_can_be_changed_without_harm(tree: Path) -> None:
    dataset = open_tree(tree)
    sample = everything(dataset)[0]
    before = {k: x.clone() for k, x in dataset.load(sample, ALL, None).items()}
    for tensor in dataset.load(sample, ALL, None).values():
        tensor.zero_()
    after = dataset.load(sample, ALL, None)
    assert all(torch.equal(before[m], after[m]) for m in ALL)


# --- the cache ---------------------------------------------------------------------------------


def test_cache_spares_the_files_and_gives_the_same_tensors(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    first = open_tree(tree, cache)
    first.prepare(ALL)
    monkeypatch.setattr(utd_mhad, "loadmat", never)
    second = open_tree(tree, cache)
    for sample in everything(second):
        ours, theirs = first.load(sample, ALL, None), second.load(sample, ALL, None)
        assert all(torch.equal(ours[m], theirs[m]) for m in ALL)
    assert len(list(cache.glob("*.npz"))) == 3  # both inertial modalities come from one parse


def test_prepare_reads_only_what_is_asked_for(tree: Path, tmp_path: Path) -> None:
    for folder in ("Depth", "Inertial"):
        for path in (tree / folder).iterdir():
            poison(path)
    dataset = open_tree(tree, tmp_path / "cache")
    dataset.prepare(["skeleton"])
    kept = [path.name.split("-")[1] for path in (tmp_path / "cache").glob("*.npz")]
    assert kept == ["skeleton"]
    with pytest.raises(UsageError, match="a1_s1_t1_inertial"):
        dataset.prepare(["skeleton", "accelerometer"])


@pytest.mark.parametrize("change", ["size", "content", "version"])
def test_cache_is_not_used_once_files_or_code_changed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    open_tree(tree, tmp_path / "cache").prepare(["skeleton"])
    monkeypatch.setattr(utd_mhad.Files, "read", never)
    if change == "size":
        (tree / "Skeleton" / "a1_s1_t1_skeleton.mat").write_bytes(b"other")
    elif change == "content":
        poison(tree / "Skeleton" / "a1_s1_t1_skeleton.mat")
    else:
        monkeypatch.setattr(utd_mhad, "CACHE_VERSION", utd_mhad.CACHE_VERSION + 1)
    with pytest.raises(pytest.fail.Exception):
        open_tree(tree, tmp_path / "cache").prepare(["skeleton"])


def test_half_written_cache_is_built_again(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    open_tree(tree, cache).prepare(["skeleton"])
    (whole,) = cache.glob("*.npz")
    content = whole.read_bytes()
    (cache / f".{whole.name}.dead.tmp").write_bytes(content[:100])  # of a killed process
    whole.write_bytes(content[: len(content) // 2])
    open_tree(tree, cache).prepare(["skeleton"])
    assert whole.read_bytes() == content


def test_killed_write_leaves_nothing_that_is_taken_for_a_cache(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(file: Any, **arrays: np.ndarray) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", die)
        with pytest.raises(KeyboardInterrupt):
            open_tree(tree, tmp_path / "cache").prepare(["skeleton"])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["contents"]
    open_tree(tree, tmp_path / "cache").prepare(["skeleton"])


def test_cache_that_cannot_be_written_is_an_error_in_words(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(UsageError, match="cannot write the cache"):
        open_tree(tree, tmp_path / "cache").prepare(["skeleton"])


# --- the real dataset --------------------------------------------------------------------------


@pytest.mark.data
def test_real_dataset_has_the_official_recordings(utd_root: Path) -> None:
    dataset = open_tree(utd_root)
    sizes = {d: len(dataset.samples(d, "target")) for d in dataset.card.domains}
    assert sizes == {"s1s2": 215, "s3s4": 216, "s5s6": 215, "s7s8": 215}
    assert {s.id for s in everything(dataset)} == utd_mhad.OFFICIAL
    for domain in dataset.card.domains:
        val = [s.label for s in dataset.samples(domain, "val")]
        whole = [s.label for s in dataset.samples(domain, "target")]
        for label in range(27):  # of eight recordings two validate, of seven one
            assert val.count(label) == round(whole.count(label) / 5) in (1, 2)


@pytest.mark.data
def test_real_wearable_and_skeleton_values_are_plausible(utd_root: Path) -> None:
    dataset = open_tree(utd_root)
    sit = next(s for s in everything(dataset) if s.id == "a25_s1_t1")
    tensors = dataset.load(sit, WEARABLE, None)
    gravity = tensors["accelerometer"].norm(dim=0).median()
    assert gravity == pytest.approx(1, abs=0.15)  # in g
    assert tensors["skeleton"][1, 0, 0] > 1  # the head starts more than a torso above the hip
    assert tensors["skeleton"][1, -1, 3] < -0.2  # and the hip ends lower than it started


@pytest.mark.data
@pytest.mark.slow
def test_real_depth_is_read_whole(utd_root: Path, tmp_path: Path) -> None:
    dataset = open_tree(utd_root, tmp_path)
    dataset.prepare(["depth"])
    for sample in everything(dataset)[::20]:
        depth = dataset.load(sample, ["depth"], None)["depth"]
        person = depth[depth > 0.5]
        assert 0.05 < person.numel() / depth.numel() < 0.5
        # Resizing mixes the person's outline with the background, so a little below 1.
        assert person.median() == pytest.approx(1, abs=0.1)


# --- through the command -----------------------------------------------------------------------


def train(root: Path, results: Path, modalities: str) -> int:
    words = f"--method erm --dataset utd_mhad --data-root {root} --sources s1s2 s3s4 --target s5s6"
    words += f" --modalities {modalities} --epochs 1 --batch-size 4 --results {results}"
    return run.main(words.split())


@pytest.mark.parametrize("damage", ["missing", "empty", "one file missing", "truncated"])
def test_bad_data_ends_the_command_with_code_2_and_keeps_finished_runs(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    results = tmp_path / "results"
    assert train(tree, results, "skeleton+accelerometer") == 0
    (done,) = results.rglob("result.json")
    before = done.read_bytes()
    file = tree / "Inertial" / "a12_s5_t2_inertial.mat"
    if damage == "missing":
        tree, named = tree / "nowhere", "nowhere"
    elif damage == "empty":
        tree, named = tmp_path / "hollow", "hollow"
        tree.mkdir()
    elif damage == "one file missing":
        file.unlink()
        named = file.name
    else:
        file.write_bytes(file.read_bytes()[:-40])
        named = file.name
    capsys.readouterr()
    assert train(tree, results, "accelerometer+gyroscope") == 2
    error = capsys.readouterr().err
    assert "error: " in error and named in error and "Traceback" not in error
    assert done.read_bytes() == before
    if damage in ("one file missing", "truncated"):
        # What does not need the broken file still works.
        assert train(tree, results, "depth+skeleton") == 0
