"""The same recording under two names: in two domains, or in two parts of one domain.

A model tested on what it was trained on is not tested. Files are compared by content, which is
read only where sizes collide: files of at most 1 MiB as a whole, larger ones at both their ends.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.base import ROLES, MultimodalDataset, Role, Sample
from datasets.media import MediaError, index

WHOLE = 1 << 20
"""Bytes up to which a file is compared as a whole."""
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
        cache: where the hashes of contents are kept, if they are to be.
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
    """Return a hash of the content of each file whose size another one of the dataset has."""
    assert dataset.root is not None
    samples = {sample.id: sample for _, several in _every(dataset) for sample in several}
    files = {file for sample in samples.values() for file in dataset.files_of(sample, modality)}
    by_size: dict[int, dict[str, int]] = {}
    for file in sorted(files):
        with contextlib.suppress(OSError):  # a missing file is told of by the dataset's own checks
            status = (dataset.root / file).stat()
            by_size.setdefault(status.st_size, {})[file] = status.st_mtime_ns
    stamps: dict[str, int] = {}
    for size, same in by_size.items():
        if size and len(same) > 1:
            stamps |= same
    name = f"{dataset.card.name} contents"
    found = index.build(name, dataset.root, stamps, _content, str, cache)
    return {file: content for file, content in found.known.items() if content}


def _content(path: Path) -> str:
    """Return a hash of a file's size and content; nothing for one that holds zeros alone."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= WHOLE:
                content = file.read()
            else:
                content = file.read(WHOLE // 2)
                file.seek(-(WHOLE // 2), os.SEEK_END)
                content += file.read()
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    if size > HEADER and not content[HEADER:].strip(b"\0"):
        return ""
    return hashlib.sha256(str(size).encode() + b" " + content).hexdigest()
