"""The `folder` dataset: what samples.csv says, and what is wrong with it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support_folder import FOURS, Lines, ids, opened, table, vectors

import datasets
from benchmark import backbones
from datasets.folder import Folder
from mmdg_common import UsageError


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


def grouped(root: Path, groups: list[str], **extra: list[str]) -> Folder:
    counts = {("a", "x"): 10, ("a", "y"): 10, ("b", "x"): 3, ("b", "y"): 3}
    cells = [*groups, *(["b1"] * 6)]
    return opened(table(root, vectors(root, counts, group=cells, **extra)))


def test_a_group_trains_or_validates_as_a_whole(tmp_path: Path) -> None:
    dataset = grouped(tmp_path, [f"take{i // 2 % 5}" for i in range(20)])
    train, val = (dataset.samples("a", role) for role in ("train", "val"))
    assert {s.group for s in train}.isdisjoint(s.group for s in val)
    # Each of the five takes holds two of both classes, a fifth.
    assert Counter(s.label for s in val) == {0: 2, 1: 2}
    assert {s.group for s in dataset.samples("b", "train")} == {
        ("b1",)
    }  # one group cannot validate
    bound = dataset.parts(("a",), "a")
    assert {s.group for s in bound["train"]}.isdisjoint(s.group for s in bound["val"])
    assert bound["val"]


def test_a_person_who_trains_in_one_domain_does_not_validate_in_another(tmp_path: Path) -> None:
    counts = dict.fromkeys(((d, label) for d in "abc" for label in "xy"), 10)
    people = [f"person{i % 5}" for i in range(60)]
    dataset = opened(table(tmp_path, vectors(tmp_path, counts, group=people)))
    parts = dataset.parts(("a", "c"), "b")
    assert {s.group for s in parts["train"]}.isdisjoint(s.group for s in parts["val"])
    assert Counter((s.domain, s.label) for s in parts["val"]) == {
        (domain, label): 2 for domain in "ac" for label in (0, 1)
    }


def test_a_person_of_the_users_own_split_keeps_their_side_everywhere(tmp_path: Path) -> None:
    counts = dict.fromkeys(((d, label) for d in "ab" for label in "xy"), 10)
    people = [f"person{i % 5}" for i in range(40)]
    own = ["val" if person == "person3" else "train" for person in people]
    rows = [*own[:20], *(["train"] * 20)]  # of domain b, person3 is in a part that contradicts
    with pytest.raises(UsageError, match=r"its group 'person3' is 'val' in row 5, and 'train' her"):
        opened(table(tmp_path, vectors(tmp_path, counts, group=people, split=rows)))
    others = [p if i < 20 else p.replace("person3", "guest") for i, p in enumerate(people)]
    dataset = opened(table(tmp_path, vectors(tmp_path, counts, group=others, split=rows)))
    # All but the guest train in domain a.
    assert {s.group for s in dataset.samples("b", "val")} == {("guest",)}


def test_no_class_loses_all_it_has_to_train_on(tmp_path: Path) -> None:
    # All of y is in one group: it cannot validate without y being lost.
    dataset = grouped(tmp_path, [*(f"g{i}" for i in range(10)), *(["all of y"] * 10)])
    assert Counter(s.label for s in dataset.samples("a", "val")) == {0: 2}
    assert Counter(s.label for s in dataset.samples("a", "train")) == {0: 8, 1: 10}


def test_without_the_column_every_row_is_a_group_and_the_draw_is_as_before(tmp_path: Path) -> None:
    lines = vectors(tmp_path, FOURS)
    before = ids(opened(table(tmp_path, lines)).samples("A", "val"))
    named = [[*line, "group" if i == 0 else line[2]] for i, line in enumerate(lines)]
    dataset = opened(table(tmp_path, named))
    assert ids(dataset.samples("A", "val")) == before
    assert all(s.group == (s.id,) for s in dataset.samples("A", "target"))


def test_a_group_on_both_sides_of_the_users_own_split_is_refused(tmp_path: Path) -> None:
    split = ["train", "val"] * 10 + ["train"] * 6
    with pytest.raises(UsageError, match="its group 'g0' is 'train' in row 2, and 'val' here"):
        grouped(tmp_path, [f"g{i // 2}" for i in range(20)], split=split)


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
        (edited(4, 2, "x/B_y_0.npy"), r"row 4: its id 'x/B_y_0\.npy' is also that of row 2"),
        (edited(4, 2, "a.jpg"), r"row 4: column x: 'a\.jpg' is not a known medium.*\.mp4.*Remove"),
        (edited(4, 2, "7"), r"row 4: column x: '7' is not a known medium"),
        (edited(4, 2, "a.npy;b.npy"), r"row 4: column x: 'a\.npy;b\.npy' is not a known medium"),
        (edited(4, 2, "a.wav"), r"row 4: column x: a\.wav is sound, but the rows before hold num"),
        (edited(4, 0, "yy"), r"row 4: class 'yy' is in domain 'B' alone \(1 rows\); correct"),
        (edited(4, 1, "C"), r"row 4: domain 'C' has too few recordings, 1; correct its name"),
        (one_domain, r"all rows are of domain 'A'; there must be two"),
        (lambda lines: [[*line, ""] for line in lines[:1]] + lines[1:], r"row 2: 3 cells under 4"),
        (lambda lines: lines[:1], "there must be a row of column names and one row per recording"),
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
    with pytest.raises(UsageError, match=r"samples\.csv, one per row.*--fabricate 5"):
        datasets.create("folder", None if root is None else tmp_path / root)


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
