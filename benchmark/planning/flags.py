"""The commands that fill missing cells.

They name only what differs from the defaults of the method, the dataset and the protocol; methods
and datasets are imported when such a command is wanted.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmark.records.spec import MULTI_SOURCE, UPPER_BOUND, Protocol, RunSpec
from benchmark.reporting.conditions import flat
from benchmark.reporting.model import Missing
from mmdg_common import UsageError


def command(gaps: Sequence[Missing], results: Sequence[str] = ()) -> str:
    """Return the command that runs what these cells, a group of `gap_groups`, lack."""
    gap, run = gaps[0], gaps[0].run
    words = ["python", "-m", "benchmark.run", "--method", *(gap.run.method for gap in gaps)]
    words += ["--dataset", run.dataset]
    words += ["--data-root", gap.data_root] if gap.data_root else []
    words += [*_split_flags(run), "--setting", run.setting]
    words += ["--modalities", "+".join(run.modalities), "--seeds", *map(str, gap.states)]
    # A search fills its own gaps; the chosen setting of another cell does not.
    words += ["--search", str(gap.tried)] if gap.tried > 1 else method_flags(run)
    words += [*_dataset_flags(run), *_weight_flags(run, gap.weights)]
    words += _protocol_flags(run.protocol)
    words += ["--results", results[0]] if results else []
    words += ["--retry-failed"] if gap.failed else []
    return shlex.join(words)


def _split_flags(run: RunSpec) -> list[str]:
    if run.setting == UPPER_BOUND:
        return ["--target", run.target]
    if run.setting == MULTI_SOURCE and len(run.sources) == 1:
        # A source named alone means single-source; among all splits of two domains it does not.
        return ["--all-splits"]
    return ["--sources", *run.sources, "--target", run.target]


def _pairs(flag: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Return a flag with the `key=value` pairs that are not among the defaults."""
    given = [f"{k}={v}" for k, v in values.items() if k not in defaults or defaults[k] != v]
    return [flag, *given] if given else []


def method_flags(run: RunSpec) -> list[str]:
    """Return the flags for hyper-parameters that are not the defaults."""
    import methods

    try:
        defaults = flat(methods.resolve(run.method))
    except UsageError:  # a method that is no longer there: nothing has a default
        defaults = {}
    return _pairs("--set", flat(run.hyperparameters), defaults)


def _dataset_flags(run: RunSpec) -> list[str]:
    """Return the flags for options, recipe and encoders."""
    import datasets

    options: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    encoders: dict[str, str] = {}
    try:
        cls = datasets.get(run.dataset)
        options = asdict(cls.Options())
        # A card that depends on the options needs an instance, which opens data if there is any.
        card = getattr(cls, "card", None)
        if card is None and not cls.needs_root:
            card = datasets.create(run.dataset, **run.options).card
        if card is not None:
            recipe = asdict(card.recipe)
            encoders = {modality.name: modality.encoder for modality in card.modalities}
    except UsageError:
        pass  # a dataset that is no longer there: nothing has a default
    flags = _pairs("--dataset-option", run.options, options)
    for name, value in asdict(run.recipe).items():
        if value != recipe.get(name):
            flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags + _pairs("--backbone", run.encoders, encoders)


def _weight_flags(run: RunSpec, origins: Mapping[str, str]) -> list[str]:
    """Return what encoders start from, where it is not what a command finds by itself.

    Only the content of files is recorded, so the user has to say where they are.
    """
    files = [k for k in run.weights if origins.get(k) != "official"]
    random = [k for k, o in origins.items() if o == "random" and not run.fabricated]
    return _pairs("--weights", dict.fromkeys(files, "FILE") | dict.fromkeys(random, "none"), {})


def _protocol_flags(protocol: Protocol) -> list[str]:
    default, flags = asdict(Protocol()), []
    for name, value in asdict(protocol).items():
        flag = name.replace("_", "-")
        if isinstance(value, Mapping):
            flags += _pairs(f"--{flag}", value, {})
        elif value != default[name]:
            flags += [f"--no-{flag}"] if value is False else [f"--{flag}", str(value)]
    return flags
