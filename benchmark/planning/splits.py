"""The splits into source domains and an unseen target, and the subsets of modalities, asked for."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.planning.request import Request
from benchmark.records.spec import ALL_DOMAINS, MULTI_SOURCE, SINGLE_SOURCE, UPPER_BOUND
from benchmark.records.store import LONGEST_NAME, split_folder
from datasets.base import Card, MultimodalDataset
from mmdg_common import UsageError, unknown

MOST_SUBSETS = 40_000
"""Those of two or more of fifteen modalities are 32,752."""


@dataclass(frozen=True)
class Split:
    """Source domains and the unseen target; empty where all domains are sources."""

    setting: str
    sources: tuple[str, ...]
    target: str


def splits(domains: Sequence[str], setting: str) -> Iterator[Split]:
    """Yield every split: a target and all others, a source and a target, or a target alone.

    With all domains as sources there is one, without a target.
    """
    if setting == ALL_DOMAINS:
        # Sorted, so that a report can name the run without opening the data.
        yield Split(ALL_DOMAINS, tuple(sorted(domains)), "")
        return
    for target in domains:
        others = tuple(d for d in domains if d != target)
        if setting == MULTI_SOURCE:
            yield Split(MULTI_SOURCE, others, target)
        elif setting == UPPER_BOUND:
            yield Split(UPPER_BOUND, (target,), target)
        else:
            yield from (Split(SINGLE_SOURCE, (source,), target) for source in others)


def asked(request: Request, dataset: MultimodalDataset) -> list[Split]:
    """Return the splits that a request names.

    Raises:
        UsageError: a domain is unknown or has no samples for its part, or nothing is named.
    """
    found = _named(request, dataset.card)
    for split in found:
        name = split_folder(split.sources, split.target)
        if len(name.encode()) > LONGEST_NAME:
            raise UsageError(
                f"{dataset.card.name}: the folder of a split is named after its domains, and "
                f"{name[:40]}... is longer than {LONGEST_NAME} bytes; name fewer --sources"
            )
    _check_parts(dataset, found)
    return found


def subsets(request: Request, card: Card) -> list[tuple[str, ...]]:
    """Return the subsets of modalities that a request names, each in the dataset's order.

    Raises:
        UsageError: a modality is unknown, or there are too many for every subset.
    """
    everything = tuple(m.name for m in card.modalities)
    if request.all_modalities or request.subset_sizes:
        if len(everything) < 2 and request.all_modalities:
            raise UsageError(
                f"--all-modalities: {card.name} has one modality, {everything[0]}; leave it out"
            )
        sizes = sorted({*request.subset_sizes}) or range(2, len(everything) + 1)
        if sizes[-1] > len(everything):
            raise UsageError(
                f"--subset-sizes {sizes[-1]}: {card.name} has {len(everything)} modalities"
            )
        count = sum(math.comb(len(everything), size) for size in sizes)
        if count > MOST_SUBSETS:
            raise UsageError(
                f"{card.name} has {len(everything)} modalities, and {count:,} such subsets are too "
                "many; ask for some sizes, such as --subset-sizes 2, or name --modalities"
            )
        return [subset for n in sizes for subset in itertools.combinations(everything, n)]
    if not request.modalities:
        return [everything]
    found = []
    for text in request.modalities:
        names = text.split("+")
        for name in names:
            if name not in everything:
                raise unknown(f"modality of {card.name}", name, everything)
        found.append(tuple(name for name in everything if name in names))
    return list(dict.fromkeys(found))


def _named(request: Request, card: Card) -> list[Split]:
    for name in (*request.sources, *([request.target] if request.target else [])):
        if name not in card.domains:
            raise unknown(f"domain of {card.name}", name, card.domains)
    if request.all_splits or tuple(request.settings) == (ALL_DOMAINS,):
        return [split for setting in request.settings for split in splits(card.domains, setting)]
    if tuple(request.settings) == (UPPER_BOUND,) and request.target:
        return [Split(UPPER_BOUND, (request.target,), request.target)]
    if not request.target or not request.sources:
        first = next(splits(card.domains, MULTI_SOURCE))
        raise UsageError(
            "say what to train on: --all-splits, or for example "
            f"--sources {' '.join(first.sources)} --target {first.target}, or --setting "
            f"{ALL_DOMAINS} for a model to use"
        )
    if request.target in request.sources:
        raise UsageError(
            f"the target {request.target} is among the sources: a target must stay unseen; "
            "take it out of --sources (or ask for --setting upper-bound)"
        )
    sources = tuple(d for d in card.domains if d in request.sources)
    setting = SINGLE_SOURCE if len(sources) == 1 else MULTI_SOURCE
    return [Split(setting, sources, request.target)]


def _check_parts(dataset: MultimodalDataset, found: Sequence[Split]) -> None:
    """Raise UsageError if a domain has no samples for a part that it is to give."""
    whole = (UPPER_BOUND, ALL_DOMAINS)
    together = {(split.sources, split.target) for split in found if split.setting in whole}
    together |= {
        ((source,), split.target)
        for split in found
        if split.setting not in whole
        for source in split.sources
    }
    for sources, target in sorted(together):
        for role, samples in dataset.parts(sources, target).items():
            if samples or (role == "target" and not target):
                continue
            if not target:
                raise UsageError(
                    f"{dataset.card.name}: no domain has samples for the part {role!r}; add some"
                )
            domain = target if role == "target" else sources[0]
            raise UsageError(
                f"{dataset.card.name}: domain {domain} has no samples for the part {role!r}; "
                "add recordings, or leave the domain out with --sources and --target"
            )
