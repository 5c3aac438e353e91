"""Finished tiny runs with kept weights, as analyses see them."""

from pathlib import Path
from typing import Any

from support import Silent, tiny_specs

from benchmark.analysis.finished import FinishedRun
from benchmark.launch.execute import execute
from benchmark.records import read
from benchmark.settings import RunSettings


def finished(results: Path, method: str, **changes: Any) -> FinishedRun:
    """Train a tiny run that keeps its weights and logs its gradients."""
    (spec,) = tiny_specs(results, method, **changes)
    settings = RunSettings(results, threads=1, keep_checkpoints="best", log_gradients=True)
    assert execute(spec, settings, Silent()).state == "done"
    (record,) = [r for r in read.read([results]).records if r.spec.id == spec.id]
    return FinishedRun(record, settings)
