"""Names of domains and ids of recordings, whichever dataset they are of."""

import csv
import dataclasses

import numpy as np
import pytest

import datasets
from benchmark import run
from datasets.synthetic import Synthetic
from mmdg_common import AVERAGE, UsageError


def make_folder(root, domains):
    rows = [["label", "domain", "features"]]
    for domain in domains:
        for label in ("a", "b"):
            for number in range(3):
                file = f"{len(rows)}.npy"
                np.save(root / file, np.full(4, number, np.float32))
                rows.append([label, domain, file])
    with (root / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        (AVERAGE, "tables call their last column so; rename it"),
        ("x" * 300, "it is longer than 100 characters; rename it"),
        ("a\x1b[31m", "it must be the name of a folder; rename it"),
    ],
)
def test_a_domain_with_a_name_that_tables_cannot_show_is_refused(domain, reason, tmp_path, capsys):
    make_folder(tmp_path, ["home", domain])
    with pytest.raises(UsageError, match="folder: a domain cannot be named") as error:
        datasets.create("folder", tmp_path)
    assert str(error.value).endswith(reason) and len(str(error.value)) < 250
    words = ["--method", "erm", "--dataset", "folder", "--data-root", str(tmp_path), "--all-splits"]
    assert run.main([*words, "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ordinary_names_are_taken(tmp_path):
    make_folder(tmp_path, ["home", "Straße 7", "x" * 100])
    dataset = datasets.create("folder", tmp_path)
    assert dataset.card.domains == ("home", "Straße 7", "x" * 100)
    dataset.check_ids()


def same_in_a_role(dataset, domain, role):
    found = list(dataset.samples(domain, role))
    return [*found, found[0]] if (domain, role) == ("d2", "val") else found


def same_in_two_domains(dataset, domain, role):
    return dataset.samples("d1" if domain == "d3" else domain, role)


@pytest.mark.parametrize(
    ("listed", "place"), [(same_in_a_role, "d2"), (same_in_two_domains, "d1 and d3")]
)
def test_an_id_that_names_two_recordings_is_refused(listed, place, tmp_path, capsys, monkeypatch):
    Synthetic(None, None, {}).check_ids()
    monkeypatch.setattr(Synthetic, "listed", listed)
    words = ["--method", "erm", "--dataset", "synthetic", "--all-splits"]
    assert run.main([*words, "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"names two recordings, of domain {place}; give every recording an id" in error


def test_a_time_series_longer_than_memory_is_refused(tmp_path):
    make_folder(tmp_path, ["home", "lab"])
    with pytest.raises(UsageError, match="dataset option length: type 100000 or less, not 1000000"):
        datasets.create("folder", tmp_path, length="1000000")


@pytest.mark.parametrize(
    "group", [("one", "two"), "text", (1,)], ids=["other levels", "no tuple", "no text"]
)
def test_groups_that_predictions_cannot_keep_are_refused(group, monkeypatch):
    samples = Synthetic.samples

    def with_one_group(self, domain, role):
        first, *others = samples(self, domain, role)
        return [*others, dataclasses.replace(first, group=group)]

    monkeypatch.setattr(Synthetic, "samples", with_one_group)
    with pytest.raises(UsageError, match=r"the group of '.*' is .*; it must be a tuple of texts"):
        Synthetic(None, None, {}).check_ids()


def test_a_modality_that_is_called_like_a_column_of_the_predictions_is_refused(tmp_path):
    make_folder(tmp_path, ["home", "away"])
    table = tmp_path / "samples.csv"
    table.write_text(table.read_text().replace("label,domain,features", "label,domain,groups", 1))
    with pytest.raises(
        UsageError, match=r"modality cannot be named 'groups': predictions\.npz call"
    ):
        datasets.create("folder", tmp_path)
