"""The option `hold_out_classes`, which every dataset has: classes that nothing trains on."""

import csv
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from support import SPEC, tiny_run, tiny_specs

import datasets
from benchmark import predict
from benchmark.planning import flags
from benchmark.records import read
from datasets.base import HOLD_OUT, ROLES, MultimodalDataset
from datasets.without_classes import WithoutClasses, chosen
from mmdg_common import UsageError

FABRICATED = {
    "dsads": 2,
    "mex": 2,
    "hac": 2,
    "epic_kitchens": 2,
    "hust_motor": 8,
    "folder": 3,
}
"""Recordings of each class of the stand-ins."""
IN_MEMORY = ("sp_sw_har", "synthetic")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | None]:
    """Return where each dataset is; nothing changes the files."""
    found: dict[str, Path | None] = dict.fromkeys(IN_MEMORY)
    for name, per_class in FABRICATED.items():
        root = tmp_path_factory.mktemp(name) / "data"
        datasets.get(name).fabricate(root, per_class)
        found[name] = root
    root = tmp_path_factory.mktemp("utd_mhad")
    for kind in ("Depth", "Skeleton", "Inertial"):
        (root / kind).mkdir()
    for action in (1, 12, 27):
        for subject in range(1, 9):
            inertial = np.arange(6.0) + np.full((5, 6), float(action))
            savemat(
                root / "Inertial" / f"a{action}_s{subject}_t1_inertial.mat", {"d_iner": inertial}
            )
    found["utd_mhad"] = root
    return found


def test_every_dataset_is_looked_at(roots: dict[str, Path | None]) -> None:
    assert set(roots) == set(datasets.names())


MODALITY = {"hac": "audio", "epic_kitchens": "audio", "utd_mhad": "accelerometer"}
HELD = {"utd_mhad": 11, "folder": 0}


@pytest.mark.parametrize("name", [*IN_MEMORY, *FABRICATED, "utd_mhad"])
def test_every_dataset_can_be_opened_without_a_class(
    name: str, roots: dict[str, Path | None], tmp_path: Path
) -> None:
    """All other samples keep their roles and tensors; labels name the same classes as before."""
    whole = datasets.create(name, roots[name], tmp_path)
    held = HELD.get(name, 1)
    title = whole.card.classes[held]
    less = datasets.create(name, roots[name], tmp_path, hold_out_classes=title)
    assert less.card.classes == tuple(c for c in whole.card.classes if c != title)
    assert less.card.domains == whole.card.domains
    modality = MODALITY.get(name, whole.card.modalities[0].name)
    for dataset in (whole, less):
        dataset.prepare([modality])
    for domain in whole.card.domains:
        for role in ROLES:
            before = whole.samples(domain, role)
            expected = [(s.id, whole.card.classes[s.label], s.group) for s in before]
            found = [
                (s.id, less.card.classes[s.label], s.group) for s in less.samples(domain, role)
            ]
            assert found == [one for one in expected if one[1] != title]
            assert less.listed(domain, role) == less.samples(domain, role)
        foreign = [s.id for s in whole.samples(domain, "target") if s.label == held]
        assert [s.id for s in less.of_held_out_classes(domain)] == foreign
        assert {s.label for s in less.of_held_out_classes(domain)} <= {len(less.card.classes)}
        assert whole.of_held_out_classes(domain) == ()
    domain = next(d for d in whole.card.domains if less.of_held_out_classes(d))
    by_id = {s.id: s for s in whole.samples(domain, "target")}
    for sample in (less.samples(domain, "target")[-1], less.of_held_out_classes(domain)[0]):
        known = by_id[sample.id]
        same = whole.load(known, [modality], None)[modality]
        assert torch.equal(less.load(sample, [modality], None)[modality], same)
        assert less.size(sample, modality) == whole.size(known, modality)
        assert less.files_of(sample, modality) == whole.files_of(known, modality)
    assert less.fingerprint([modality]) != whole.fingerprint([modality])
    assert less.decodes == whole.decodes and less.fabricated == whole.fabricated
    assert less.content([modality]) == whole.content([modality])


def opened(**options: str) -> MultimodalDataset:
    return datasets.create("synthetic", classes="5", samples_per_class="5", **options)


def test_names_and_indices_in_any_order_are_one_choice_with_one_spelling() -> None:
    spellings = ("c3,c1", " c1 , 3", "1,3", "3,c1,c1")
    found = [opened(hold_out_classes=text) for text in spellings]
    assert {vars(dataset.options)[HOLD_OUT] for dataset in found} == {"c1,c3"}
    assert len({dataset.fingerprint(["m1"]) for dataset in found}) == 1
    assert found[0].card.classes == ("c0", "c2", "c4")


def test_labels_of_several_held_out_classes_follow_the_others_in_order() -> None:
    dataset = opened(hold_out_classes="c3,c1")
    foreign = dataset.of_held_out_classes("d1")
    assert Counter(s.label for s in foreign) == {3: 5, 4: 5}
    assert {s.id.split("/")[2] for s in foreign if s.label == 3} == {"c1"}


def test_a_name_counts_before_an_index() -> None:
    """Folders sort their classes as texts, so `10` is at another place than its number."""
    classes = ("1", "10", "2", "a,b", " c")
    assert chosen("2", classes) == [2] and chosen("10", classes) == [1]
    assert chosen("3,4", classes) == [3, 4]  # the only way to name these two


def test_a_dataset_sees_its_own_labels_whatever_it_is_asked() -> None:
    """As the raw files of hust_motor, which are named after the class."""

    class Named(datasets.get("synthetic")):  # type: ignore[misc]
        def load(self, sample, modalities, seed):
            return {k: torch.tensor(sample.label) for k in modalities}

        def size(self, sample, modality):
            return sample.label

        def files_of(self, sample, modality):
            return [f"{sample.label}.mat"]

        def a_fifth(self, samples):
            return {sample.id for sample in samples if sample.label == 4}

    less = WithoutClasses(Named(None, None, {"domains": "2"}), "c1,c3")
    kept = less.listed("d1", "train")
    for sample in (*kept, *less.of_held_out_classes("d1")):
        label = int(sample.id.split("/")[2][1:])
        assert less.load(sample, ["m1"], None) == {"m1": label}
        assert (less.size(sample, "m1"), less.files_of(sample, "m1")) == (label, [f"{label}.mat"])
    assert less.a_fifth(kept) == {s.id for s in kept if "/c4/" in s.id} != set()


def test_what_is_wrong_with_the_files_and_to_be_known_of_them_is_said_all_the_same() -> None:
    class Broken(datasets.get("synthetic")):  # type: ignore[misc]
        def verify(self):
            yield "a file is broken"

        def remarks(self):
            yield "it was recorded at night"

    less = WithoutClasses(Broken(None, None, {}), "c0")
    assert [*less.verify(), *less.remarks()] == ["a file is broken", "it was recorded at night"]


def test_the_spelling_of_a_class_reads_as_that_class_again() -> None:
    class Odd(datasets.get("synthetic")):  # type: ignore[misc]
        """With classes whose names cannot be typed in a list."""

    odd = Odd(None, None, {"samples_per_class": "5"})
    object.__setattr__(odd.card, "classes", ("x", "a,b", " c", "d", "e"))
    less = WithoutClasses(odd, "1,2,d")
    assert vars(less.options)[HOLD_OUT] == "1,2,d" and less.card.classes == ("x", "e")
    assert WithoutClasses(odd, vars(less.options)[HOLD_OUT]).card == less.card


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "c7",
            r"unknown class in dataset option hold_out_classes 'c7'.* Valid: c0, c1, c2, c3, c4",
        ),
        ("5", "unknown class in dataset option hold_out_classes '5'"),
        ("-1", "unknown class in dataset option hold_out_classes '-1'"),
        ("c1,", "unknown class in dataset option hold_out_classes ''"),
        ("c0,c1,c2,c3", "synthetic has 5 classes, and 2 at least must be left"),
    ],
)
def test_wrong_choices_are_errors(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened(hold_out_classes=text)


def test_an_error_names_the_nearest_class_and_a_misspelled_option_this_one() -> None:
    with pytest.raises(UsageError, match="Did you mean 'walking'"):
        datasets.create("sp_sw_har", hold_out_classes="walkin")
    with pytest.raises(UsageError, match="Did you mean 'hold_out_classes'"):
        datasets.create("sp_sw_har", hold_out_clases="walking")


def test_two_classes_may_be_left() -> None:
    assert opened(hold_out_classes="0,1,2").card.classes == ("c3", "c4")


def test_without_held_out_classes_nothing_changes(tmp_path: Path) -> None:
    """The option is no part of a run then, so ids and fingerprints are those from before it."""
    plain, empty = opened(), opened(hold_out_classes="")
    assert type(empty) is type(plain) and HOLD_OUT not in vars(empty.options)
    assert plain.fingerprint(["m1"]) == empty.fingerprint(["m1"])
    (asked,) = tiny_specs(tmp_path, dataset_options={"domains": "3", HOLD_OUT: ""})
    (usual,) = tiny_specs(tmp_path, dataset_options={"domains": "3"})
    assert asked == usual and asked.id == usual.id
    assert HOLD_OUT not in usual.options and HOLD_OUT not in SPEC.options


def test_a_run_is_asked_for_again_by_the_same_words(tmp_path: Path) -> None:
    (held,) = tiny_specs(tmp_path, dataset_options={"domains": "3", HOLD_OUT: "4,c1"})
    assert held.options[HOLD_OUT] == "c1,c4"
    assert held.asked is not None
    assert f"{HOLD_OUT}=c1,c4" in held.asked.others
    assert f"{HOLD_OUT}=c1,c4" in flags.keeping(held, None, None)
    (again,) = tiny_specs(tmp_path, dataset_options={"domains": "3", HOLD_OUT: "c1,c4"})
    assert again.id == held.id


def test_the_upper_bound_draws_its_parts_from_the_remaining_classes() -> None:
    parts = opened(hold_out_classes="c0").parts(("d1",), "d1")
    ids = {role: {s.id.split("/")[2] for s in part} for role, part in parts.items()}
    assert all(ids[role] == {"c1", "c2", "c3", "c4"} for role in ROLES)
    assert {s.label for s in parts["train"]} == {0, 1, 2, 3}


def test_what_cannot_be_read_is_left_out_of_both_sides(tmp_path: Path) -> None:
    root = tmp_path / "data"
    datasets.get("folder").fabricate(root, 3)
    with (root / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = next(name for name in rows[0] if rows[0][name].endswith(".wav"))
    label = rows[0]["label"]
    other = next(row for row in rows if row["label"] != label)
    for row in (rows[0], other):
        (root / row[column]).write_bytes(b"")
    dataset = datasets.create("folder", root, on_bad_sample="skip", hold_out_classes=label)
    before = [len(dataset.of_held_out_classes(d)) for d in dataset.card.domains]
    dataset.prepare([column])
    assert len(dataset.skipped) == 2
    assert sum(len(dataset.of_held_out_classes(d)) for d in dataset.card.domains) == sum(before) - 1
    domain = other["domain"]
    assert len(dataset.listed(domain, "target")) - len(dataset.samples(domain, "target")) == 1


def test_loading_processes_get_it_whole() -> None:
    dataset = opened(hold_out_classes="c2")
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.fingerprint(["m1"]) == dataset.fingerprint(["m1"])


def test_a_trained_run_names_its_classes_and_predicts_those_it_never_saw(tmp_path: Path) -> None:
    options = {"domains": "3", "samples_per_class": "5", "classes": "4", HOLD_OUT: "c1"}
    _, folder = tiny_run(tmp_path / "results", dataset_options=options, keep="best")
    (record,) = read.read([tmp_path / "results"]).records
    assert record.result is not None and record.result["classes"] == ["c0", "c2", "c3"]
    output = tmp_path / "predictions.csv"
    assert predict.main([str(folder.path), "--output", str(output)]) == 0
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["predicted"] for row in rows} <= {"c0", "c2", "c3"}
    assert any("/c1/" in row["id"] for row in rows)
