"""What several test files need: tiny requests, plans and runs on the synthetic dataset."""

import json
import signal
from pathlib import Path
from typing import Any

from benchmark.contract.case import TINY, Silent, tiny_specs
from benchmark.execution import Execution, execute
from benchmark.spec import RunSpec
from benchmark.store import RunFolder, Store

__all__ = ["TINY", "Silent", "heed_ctrl_c", "numbers", "tiny_run", "tiny_specs"]


def heed_ctrl_c() -> None:
    """As the `preexec_fn` of a process: tests in the background ignore Ctrl-C, and pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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
