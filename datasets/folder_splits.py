"""Which rows of the `folder` dataset train, validate and test."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from datasets.base import Role, Sample, a_fifth_of_each_class
from datasets.folder_files import Row

SALT = "folder split 0 "
"""Hashed before names when a fifth is drawn; another one would draw another fifth."""


def roles(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, dict[Role, list[Sample]]]:
    """Return by domain what its rows are used for."""
    samples = {
        row.id: Sample(row.id, classes.index(row.label), row.domain, (row.group,)) for row in rows
    }
    held = _held_out(rows, samples)
    roles: dict[str, dict[Role, list[Sample]]] = {}
    for domain in dict.fromkeys(row.domain for row in rows):
        of = [row for row in rows if row.domain == domain]
        tests = [row for row in of if row.split == "test"]
        training = [row for row in of if row.split == "train" and row.id not in held]
        roles[domain] = {
            "train": [samples[row.id] for row in training],
            "val": [samples[row.id] for row in of if row.id in held],
            "target": [samples[row.id] for row in tests or of],
        }
    return roles


def _held_out(rows: Sequence[Row], samples: Mapping[str, Sample]) -> set[str]:
    """Return the ids of the `val` rows, and of a fifth of each domain that has none."""
    held = {row.id for row in rows if row.split == "val"}
    settled = {row.domain for row in rows if row.id in held}
    training = [row for row in rows if row.split == "train"]
    free = [samples[row.id] for row in training if row.domain not in settled]
    if grouped(free):
        # Across all domains: a person who trains in one must not validate in another.
        trains = {row.group for row in training if row.domain in settled}
        return held | whole_groups(free, trains)
    for domain in {sample.domain for sample in free}:
        labels = {s.id: s.label for s in free if s.domain == domain}
        held |= a_fifth_of_each_class(labels, SALT)
    return held


def grouped(samples: Sequence[Sample]) -> bool:
    """Return whether any sample shares what it was recorded from, or may."""
    return any(sample.group != (sample.id,) for sample in samples)


def whole_groups(
    samples: Sequence[Sample], trains: Collection[str] = (), least: int = 0
) -> set[str]:
    """Return the ids of a fifth of each class and domain; samples of one group stay together.

    Groups are taken in an order drawn by their names until every class has its fifth, which it
    may exceed. None is taken that trains elsewhere, or that holds all that is left of a class to
    train on.
    """
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.group[0] not in trains:
            members.setdefault(sample.group[0], []).append(sample)
    left = Counter((sample.domain, sample.label) for sample in samples)
    wanted = {part: max(least, round(n / 5)) for part, n in left.items()}
    chosen: set[str] = set()
    for name in sorted(members, key=lambda n: hashlib.sha256(f"{SALT}{n}".encode()).digest()):
        counts = Counter((sample.domain, sample.label) for sample in members[name])
        if any(wanted[c] > 0 for c in counts) and all(left[c] > n for c, n in counts.items()):
            chosen.update(sample.id for sample in members[name])
            left -= counts
            for part, n in counts.items():
                wanted[part] -= n
    return chosen
