"""dsads: which segments there are, whose they are, and which of them validate."""

from pathlib import Path

import pytest
import torch
from support_dsads import ACTIVITIES, SEGMENTS, SENSORS, SUBJECTS, everything, name_of, opened

from datasets import dsads


def test_card_names_the_official_activities_and_pairs_of_subjects() -> None:
    card = dsads.Dsads.card
    assert len(card.classes) == len(set(card.classes)) == 19
    assert (card.classes[0], card.classes[6], card.classes[18]) == (
        "sitting",
        "standing_in_elevator",
        "basketball",
    )
    assert card.domains == ("s1s2", "s3s4", "s5s6", "s7s8")
    assert {modality.encoder for modality in card.modalities} == {"window_cnn"}


def test_samples_come_by_activity_subject_and_segment(written: Path) -> None:
    dataset = opened(written)
    for number, domain in enumerate(dataset.card.domains):
        pair = (2 * number + 1, 2 * number + 2)
        wanted = [name_of(a, p, s) for a in ACTIVITIES for p in pair for s in SEGMENTS]
        found = dataset.samples(domain, "target")
        assert [s.id for s in found] == wanted
        assert [s.label for s in found] == [int(name[1:3]) - 1 for name in wanted]
    assert [w.sample.id for w in dataset.windows()] == [
        name_of(a, p, s) for a in ACTIVITIES for p in SUBJECTS for s in SEGMENTS
    ]


def test_groups_are_subject_and_recording(written: Path) -> None:
    groups = {s.id: s.group for s in everything(opened(written))}
    assert groups["a01/p1/s01"] == groups["a01/p1/s06"] == ("p1", "p1/a01")
    assert groups["a07/p8/s02"] == ("p8", "p8/a07")


@pytest.mark.parametrize("kept", [6, 5, 3, 2])
def test_last_fifth_of_every_recording_validates(tree: Path, kept: int) -> None:
    for path in tree.rglob("s*.txt"):
        if int(path.stem[1:]) > kept:
            path.unlink()
    dataset = opened(tree)
    for domain in dataset.card.domains:
        train, val = dataset.samples(domain, "train"), dataset.samples(domain, "val")
        assert sorted(s.id for s in [*train, *val]) == sorted(
            s.id for s in dataset.samples(domain, "target")
        )
        # One of two to six, and the last; of each recording of the domain.
        assert [s.id for s in val] == [f"{s.group[1][3:]}/{s.group[0]}/s{kept:02d}" for s in val]
        assert {s.group for s in val} == {s.group for s in train}
        assert len(val) == len({s.group for s in val}) == 4


def test_validation_of_one_recording_ignores_the_others(tree: Path) -> None:
    def validating(subject: str) -> list[str]:
        found = opened(tree).samples("s1s2", "val")
        return [s.id for s in found if s.group[0] == subject]

    before = validating("p1")
    for path in tree.glob("data/*/p2/s0[3-6].txt"):
        path.unlink()
    assert validating("p1") == before
    assert validating("p2") == ["a01/p2/s02", "a07/p2/s02"]


def test_no_moment_is_in_training_and_in_validation(written: Path) -> None:
    dataset = opened(written)
    for domain in dataset.card.domains:
        moments: dict[str, set[float]] = {}
        for role in ("train", "val"):
            samples = dataset.samples(domain, role)
            values = [dataset.load(s, ["accelerometer"], None)["accelerometer"] for s in samples]
            moments[role] = set(torch.stack(values).ravel().tolist())
        assert moments["train"] and moments["val"]
        assert not moments["train"] & moments["val"]


def test_upper_bound_holds_out_stretches_at_the_end_of_each_recording(written: Path) -> None:
    parts = opened(written).parts(("s1s2",), "s1s2")
    segments = {
        role: [s.id[-2:] for s in samples if s.group == ("p2", "p2/a07")]
        for role, samples in parts.items()
    }
    assert segments == {"train": ["01", "02", "03", "04"], "val": ["05"], "target": ["06"]}
    assert sorted(len(samples) for samples in parts.values()) == [4, 4, 16]


def test_sizes_and_files_are_those_below_the_root(written: Path) -> None:
    dataset = opened(written)
    for sample in everything(dataset)[::11]:
        (file,) = dataset.files_of(sample, "gyroscope")
        assert file == f"data/{sample.id}.txt"
        assert dataset.size(sample, "gyroscope") == (written / file).stat().st_size


def test_fingerprint_tells_half_a_copy_from_a_whole_one_but_not_its_place(
    written: Path, tree: Path
) -> None:
    whole = opened(written).fingerprint(SENSORS)
    assert opened(tree).fingerprint(SENSORS) == whole
    for path in tree.glob("data/*/*/s0[4-6].txt"):
        path.unlink()
    half = opened(tree).fingerprint(SENSORS)
    (tree / "data/a01/p1/s01.txt").open("a").write("\n")
    assert len({whole, half, opened(tree).fingerprint(SENSORS)}) == 3
