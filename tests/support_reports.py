"""What tests of the report share: the spec of a made-up run."""

from dataclasses import replace
from typing import Any

from benchmark.spec import RunSpec
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
