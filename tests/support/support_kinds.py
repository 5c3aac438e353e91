"""Made-up runs behind every kind of table beside accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

from support_reports import toy_spec

from benchmark.records.read import Record
from benchmark.records.spec import Asked, RunSpec

DOMAINS = ("d1", "d2")
MBCD = {"mbcd": {"beta": 0.999}}


def make_spec(method: str = "erm", target: str = "d1", seed: int = 0, **changes: Any) -> RunSpec:
    modalities = changes.get("modalities", ("m1", "m2"))
    usual = {
        "data": "-".join(modalities),
        "sources": tuple(d for d in DOMAINS if d != target),
        "hyperparameters": MBCD if method == "mbcd" else {method: {}},
        "encoders": dict.fromkeys(modalities, "mlp"),
    }
    return toy_spec(method, target, seed, **usual | changes)


def done(
    spec: RunSpec,
    accuracy: float,
    val: float = 0.9,
    scores: Mapping[str, tuple[float, float, float | None]] | None = None,
    passes: tuple[float, float] | None = None,
    **provenance: Any,
) -> Record:
    """A run that is done; `scores` by modality are probe, masked and head."""
    by_modality = {
        k: dict(zip(("probe", "masked", "head"), values, strict=True))
        for k, values in (scores or {}).items()
    }
    result: dict[str, Any] = {
        "schema": 1,
        "parameters": 1000,
        "rules": {
            "best-val": {
                "val": {"accuracy": val},
                "target": {"accuracy": accuracy, "modalities": by_modality},
            }
        },
        "provenance": {"device": "cpu", "threads": 1, "commit": "c", **provenance},
    }
    if passes:
        result["passes"] = {"forward": passes[0], "backward": passes[1]}
    return Record(spec, "done", result=result)


def row_of(method: str, accuracies: Mapping[str, Sequence[float]], **changes: Any) -> list[Record]:
    """One run a target and seed: `{"d1": [seed 0, seed 1]}`."""
    return [
        done(make_spec(method, target, seed, **changes), accuracy)
        for target, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


SCORES = {
    ("d1", 0): {"m1": (0.5, 0.4, None), "m2": (0.3, 0.2, None)},
    ("d2", 0): {"m1": (0.7, 0.4, None), "m2": (0.3, 0.4, None)},
    ("d1", 1): {"m1": (0.6, 0.5, None), "m2": (0.4, 0.2, None)},
    ("d2", 1): {"m1": (0.8, 0.5, None), "m2": (0.4, 0.6, None)},
}


def erm_with_scores() -> list[Record]:
    return [
        done(make_spec("erm", target, seed), 0.8 + seed / 10, scores=scores)
        for (target, seed), scores in SCORES.items()
    ]


def mbcd_with_scores() -> list[Record]:
    scores = {"m1": (0.9, 0.9, 0.9), "m2": (0.1, 0.1, 0.1)}
    return [done(make_spec("mbcd", target), 0.9, scores=scores) for target in DOMAINS]


SETS = {
    ("m1", "m2"): {"d1": [0.5, 0.6], "d2": [0.7, 0.6]},  # 60, 60
    ("m1", "m3"): {"d1": [0.8, 0.6], "d2": [0.8, 0.6]},  # 80, 60
    ("m1", "m2", "m3"): {"d1": [0.9, 0.6], "d2": [0.7, 0.8]},  # 80, 70
}


def erm_on_sets() -> list[Record]:
    return [r for m, values in SETS.items() for r in row_of("erm", values, modalities=m)]


def cued(strength: float, accuracies: Mapping[str, Sequence[float]], modality: int = 1) -> Any:
    options = {"spurious_strength": strength, "spurious_modality": modality}
    return row_of("erm", accuracies, options=options, data=f"{strength}-{modality}")


def tried(seed: int, settings: Mapping[float, tuple[float, float]]) -> list[Record]:
    """Runs of `ema+erm` by β: validation and target accuracy; 0.999 is the default."""

    def run(beta: float) -> RunSpec:
        asked = Asked(() if beta == 0.999 else (f"ema.beta={beta}",))
        settings = {"ema": {"beta": beta}, "erm": {}}
        return make_spec("ema+erm", "d1", seed, hyperparameters=settings, asked=asked)

    return [done(run(beta), target, val=val) for beta, (val, target) in settings.items()]


def everything() -> list[Record]:
    return [
        *erm_with_scores(),
        *mbcd_with_scores(),
        *row_of("erm", {"d1": [0.5]}, modalities=("m1",)),
        *cued(0.0, {"d1": [0.8]}),
        *cued(2.0, {"d1": [0.6]}),
        *tried(0, {0.9: (0.95, 0.7), 0.999: (0.90, 0.6)}),
        Record(make_spec("joint"), "failed", error="CUDA out of memory"),
    ]
