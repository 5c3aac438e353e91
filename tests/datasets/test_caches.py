"""Indices and caches of every dataset: a copy elsewhere finds them, a changed file does not."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import poison
from support_copies import Case, params

import datasets
from datasets.base import MultimodalDataset
from datasets.staging import stage
from mmdg_common import UsageError


@pytest.fixture(scope="module", params=params())
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def origin(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that is never changed."""
    return case.write(tmp_path_factory.mktemp("made") / "origin")


@pytest.fixture
def read(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The calls of what a cache is to spare, by name."""
    found: list[str] = []

    def count(module: Any, name: str) -> None:
        real = getattr(module, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            found.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    for module, name in case.spared:
        count(module, name)
    yield found


def prepared(case: Case, root: Path, cache: Path) -> MultimodalDataset:
    dataset = datasets.create(case.dataset, root, cache)
    dataset.prepare(case.modalities)
    return dataset


def elsewhere(origin: Path, place: Path) -> Path:
    """A copy in another place whose files are of other times."""
    return Path(shutil.copytree(origin, place, copy_function=shutil.copyfile))


def tensors(case: Case, dataset: MultimodalDataset) -> list[dict[str, torch.Tensor]]:
    found = [dataset.samples(domain, "target")[0] for domain in dataset.card.domains]
    return [dataset.load(sample, case.modalities, None) for sample in found]


def test_a_copy_elsewhere_finds_what_was_made_of_the_original(
    case: Case, origin: Path, read: list[str], tmp_path: Path
) -> None:
    first = prepared(case, origin, tmp_path / "cache")
    assert read
    ours = tensors(case, first)
    staged = stage(case.dataset, origin, tmp_path / "scratch")
    for copy in (elsewhere(origin, tmp_path / "other" / "name"), staged):
        read.clear()
        second = prepared(case, copy, tmp_path / "cache")
        assert read == []
        assert first.fingerprint(case.modalities) == second.fingerprint(case.modalities)
        for one, other in zip(ours, tensors(case, second), strict=True):
            assert all(torch.equal(one[k], other[k]) for k in case.modalities)


def test_a_file_of_the_same_size_and_time_but_another_content_does_not(
    case: Case, origin: Path, read: list[str], tmp_path: Path
) -> None:
    prepared(case, origin, tmp_path / "cache")
    for seen, byte in ((False, b"x"), (True, b"y")):
        copy = Path(shutil.copytree(origin, tmp_path / f"seen-{seen}"))  # times included
        if seen:
            prepared(case, copy, tmp_path / "cache")
        path = sorted(copy.rglob(case.file))[0]
        new = shutil.copy2(path, path.with_name("new"))
        poison(new, byte)
        new.rename(path)  # as most tools write; a folder of frames tells no other way
        read.clear()
        with suppress(UsageError):  # it cannot be read any more
            prepared(case, copy, tmp_path / "cache")
        assert read
