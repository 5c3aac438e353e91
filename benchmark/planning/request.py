"""What a user asks for: a `Request` of runs, and the `RunSettings` to carry them out with."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from benchmark.planning import flags
from benchmark.planning.flag_kinds import REST
from benchmark.planning.options import HOW, WHAT, WHERE
from benchmark.records.spec import ALL_DOMAINS, MULTI_SOURCE, SINGLE_SOURCE, UPPER_BOUND
from benchmark.settings import RunSettings
from mmdg_common import UsageError, unknown


@dataclass(frozen=True)
class Request:
    """The runs that a user asks for, in the user's words; `None` and empty leave the default.

    Raises:
        UsageError: a value is out of range, or two contradict each other.
    """

    methods: Sequence[str]
    """Compositions; `all` stands for every registered method and wrapper."""
    dataset: str
    dataset_options: Mapping[str, str] = field(default_factory=dict)
    all_splits: bool = False
    sources: Sequence[str] = ()
    target: str | None = None
    settings: Sequence[str] = (MULTI_SOURCE,)
    """The settings that `all_splits` covers; `all-domains` has one split and needs nothing more."""
    modalities: Sequence[str] = ()
    """Subsets such as `video+audio`; by default one subset, all of them."""
    all_modalities: bool = False
    """Every subset of two or more."""
    subset_sizes: Sequence[int] = ()
    """Every subset of so many modalities."""
    seeds: Sequence[int] = (0,)
    set: Sequence[str] = ()
    """Hyper-parameters, `key=value` or `component.key=value`."""
    search: int = 0
    """Settings to try of every method: the default, and draws from the search ranges."""
    search_seed: int = 0
    protocol: str = "fair"
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Protocol`; those of one modality each may name only some modalities."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe`."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """Encoders by modality; their checkpoints belong to the settings."""

    def __post_init__(self) -> None:
        flags.check(vars(self))
        if self.recipe.get("epochs") and self.recipe.get("steps"):
            raise UsageError("--epochs and --steps both say how long to train; give one of them")
        if self.all_splits and (self.sources or self.target):
            raise UsageError("give --all-splits, or --sources and --target, not both")
        ways = {
            "--modalities": self.modalities,
            "--all-modalities": self.all_modalities,
            "--subset-sizes": self.subset_sizes,
        }
        if len(given := [flag for flag, value in ways.items() if value]) > 1:
            raise UsageError(f"give {' or '.join(given)}, not both")
        if (self.sources or self.target) and ALL_DOMAINS in self.settings:
            raise UsageError(
                "--setting all-domains trains on every domain and has no target; leave out "
                "--sources and --target"
            )
        if self.sources:
            self._check_setting()

    def _check_setting(self) -> None:
        """Raise UsageError for a setting that named sources contradict."""
        if len(self.settings) > 1:
            raise UsageError("--setting both goes with --all-splits; leave out --sources")
        if self.settings[0] == UPPER_BOUND:
            raise UsageError(
                "--setting upper-bound trains on the target itself; leave out --sources"
            )
        if self.settings[0] == SINGLE_SOURCE and len({*self.sources}) > 1:
            raise UsageError(
                "--setting single-source trains on one domain, and --sources names "
                f"{len({*self.sources})}: name one, or leave out --setting"
            )


def request(args: argparse.Namespace) -> Request:
    """Return the runs that the options of `benchmark.run` ask for.

    Raises:
        UsageError: a value is malformed or out of range, or method or dataset is missing.
    """
    given = flags.read(args, (*WHAT, *HOW))
    if "methods" not in given:
        raise UsageError("say which method: --method mbcd, or several, or all")
    if "dataset" not in given:
        raise UsageError(f"say which dataset: --dataset {'|'.join(datasets.names())}")
    return Request(**given)


def settings(
    args: argparse.Namespace,
    results: Path,
    homes: Sequence[Path],
    data_roots: Mapping[str, Path],
) -> RunSettings:
    """Return how the options say that runs are carried out.

    Raises:
        UsageError: a value is malformed or out of range.
    """
    from benchmark.records import committed  # numpy is slow to import

    given = {"reuse": committed.HOME, **flags.read(args, WHERE), "results": results}
    return RunSettings(
        **{**given, **starts(given.get("weights", {}))}, homes=homes, data_roots=data_roots
    )


def starts(weights: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that `--weights` stands for: by modality, and for all others."""
    named = {k: start for k, start in weights.items() if k != REST}
    return {"weights": named, "random_weights": REST in weights}


def data_roots(
    texts: Sequence[str], wanted: Iterable[str], homes: Sequence[Path]
) -> dict[str, Path]:
    """Return where the copy of each dataset is that the user gives a place for.

    Raises:
        UsageError: a dataset is not one of the grid's, a folder could be of several, or a dataset
            of the grid is neither given nor in one of the homes.
    """
    reading = [name for name in sorted(set(wanted)) if datasets.get(name).reads_root]
    needing = [name for name in reading if datasets.get(name).needs_root]
    possible = needing or reading  # a folder without a name is that of the only one
    roots = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if equals and name in datasets.names():
            roots[name] = Path(folder)
        elif len(possible) == 1 and not equals:
            roots[possible[0]] = Path(text)
        elif equals and not Path(text).exists():
            raise unknown("dataset in --data-root", name, needing)
        else:
            raise UsageError(
                f"--data-root {text}: say of which dataset, such as {(*needing, 'hac')[0]}=DIR; "
                f"the grid needs the folders of {', '.join(needing) or 'none'}"
            )
    for name in needing:
        if name not in roots and not datasets.place(name, homes).is_dir():
            raise datasets.not_found(name, homes, f"--data-root {name}=DIR")
    return roots
