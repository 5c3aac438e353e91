"""How runs stand: the store's word on each, joined with SLURM's queue where there is one."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.records.store import Store

COLUMNS = (
    State.DONE,
    State.RUNNING,
    State.QUEUED,
    State.TO_DO,
    State.FAILED,
    State.INTERRUPTED,
)


@dataclass(frozen=True)
class Standing:
    """One run, its state with the queue taken into account, and details in words."""

    spec: RunSpec
    state: State
    detail: str = ""


def look(specs: Iterable[RunSpec], results: Path) -> list[Standing]:
    """Return how every run stands.

    Raises:
        UsageError: jobs were submitted, but their queue cannot be asked.
    """
    store, jobs = Store(results), _jobs(results)
    found = []
    for spec in specs:
        status = store.folder(spec).status()
        state, job = status.state, jobs.get(spec.id, "")
        steps = "" if status.step is None else f"step {status.step}/{status.total}"
        detail = ", ".join(part for part in (steps, status.error, status.problem, job) if part)
        if job and state in (State.TO_DO, State.INTERRUPTED):
            state = State.QUEUED
        found.append(Standing(spec, state, detail))
    return found


def table(standings: Sequence[Standing], labels: Mapping[str, str]) -> Table:
    """Return how many runs of each row are in which state.

    Args:
        standings: from `look`.
        labels: by run id, the name of the row.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in standings:
        row = (one.spec.dataset, labels.get(one.spec.id) or one.spec.method)
        counts.setdefault(row, Counter())[one.state] += 1
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("dataset", no_wrap=True)
    found.add_column("row", no_wrap=True)
    total = Counter(one.state for one in standings)
    columns = [state for state in COLUMNS if state is not State.INTERRUPTED or total[state]]
    for state in columns:
        found.add_column(state, justify="right", no_wrap=True)
    for row, states in counts.items():
        found.add_row(*map(Text, row), *(str(states[state] or "·") for state in columns))
    found.add_section()
    found.add_row(f"{len(standings)} runs", "", *(str(total[state] or "·") for state in columns))
    return found


def _jobs(results: Path) -> dict[str, str]:
    """Return by run id what SLURM's queue says of its job."""
    from benchmark.launch import cluster, slurm

    if not slurm.has_submitted(results):
        return {}
    if shutil.which("squeue") is None:
        print("no squeue on this machine: which runs are in SLURM's queue is not known here")
        return {}
    return {
        run: f"job {job.id} {job.state.lower()}" + (f" ({job.reason})" if job.reason else "")
        for run, job in slurm.queued_runs(results, cluster.jobs()).items()
    }
