"""Finished tiny runs with kept weights, as analyses see them."""

from pathlib import Path
from typing import Any

from support import Silent, tiny_specs

from benchmark.analysis.finished import FinishedRun
from benchmark.launch.execute import execute
from benchmark.records import read
from benchmark.settings import RunSettings


def finished_seeds(results: Path, method: str = "erm", **changes: Any) -> list[FinishedRun]:
    """Train tiny runs that keep their weights and log their gradients, in the order of seeds."""
    how = RunSettings(results, threads=1, keep_checkpoints="best", log_gradients=True)
    specs = tiny_specs(results, method, **changes)
    for spec in specs:
        assert execute(spec, how, Silent()).state == "done"
    records = {record.spec.id: record for record in read.read([results]).records}
    return [FinishedRun(records[spec.id], how, list(records.values())) for spec in specs]


def finished(results: Path, method: str, **changes: Any) -> FinishedRun:
    """Train one tiny run that keeps its weights and logs its gradients."""
    (run,) = finished_seeds(results, method, **changes)
    return run
