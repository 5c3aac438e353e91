"""The inline launcher: one run after the other in this process."""

from collections.abc import Sequence

from benchmark.execution import Execution, execute
from benchmark.progress import Board
from benchmark.spec import RunSpec


def launch(specs: Sequence[RunSpec], execution: Execution, board: Board) -> None:
    """Carry out every run; one that fails does not stop the others."""
    for spec in specs:
        watcher = board.start(spec.title)
        board.finish(execute(spec, execution, watcher))
