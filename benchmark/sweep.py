"""`python -m benchmark.sweep`: carry out every run of a grid, here or on a SLURM cluster."""

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning import choice
from benchmark.planning.sweep_options import check, parser
from benchmark.records.state import ENDED, State
from mmdg_common import UsageError, exit_code, unknown, written_atomically

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.launch.costs import Costs
    from benchmark.launch.failures import Failure
    from benchmark.launch.launchers import Launcher
    from benchmark.launch.status import Standing
    from benchmark.records.spec import RunSpec


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    stopped = "stopped; the same command goes on from there"
    return exit_code(lambda: _Sweep(parser().parse_args(argv).grid, argv).run(), stopped)


class _Sweep:
    """The runs of a grid, and the options of the command."""

    def __init__(self, path: Path, argv: Sequence[str] | None) -> None:
        from rich.console import Console

        from benchmark.launch.subject import Subject
        from benchmark.launch.watch import Queue
        from benchmark.planning import grid

        if not path.exists():
            near = sorted(Path("sweeps").glob("*.yaml"))
            raise unknown("grid", str(path), map(str, near))
        # The file's options first, so that the command line's win.
        given = argparse.Namespace(**grid.given(path))
        self.args = args = parser().parse_args(argv, given)
        check(args)
        self.results: Path = args.results or Path("results")
        self.looks = args.status or args.cancel or (args.watch and self._launcher.waits)
        self.about = Subject.of(args, self.results, self.looks)
        self.settings, self.specs = self.about.settings, self.about.specs
        self.queue = Queue(self._queued)
        self.console = Console(soft_wrap=True)

    def run(self) -> int:
        """Do what the options say, and return the exit code."""
        args = self.args
        if args.dry_run:
            if self._launcher.waits:  # a cluster is asked only when something is submitted
                self._launcher.check(self.settings)
            return self._estimate()
        if args.cancel:
            return self._cancel()
        if args.status:
            return self._status()
        if args.watch or self._launcher.waits:
            return self._to_the_end()
        self._launch()
        return self._finish(self._look())

    @cached_property
    def _launcher(self) -> "Launcher":
        """Return the launcher; its options and profile are then known to be right."""
        from benchmark.launch import launchers

        options = launchers.LaunchOptions(
            name=self.args.grid.stem,
            processes=self.args.processes,
            profile=self.args.profile or "",
            jobs=self.args.jobs,
        )
        return launchers.create(self.args.launcher, options)

    def _launch(self) -> None:
        """Launch what is left to do."""
        from benchmark.launch import forecast, reuse, status

        self._launcher.check(self.settings)
        reuse.take(self.specs, self.settings)
        match = self.args.retry_failed
        ordered, retry = self._ordered(), match is not None
        todo = status.pending(ordered, self.results, retry=retry, match=match or "")
        if match and not todo:
            print(f"no failed run has {match!r} in its error; --status shows the errors there are")
        if self.args.budget:
            todo = forecast.within(todo, self.args.budget, self._costs)
        status.make_results_folder(self.results)
        self.about.remember()
        if todo:
            self._launcher.launch(todo, self.settings)

    def _to_the_end(self) -> int:
        """Carry out the sweep or watch it, and tell of its end."""
        try:
            if self.args.watch:
                self._watch()
            else:
                self._launch()
        except UsageError as error:
            self._notify(self._look(), 2, str(error))
            raise
        standings = self._look()
        code = max(self._finish(standings), _left(standings))
        self._notify(standings, code)
        return code

    def _notify(self, standings: "Sequence[Standing]", code: int, error: str = "") -> None:
        from benchmark.launch import notify

        if self.args.notify:
            about = self.args.grid, self.results, standings
            notify.tell(self.args.notify, *about, code, error)

    @cached_property
    def _costs(self) -> "Costs":
        """Estimates of the runs, made when they are asked for: to look at a GPU takes memory."""
        from benchmark.launch.costs import Costs

        return Costs(self.settings, self._launcher.device(self.settings))

    def _ordered(self) -> "list[RunSpec]":
        """Return all runs in the order in which they are to be carried out."""
        return choice.ordered(
            self.specs, self.args.order, self.about.row, lambda spec: self._costs.seconds(spec)
        )

    def _watch(self) -> None:
        """Show how the runs stand until nothing moves any more."""
        from benchmark.launch.watch import Watch

        if not self.looks:
            self._launcher.check(self.settings)
        submit = None if self.looks else self._launch
        Watch(self.specs, self.results, self.queue, self._table, submit).run(self.console)

    def _status(self) -> int:
        from benchmark.launch import status

        standings = self._look()
        if self.args.format == "html":
            return self._write_page(standings)
        code = self._show(standings)
        if self.settings.features:
            status.print_features(self.settings.features)
        return code

    def _write_page(self, standings: "Sequence[Standing]") -> int:
        """Write the page that says how the runs stand; return 1 if some failed."""
        from benchmark.reporting.write import progress

        runs = [progress.Run(one.spec, self.about.row(one.spec)[1], one.state) for one in standings]
        found = [
            progress.Trouble(one.what, one.reason, str(one.log))
            for one in self._failures(standings)
        ]
        page = progress.render(
            self.args.grid.stem, runs, found, *self._told(standings), time.time()
        )
        path = self.args.output or self.results / "status.html"
        with written_atomically(path) as file:
            file.write(page.encode())
        print(path)
        return _failed(standings)

    def _told(self, standings: "Sequence[Standing]") -> tuple[list[str], list[str]]:
        """Return in lines what the rest will take, and what runs wait for."""
        from benchmark.launch.remaining import remaining
        from benchmark.launch.submitted import Submitted

        waits = list(self.queue.lines(standings))
        for fault in Submitted(self.results).faults():
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(fault["time"]))
            waits.append(f"{when} job {fault['job']} left {fault['host']}: {fault['reason']}")
        rest = remaining(standings)
        return [str(rest)] if rest else [], waits

    def _failures(self, standings: "Sequence[Standing]") -> "list[Failure]":
        """Return why runs did not end well, but for those that were only stopped."""
        from benchmark.launch import status

        found = status.failed(standings, self.results)
        return [one for one in found if one.error or one.state is State.FAILED]

    def _finish(self, standings: "Sequence[Standing]") -> int:
        """Write what follows from the runs, and print how they stand; return 1 if some failed."""
        from benchmark.planning import search

        for row in self.about.rows:
            if row.search_seed is not None:
                search.write(row.specs, self.results, row.search_seed)
        return self._show(standings)

    def _show(self, standings: "Sequence[Standing]") -> int:
        """Print how the runs stand; return 1 if some failed."""
        from benchmark.launch import failures

        self.console.print(self._table(standings))
        rest, waits = self._told(standings)
        for line in (*waits, *rest):
            print(line)
        for line in failures.told(self._failures(standings)):
            print(line, file=sys.stderr)
        if code := _failed(standings):
            print(
                "repeat the command with --retry-failed to run them again, or with --retry-failed "
                "TEXT only those with TEXT in their error",
                file=sys.stderr,
            )
        return code

    def _look(self) -> "list[Standing]":
        from benchmark.launch import status

        return status.look(self.specs, self.results, self.queue.look())

    def _queued(self) -> "Mapping[str, str]":
        """Return what waits, whichever launcher has queued it."""
        from benchmark.launch import launchers

        return launchers.queued(self.results)

    def _table(
        self,
        standings: "Sequence[Standing]",
        seconds: "Mapping[str, float | None] | None" = None,
    ) -> "Table":
        from benchmark.launch import status

        return status.table(standings, self.about.row, seconds)

    def _estimate(self) -> int:
        """Print how many runs there are, how many are left, and what those cost."""
        from benchmark.launch import forecast, reuse

        standings = self._look()
        left = [one.spec for one in standings if one.state not in ENDED]
        there = reuse.available(left, self.settings)
        left = [spec for spec in left if spec.id not in there]
        found = forecast.forecast(left, self._costs)
        self.console.print(self._table(standings, found.seconds if found.known else None))
        if there:
            print(f"{len(there)} runs to do are in the committed results: they are not trained")
        for line in found.told():
            print(line)
        if self.args.budget:
            next_ones = [spec for spec in self._ordered() if spec.id in found.estimates]
            forecast.within(next_ones, self.args.budget, self._costs)
        return 0

    def _cancel(self) -> int:
        from benchmark.launch import launchers

        number = launchers.cancel(self.specs, self.results)
        print(f"cancelled {number} jobs; runs that had begun can be resumed")
        return 0


def _failed(standings: "Iterable[Standing]") -> int:
    """Return the exit code: 1 if runs failed."""
    return int(any(one.state is State.FAILED for one in standings))


def _left(standings: "Iterable[Standing]") -> int:
    """Say how many runs are left, if any; return 1 if nobody is at one of them.

    What others carry out is theirs: of many copies of a command, all but the last end so.
    """
    if elsewhere := sum(one.state in (State.RUNNING, State.QUEUED) for one in standings):
        print(
            f"{elsewhere} runs are queued or running elsewhere; --status shows them",
            file=sys.stderr,
        )
    if left := sum(one.state in (State.TO_DO, State.INTERRUPTED) for one in standings):
        print(
            f"{left} runs are left to do; repeat the command that started the sweep",
            file=sys.stderr,
        )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
