"""What several test files need: tiny requests, plans and runs on the synthetic dataset."""

import json
from pathlib import Path
from typing import Any

from benchmark import plan
from benchmark.execution import Execution, execute
from benchmark.spec import RunSpec
from benchmark.store import RunFolder, Store

TINY = {"domains": "3", "classes": "3", "samples_per_class": "10"}


class Silent:
    """A watcher that watches nothing."""

    def step(self, step: int, total: int) -> None: ...

    def validated(self, record: dict[str, Any]) -> None: ...


def tiny_specs(results: Path, method: str = "erm", **changes: Any) -> list[RunSpec]:
    """Plan tiny runs: two epochs, three domains, the first split unless asked otherwise."""
    recipe = {"epochs": 2, "batch_size": 8, **changes.pop("recipe", {})}
    values: dict[str, Any] = {
        "methods": [method],
        "dataset": "synthetic",
        "dataset_options": TINY,
        "sources": ("d1", "d2"),
        "target": "d3",
        "recipe": recipe,
    }
    request = plan.Request(**{**values, **changes})
    return plan.make(request, Execution(results, threads=1)).specs


def tiny_run(results: Path, method: str = "erm", **changes: Any) -> tuple[RunSpec, RunFolder]:
    """Carry out one tiny run and return its spec and folder."""
    (spec,) = tiny_specs(results, method, **changes)
    state = execute(spec, Execution(results, threads=1), Silent())
    folder = Store(results).folder(spec)
    assert state == "done", folder.status()
    return spec, folder


def numbers(folder: RunFolder) -> dict[str, Any]:
    """Return everything in a result that must not depend on how the run was carried out."""
    result = folder.result()
    assert result is not None
    return json.loads(json.dumps({k: result[k] for k in ("rules", "method", "parameters")}))
