"""Committed results in place of training: a run that was committed counts as done."""

from collections import Counter
from collections.abc import Iterable

from benchmark.records import committed, packing
from benchmark.records.committed import CommittedRun
from benchmark.records.result import taken_from
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from mmdg_common import UsageError


def available(specs: Iterable[RunSpec], settings: RunSettings) -> dict[str, CommittedRun]:
    """Return by id the committed ones of some runs, where the settings allow their use.

    Raises:
        UsageError: the folder to reuse has no committed results, or they are damaged.
    """
    if settings.reuse is None or not _allowed(settings):
        return {}
    of = committed.find(settings.reuse)
    if of is None:
        return {}
    specs = list(specs)
    wanted = {spec.id for spec in specs}
    try:
        of.require()
        rows = [row for path in dict.fromkeys(map(of.file_of, specs)) for row in of.rows(path)]
    except UnreadableError as error:
        raise _damaged(error) from None
    return {row.spec.id: CommittedRun(of, row) for row in rows if row.spec.id in wanted}


def take(specs: Iterable[RunSpec], settings: RunSettings) -> None:
    """Put the committed ones among runs that are to do into the results folder, and say so.

    Where nothing may be reused, runs that were taken earlier are set aside, so that they are to do.

    Raises:
        UsageError: as `available`.
    """
    specs, store = list(specs), Store(settings.results)
    allowed, found = _allowed(settings), available(specs, settings)
    taken: Counter[str] = Counter()
    for spec in specs:
        folder = store.folder(spec)
        if not allowed and taken_from(folder.result()):
            folder.await_forced()
        elif spec.id in found and folder.status().state is State.TO_DO:
            try:
                packing.unpack(found[spec.id], folder)
            except UnreadableError as error:
                raise _damaged(UnreadableError(f"{found[spec.id].path}: {error}")) from None
            taken[spec.method] += 1
    if taken:
        listed = ", ".join(f"{method} ({number})" for method, number in sorted(taken.items()))
        print(f"{taken.total()} runs are taken from committed results: {listed}")
        print("--no-reuse trains them here")


def _damaged(error: UnreadableError) -> UsageError:
    return UsageError(f"{error}; mend it, or train everything with --no-reuse")


def _allowed(settings: RunSettings) -> bool:
    wanted = settings.keep_checkpoints != "none" or settings.log_gradients
    return settings.reuse is not None and not wanted
