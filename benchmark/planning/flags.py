"""The flags of `benchmark.run`, read and written back by the tables of `options`.

`read` turns what argparse found into the fields of a `Request` or of `RunSettings`, and `words`
turns fields back into words. The command that fills a missing cell is written from the words that
the planner has stored with a run, so neither methods nor datasets are imported for it.
"""

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from benchmark.planning.flag_kinds import REST, Flag
from benchmark.planning.options import DATA_ROOT, HOW, RETRY, WHAT, WHERE
from benchmark.records.result import OFFICIAL, UNTRAINED
from benchmark.records.spec import ALL_DOMAINS, MULTI_SOURCE, UPPER_BOUND, Asked, RunSpec, flat
from benchmark.records.spec import Protocol as Switches
from benchmark.settings import RANDOM

FILE = "FILE"
"""Stands for a checkpoint, of which a record holds the content's hash alone."""


class Gap(Protocol):
    """A cell that lacks runs, as a report knows it."""

    @property
    def run(self) -> RunSpec:
        """One of the runs that are missing; the others differ in the seed."""

    @property
    def states(self) -> Mapping[int, str]:
        """The seeds that are missing, each with its state in words."""

    @property
    def data_root(self) -> str | None:
        """The folder of the data, where it is known."""

    @property
    def tried(self) -> int:
        """The settings that a search tries for the row; 1 without a search."""

    @property
    def failed(self) -> bool:
        """Whether the runs failed."""


def command(gaps: Sequence[Gap], results: Sequence[str] = ()) -> str:
    """Return the command that carries out the missing runs of cells that differ in the method."""
    gap, place = gaps[0], results[0] if results else None
    methods, seeds = [gap.run.method for gap in gaps], list(gap.states)
    # A search fills its own gaps; the chosen setting of another cell does not.
    tuned: dict[str, Any] = {"search": gap.tried} if gap.tried > 1 else {"set": _asked(gap.run).set}
    line = _asking(gap.run, methods, seeds, gap.data_root, place, tuned)
    return shlex.join([*line, *RETRY.words(gap.failed)])


def predicting(folder: str) -> str:
    """Return the command that predicts new recordings, given the folder of a run."""
    words = [folder, *DATA_ROOT.words("NEW_DIR"), "--output", "predictions.csv"]
    return shlex.join(["python", "-m", "benchmark.predict", *words])


def keeping(run: RunSpec, data_root: str | None, results: str | None) -> str:
    """Return the command that carries out a run once more and keeps its weights.

    Args:
        run: that is done.
        data_root: where its data is; None where a command finds it by itself.
        results: the results folder; None for the usual one.
    """
    line = _asking(run, [run.method], [run.seed], data_root, results, {"set": _asked(run).set})
    keep = next(flag for flag in WHERE if flag.name == "keep-checkpoints")
    return shlex.join([*line, *(keep.words("best") if run.target else []), "--force"])


def method_flags(run: RunSpec) -> list[str]:
    """Return the words for hyper-parameters that are not the defaults."""
    return words({"set": _asked(run).set})


def asked(
    run: RunSpec, usual: Mapping[str, Mapping[str, Any]], origins: Mapping[str, str]
) -> Asked:
    """Return the words by which a run differs from what it would be without them.

    Args:
        run: what the words ask for; its split, modalities and seed are left out.
        usual: the defaults: `set` by component and name, `dataset_options`, `recipe` and
            `backbones` by name. What is missing here is written out.
        origins: as `RunSettings.origins` returns them. What encoders start from is left out where
            a command finds it by itself.
    """
    values = {
        "dataset_options": _differing(run.options, usual.get("dataset_options", {})),
        "recipe": _differing(vars(run.recipe), usual.get("recipe", {})),
        "backbones": _differing(run.encoders, usual.get("backbones", {})),
        "switches": {name: value for name, value in _switches(run) if value != {}},
    }
    if "epochs" in values["recipe"]:  # one of the two says how long to train
        values["recipe"].pop("epochs" if run.recipe.steps else "steps", None)
    assigned = _differing(flat(run.hyperparameters), usual.get("set", {}))
    starts = {k: FILE for k in run.weights if origins.get(k) != OFFICIAL}
    if not run.fabricated and (untrained := [k for k, o in origins.items() if o == UNTRAINED]):
        # One word for all, as a user would say it, where no encoder starts from anything else.
        starts |= dict.fromkeys(untrained if run.weights else [REST], RANDOM)
    weights = words({"weights": starts}, WHERE)
    return Asked(
        tuple(f"{name}={value}" for name, value in assigned.items()), (*words(values), *weights)
    )


def read(args: argparse.Namespace, flags: Sequence[Flag]) -> dict[str, Any]:
    """Return by field what was given; what was not given is left out.

    Raises:
        UsageError: a value is malformed or out of range.
    """
    values: dict[str, Any] = {}
    for flag in flags:
        given = getattr(args, flag.dest)
        if given is None or given == []:
            continue
        field, key = flag.place
        if key:
            values.setdefault(field, {})[key] = flag.read(given)
        else:
            values[field] = flag.read(given)
    return values


def words(values: Mapping[str, Any], flags: Sequence[Flag] = (*WHAT, *HOW)) -> list[str]:
    """Return the words that `read` turns into these values by field."""
    return [word for flag, value in _set(values, flags) for word in flag.words(value)]


def check(values: Mapping[str, Any], flags: Sequence[Flag] = (*WHAT, *HOW)) -> None:
    """Raise UsageError for a value that is out of the range of its flag."""
    for flag, value in _set(values, flags):
        flag.check(value)


def _set(values: Mapping[str, Any], flags: Sequence[Flag]) -> Iterator[tuple[Flag, Any]]:
    """Yield the flags that have a value; keys with a flag of their own stand under that alone."""
    own = {flag.place for flag in flags}
    for flag in flags:
        field, key = flag.place
        value = values.get(field)
        if key and isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, Mapping):
            value = {name: one for name, one in value.items() if (field, name) not in own}
        if value is not None:
            yield flag, value


def _asking(
    run: RunSpec,
    methods: Sequence[str],
    seeds: Sequence[int],
    data_root: str | None,
    results: str | None,
    tuned: Mapping[str, Any],
) -> list[str]:
    """Return the words of the command for runs that differ in method and seed from one run.

    Args:
        run: the one.
        methods: of the runs.
        seeds: of the runs.
        data_root: where the data is; None where a command finds it by itself.
        results: the results folder; None for the usual one.
        tuned: the fields of a request that say which hyper-parameters.
    """
    values = {
        "methods": methods,
        "dataset": run.dataset,
        **_split(run),
        "settings": (run.setting,),
        "modalities": ["+".join(run.modalities)],
        "seeds": seeds,
        **tuned,
    }
    line = ["python", "-m", "benchmark.run", *words(values), *_asked(run).others]
    line += DATA_ROOT.words(data_root) if data_root else []
    return [*line, *(words({"results": results}, WHERE) if results else [])]


def _asked(run: RunSpec) -> Asked:
    """Return the words that are stored with a run, or all there are for an older record."""
    return run.asked or asked(run, {}, {})


def _split(run: RunSpec) -> dict[str, Any]:
    if run.setting == ALL_DOMAINS:
        return {}
    if run.setting == UPPER_BOUND:
        return {"target": run.target}
    if run.setting == MULTI_SOURCE and len(run.sources) == 1:
        # A source named alone means single-source; among all splits of two domains it does not.
        return {"all_splits": True}
    return {"sources": run.sources, "target": run.target}


def _switches(run: RunSpec) -> Iterator[tuple[str, Any]]:
    """Yield the switches that are not those of the fair protocol; by modality where they differ."""
    for name, usual in vars(Switches()).items():
        value = getattr(run.protocol, name)
        if isinstance(value, Mapping):
            yield name, {k: one for k, one in value.items() if one != usual}
        elif value != usual:
            yield name, value


def _differing(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not the usual ones."""
    return {k: v for k, v in values.items() if k not in usual or usual[k] != v}
