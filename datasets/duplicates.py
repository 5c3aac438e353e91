"""The same recording under two names: in two domains, or in two parts of one domain.

A model tested on what it was trained on is not tested. Files are compared by content, which is
read only where sizes collide.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import contents
from datasets.base import ROLES, MultimodalDataset, Role, Sample

HEADER = 256
"""Bytes after which a file of zeros alone, such as silence, is told to be one."""


@dataclass(frozen=True)
class Use:
    """A file, below the root, and a part of a domain that uses it."""

    file: str
    domain: str
    part: Role


def between(
    dataset: MultimodalDataset,
    modalities: Sequence[str],
    parts: Mapping[Role, Sequence[Sample]],
    cache: Path | None,
) -> list[list[Use]]:
    """Return the uses of each recording that is in two domains, or in two parts of one.

    A file that samples of one domain share is not a duplicate: each may be a stretch of it.

    Args:
        dataset: whose samples they are.
        modalities: the modalities to look at.
        parts: the samples by part.
        cache: where the digests of contents are kept, if they are to be.
    """
    found: dict[tuple[Use, ...], None] = {}
    compared: set[tuple[Use, ...]] = set()
    for modality in modalities:
        uses = {
            Use(file, sample.domain, part): None
            for part, samples in parts.items()
            for sample in samples
            for file in dataset.files_of(sample, modality)
        }
        if tuple(uses) in compared:  # one file holds several modalities
            continue
        compared.add(tuple(uses))
        content = _contents(dataset, modality, cache) if uses else {}
        groups: dict[str, list[Use]] = {}
        for use in uses:
            groups.setdefault(content.get(use.file, use.file), []).append(use)
        for group in groups.values():
            two_files = len({use.file for use in group}) > 1
            if len({(use.domain, use.part if two_files else "") for use in group}) > 1:
                found[tuple(group)] = None
    return [list(group) for group in found]


def anywhere(dataset: MultimodalDataset) -> Iterator[str]:
    """Yield in words what `between` finds in a whole dataset, each sample in its first part."""
    parts: dict[Role, list[Sample]] = {}
    seen: set[str] = set()
    for part, samples in _every(dataset):
        new = [sample for sample in samples if sample.id not in seen]
        seen.update(sample.id for sample in new)
        parts.setdefault(part, []).extend(new)
    modalities = [modality.name for modality in dataset.card.modalities]
    for group in between(dataset, modalities, parts, None):
        places = [f"{use.file} ({use.part} of {use.domain})" for use in group]
        yield f"the same recording is in {', '.join(places[:-1])} and {places[-1]}"


def _every(dataset: MultimodalDataset) -> Iterator[tuple[Role, Sequence[Sample]]]:
    for domain in dataset.card.domains:
        for role in ROLES:
            yield role, dataset.listed(domain, role)


def _contents(dataset: MultimodalDataset, modality: str, cache: Path | None) -> dict[str, str]:
    """Return a digest of the content of each file that another one of the dataset equals."""
    assert dataset.root is not None
    samples = {sample.id: sample for _, several in _every(dataset) for sample in several}
    files = {file for sample in samples.values() for file in dataset.files_of(sample, modality)}
    by_size: dict[int, list[str]] = {}
    for file in sorted(files):
        with contextlib.suppress(OSError):  # a missing file is told of by the dataset's own checks
            by_size.setdefault((dataset.root / file).stat().st_size, []).append(file)
    alike = [file for size, same in by_size.items() if size and len(same) > 1 for file in same]
    equal: dict[str, list[str]] = {}
    for file, content in contents.digests(dataset.root, alike, cache).items():
        equal.setdefault(content, []).append(file)
    return {
        file: content
        for content, same in equal.items()
        if len(same) > 1 and not _is_silent(dataset.root / same[0])
        for file in same
    }


def _is_silent(path: Path) -> bool:
    """Return whether a file holds zeros alone after a header, as all recordings of silence do."""
    with path.open("rb") as file:
        file.seek(HEADER)
        length = 0
        while block := file.read(1 << 20):
            length += len(block)
            if block.strip(b"\0"):
                return False
    return length > 0
