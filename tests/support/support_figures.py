"""Made-up runs behind figures, and the figures made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from support_reports import toy_spec, whole

import methods
from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.reporting import figures
from benchmark.reporting.figures.forest import gain_figure
from benchmark.reporting.kinds.gains import Gain
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.statistics import Estimate
from datasets.base import Recipe

BETAS = (0.9, 0.99, 0.999)
TARGETS, SEEDS, CLASSES, EPOCHS = ("d1", "d2", "d3"), (0, 1, 2), 4, 3
FAMILIES = ("heatmap", "cost", "curves", "confusion", "speed", "drop-rate", "beta")


def make_spec(method: str, target: str, seed: int, **changes: Any) -> RunSpec:
    usual = {
        "data": "ab12",
        "hyperparameters": {method: {"beta": 0.9} if method == "mbcd" else {}},
        "recipe": Recipe(epochs=EPOCHS, lr=1e-3, batch_size=32),
    }
    return toy_spec(method, target, seed, **usual | changes)


def make_record(spec: RunSpec, root: Path | None = None, **values: Any) -> Record:
    """A finished run; its numbers are drawn, but for the `accuracy` and `wall_s` that are given."""
    rng = np.random.default_rng(int(spec.id, 16) % 2**32)
    accuracy = values.get("accuracy", float(rng.uniform(0.3, 0.9)))
    where = {"device": "cpu", "threads": 1, "wall_s": values.get("wall_s", 10.0)}
    scores = {"val": {"accuracy": 0.5}, "target": {"accuracy": accuracy}}
    scored = {"best-val": scores, "oracle": scores}
    result = whole({"rules": scored, "provenance": where}, CLASSES)
    if root is None:
        return Record(spec, "done", result=result)
    folder = Store(root).folder(spec)
    folder.write_spec(spec)
    folder.write_metrics([made_line(epoch, rng, spec) for epoch in range(EPOCHS)])
    labels = np.repeat(np.arange(CLASSES), 5)
    logits = rng.normal(size=(len(labels), CLASSES)).astype(np.float16)
    parts = {"ids": labels.astype(str), "labels": labels, "fused": logits}
    folder.write_predictions({f"{r}/target/{k}": v for r in scored for k, v in parts.items()})
    folder.write_result(result)
    return Record(spec, "done", result=result, folder=folder.path)


def made_line(epoch: int, rng: np.random.Generator, spec: RunSpec) -> dict[str, Any]:
    train = {}
    if spec.method == "mbcd":
        names = [f"{family}/{k}" for family in ("speed", "drop_rate") for k in spec.modalities]
        train = {name: float(rng.uniform()) for name in names}
    parts = {part: {"fused": {"accuracy": float(rng.uniform())}} for part in ("val", "target")}
    return {"epoch": epoch, "step": 10 * (epoch + 1), "train": train, **parts}


def rows(root: Path | None, names: Sequence[str], **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, target, seed, **changes), root, wall_s=5.0 * (i + 2))
        for i, method in enumerate(names)
        for target in TARGETS
        for seed in SEEDS
    ]


def some_runs(root: Path) -> list[Record]:
    """Three methods, one of which logs, on three targets with three seeds."""
    return rows(root, ["erm", "joint", "mbcd"])


def many_runs(root: Path) -> list[Record]:
    """Every method there is; some cost about the same and have about the same accuracy."""
    names = methods.names()
    assert len(names) >= 38
    return [
        make_record(make_spec(m, t, s), root, wall_s=10 + 0.4 * (i % 8), accuracy=a)
        for i, m in enumerate(names)
        for t in TARGETS
        for s, a in zip((0, 1), (0.5 + 0.01 * (i % 5), 0.52 + 0.01 * (i % 7)), strict=True)
    ]


def made_of(records: Sequence[Record], rule: str = "best-val") -> list[figures.Figure]:
    return figures.make(Wanted(records, View(rule)))


def one(records: Sequence[Record], family: str, rule: str = "best-val") -> figures.Figure:
    (found,) = [f for f in made_of(records, rule) if f.name.startswith(f"{family}-")]
    return found


def families(made: Sequence[figures.Figure]) -> set[str]:
    return {family for f in made for family in FAMILIES if f.name.startswith(f"{family}-")}


def accuracy_of(run: Record) -> float:
    assert run.result is not None
    return float(run.result["rules"]["best-val"]["target"]["accuracy"])


def beta_runs(method: str = "ema", **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, t, s, hyperparameters={method: {"beta": b}}, **changes))
        for b in BETAS
        for t in TARGETS
        for s in SEEDS
    ]


def a_gain_figure(number: int = 38) -> figures.Figure:
    rng = np.random.default_rng(0)
    names = list(methods.names())[:number]
    values = sorted(rng.normal(0, 0.02, number), reverse=True)
    found = [
        Gain(name, Estimate(value, 0.008, 9), Estimate(value, 0.02, 3), 4, 2, 1, 12)
        for name, value in zip(names, values, strict=True)
    ]
    best = {name: i < 5 for i, name in enumerate(names)}
    return gain_figure(found, best, figures.looks(names))
