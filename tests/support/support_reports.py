"""What tests of the report share: made-up runs, and their table."""

import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import benchmark.run
from benchmark.records.read import Record
from benchmark.records.spec import Asked, RunSpec, flat
from benchmark.records.store import Store
from benchmark.reporting.kinds import accuracy as tables
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write.cells import Style, written
from datasets.base import Recipe

DOMAINS = ("d1", "d2", "d3")


def toy_spec(method: str = "erm", target: str = "d1", seed: int = 0, **changes: Any) -> RunSpec:
    """A run on a dataset that does not exist, trained on the other domains."""
    spec = RunSpec(
        dataset="toy",
        options={},
        data="ab12cd34ef56",
        fabricated=False,
        setting="multi-source",
        sources=tuple(d for d in DOMAINS if d != target),
        target=target,
        modalities=("m1", "m2"),
        seed=seed,
        method=method,
        hyperparameters={method: {}},
        recipe=Recipe(epochs=20, lr=1e-3, batch_size=32),
        encoders={"m1": "mlp", "m2": "mlp"},
    )
    return replace(spec, **changes)


HYPERPARAMETERS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "erm": {"erm": {}},
    "mbcd": {"mbcd": {"beta": 0.999, "alpha": 1e-4}},
    "swad": {"swad": {"ratio": 0.3}, "erm": {}},
}


def make_spec(method: str = "erm", target: str = "d1", seed: int = 0, **changes: Any) -> RunSpec:
    """A run that was asked for by the hyper-parameters in which it differs from those above."""
    usual = {
        "hyperparameters": HYPERPARAMETERS[method],
        "encoders": {"m1": "mlp", "m2": "signal_cnn"},
    }
    spec = toy_spec(method, target, seed, **usual | changes)
    if "asked" in changes:
        return spec
    default = flat(HYPERPARAMETERS[method])
    given = {k: v for k, v in flat(spec.hyperparameters).items() if default.get(k) != v}
    return replace(spec, asked=Asked(tuple(f"{k}={v}" for k, v in given.items())))


def make_result(accuracy: float, **provenance: Any) -> dict[str, Any]:
    """A result whose rules and metrics all differ by known amounts."""
    rules = {
        rule: {"epoch": 1, "step": 9, "target": {"accuracy": value, "macro_f1": value - 0.25}}
        for rule, value in {
            "best-val": accuracy,
            "last": accuracy - 0.125,
            "oracle": accuracy + 0.03125,
            "reference": accuracy - 0.0625,
        }.items()
    }
    where = {"commit": "c" * 40, "device": "cpu (x86_64)", "threads": 2, "data_root": None}
    return {"schema": 1, "rules": rules, "provenance": where | provenance}


def whole(result: Mapping[str, Any], classes: int = 3) -> dict[str, Any]:
    """The result with every score that the suite writes, each 0 to 1."""

    def scores(part: Mapping[str, Any]) -> dict[str, Any]:
        given = {
            name: min(max(value, 0.0), 1.0)
            for name, value in part.items()
            if name in ("accuracy", "macro_f1")
        }
        per_class = [given["accuracy"]] * classes
        return {"macro_f1": 0.0, "per_class": per_class, **part, **given}

    rules = {
        name: {
            **{"epoch": 0, "step": 0, **rule},
            "val": scores(rule.get("val", {"accuracy": 0.0})),
            "target": scores(rule["target"]),
        }
        for name, rule in result["rules"].items()
    }
    return {**result, "rules": rules}


def record(spec: RunSpec, accuracy: float, **provenance: Any) -> Record:
    return Record(spec, "done", result=make_result(accuracy, **provenance))


PLAIN = Style("*{}*", "{}", "")


def build(records: Sequence[Record], rule: str = "best-val", metric: str = "accuracy") -> Table:
    (table,) = tables.build(Wanted(records, View(rule, metric)))
    return table


def figures(table: Table) -> dict[str, list[str]]:
    return {row.label: [written(cell, PLAIN) for cell in row.cells] for row in table.rows}


def row_of(method: str, accuracies: Mapping[str, Sequence[float]], **changes: Any) -> list[Record]:
    """One run a target and seed: `{"d1": [seed 0, seed 1]}`."""
    return [
        record(make_spec(method, target, seed, **changes), accuracy)
        for target, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


FULL = {"d1": [0.80, 0.84, 0.82], "d2": [0.50, 0.60, 0.70], "d3": [0.90, 0.90, 0.90]}
SOME = {"d1": [0.82, 0.82, 0.82], "d2": [0.55], "d3": [0.7, 0.9, 0.8]}


def store_runs(root: Path, records: Sequence[Record]) -> Path:
    for run in records:
        folder = Store(root).folder(run.spec)
        folder.write_spec(run.spec)
        if run.result is not None:
            folder.write_result(whole(run.result))
        else:
            folder.write_status(run.state, **({"error": run.error} if run.error else {}))
    return root


def predicted(
    root: Path,
    method: str,
    right: dict[str, list[float]],
    n: int = 200,
    rule: str = "best-val",
) -> list[Record]:
    """Runs with predictions on n samples, of which the first share is right: by target and seed."""
    runs = []
    for target, shares in right.items():
        for seed, share in enumerate(shares):
            spec = make_spec(method, target, seed)
            folder = Store(root).folder(spec)
            folder.write_spec(spec)
            correct = np.arange(n) < round(share * n)
            logits = np.zeros((n, 2), np.float16)
            logits[np.arange(n), np.where(correct, 0, 1)] = 1
            prefix = f"{rule}/target"
            folder.write_predictions(
                {
                    f"{prefix}/ids": np.array([f"{target}-{i}" for i in range(n)]),
                    f"{prefix}/labels": np.zeros(n, np.int64),
                    f"{prefix}/fused": logits,
                }
            )
            result = make_result(share)
            result["rules"]["best-val"]["target"]["n"] = n
            if rule == "own":  # the only one, as of swad
                result["rules"] = {"own": result["rules"]["best-val"]}
            result = whole(result, classes=2)
            folder.write_result(result)
            runs.append(Record(spec, "done", result=result, folder=folder.path))
    return runs


def parsed(command: str) -> Namespace:
    """What benchmark.run itself understands."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "benchmark.run"]
    return benchmark.run.parser().parse_args(words[3:])


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  python -m")]
