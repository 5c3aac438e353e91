"""`python -m benchmark.sweep`: carry out every run of a grid, here or on a SLURM cluster."""

import argparse
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning import choice, options
from benchmark.planning.flag_kinds import Parser, path
from benchmark.records.state import ENDED, State
from mmdg_common import UsageError, exit_code, homes, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.launch.costs import Costs
    from benchmark.launch.launchers import Launcher
    from benchmark.launch.status import Standing
    from benchmark.planning.grid import Row
    from benchmark.records.spec import RunSpec
    from benchmark.settings import RunSettings

EPILOG = """examples:
  python -m benchmark.sweep sweeps/smoke.yaml                         # one run after the other
  python -m benchmark.sweep sweeps/smoke.yaml --launcher local        # several at a time
  python -m benchmark.sweep sweeps/paper_multi_source.yaml --launcher slurm --profile one_gpu \\
      --data-root hac=DIR epic_kitchens=DIR                           # submits, and returns
  python -m benchmark.sweep sweeps/paper_multi_source.yaml --data-root ... --status
  python -m benchmark.sweep sweeps/leaderboard.yaml --only seed=0 dataset=mex --dry-run

Every command is safe to repeat: done runs are skipped, queued ones are not submitted again,
interrupted ones resume. Options on the command line win over those in the grid.
exit codes: 0 done, submitted or left to processes that are at it, 1 some runs failed or are left to
do, 2 wrong use
"""
WATCH_EVERY = 2.0
MOST_JOBS = 100_000
SHOWN = 20
"""Failed runs that are named; the others are counted."""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.sweep",
        description="Carry out every run of a grid, here or on a SLURM cluster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("grid", type=path, metavar="GRID", help="a YAML file, such as sweeps/smoke.yaml")
    where = options.add_where(p)
    options.add_data_roots(where)
    # The same everywhere, so that the same sweep gives the same bits wherever it runs.
    p.set_defaults(threads=1)
    how = p.add_argument_group("how to carry it out")
    how.add_argument(
        "--launcher",
        default="inline",
        metavar="NAME",
        help="inline (the default), local, slurm, or that of an installed package",
    )
    options.PROCESSES.declare(how)
    how.add_argument(
        "--profile", metavar="NAME", help="slurm: a file of sweeps/profiles, or any other .yaml"
    )
    how.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="slurm: how many jobs share the runs (default: one for each run, but at most 16)",
    )
    choice.declare(p.add_argument_group("which runs, and in which order"))
    mode = p.add_argument_group("instead").add_mutually_exclusive_group()
    mode.add_argument(
        "--dry-run", action="store_true", help="count the runs and estimate their cost"
    )
    mode.add_argument(
        "--status", action="store_true", help="show the state of the runs, queue included"
    )
    mode.add_argument(
        "--watch", action="store_true", help="the same, live, until all runs have ended"
    )
    mode.add_argument(
        "--cancel", action="store_true", help="take the sweep's jobs out of the queue"
    )
    mode.add_argument(
        "--retry-failed", action="store_true", help="run only the failed runs, from their start"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    stopped = "stopped; the same command goes on from there"
    return exit_code(lambda: _Sweep(parser().parse_args(argv).grid, argv).run(), stopped)


class _Sweep:
    """A planned grid, and the options of the command."""

    def __init__(self, path: Path, argv: Sequence[str] | None) -> None:
        from rich.console import Console

        from benchmark.launch import profile
        from benchmark.planning import grid, plan, request, suite

        if not path.exists():
            near = sorted(Path("sweeps").glob("*.yaml"))
            raise unknown("grid", str(path), map(str, near))
        read = grid.read(path)
        only = choice.read(parser().parse_args(argv).only)
        read = suite.only(read, choice.listed(only.get("dataset", ())))
        # The file's options first, so that the command line's win.
        self.args = args = parser().parse_args(argv, argparse.Namespace(**read.given))
        _check(args)
        self.results: Path = args.results or Path("results")
        wanted = [entry.request.dataset for entry in read.entries]
        places = homes()
        roots = request.data_roots(args.data_root, wanted, places)
        settings = request.settings(args, self.results, places, roots)
        self.settings: RunSettings = profile.unpacking(settings, args.profile or "")
        self.rows: list[Row] = read.plan(self.settings)
        if "dataset" not in only:  # the weights may be those of a dataset that is left out
            plan.check_weights([row.plan for row in self.rows], self.settings)
        self.rows = choice.narrowed(self.rows, only)
        self.specs: list[RunSpec] = grid.specs(self.rows)
        self.labels = {s.id: row.label for row in reversed(self.rows) for s in row.plan.specs}
        self.console = Console(soft_wrap=True)
        for reason in dict.fromkeys(r for row in self.rows for r in row.plan.skipped):
            print(f"skipped: {reason}")
        for note in dict.fromkeys(n for row in self.rows for n in row.plan.notes):
            print(note)

    def run(self) -> int:
        """Do what the options say, and return the exit code."""
        from benchmark.launch import status

        if self.args.dry_run:
            launcher = self._launcher()
            if launcher.waits:  # a cluster is asked only when something is submitted
                launcher.check(self.settings)
            return self._estimate()
        if self.args.cancel:
            return self._cancel()
        if self.args.watch:
            return self._watch()
        if self.args.status:
            code = self._show(self._look())
            if self.settings.features:
                status.print_features(self.settings.features)
            return code
        waits = self._launch()
        standings = self._look()
        self._write_searches()
        code = self._show(standings)
        return max(code, _left(standings)) if waits else code

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

    def _launch(self) -> bool:
        """Launch what is left to do; return whether the launcher waited for it."""
        from benchmark.launch import forecast, reuse, status

        launcher = self._launcher()
        launcher.check(self.settings)
        reuse.take(self.specs, self.settings)
        todo = status.pending(self._ordered(), self.results, retry=self.args.retry_failed)
        if self.args.budget:
            todo = forecast.within(todo, self.args.budget, self._costs)
        if todo:
            status.make_results_folder(self.results)
            launcher.launch(todo, self.settings)
        return launcher.waits

    @cached_property
    def _costs(self) -> "Costs":
        """Estimates of the runs, made when they are asked for: to look at a GPU takes memory."""
        from benchmark.launch.costs import Costs

        return Costs(self.settings, self._launcher().device(self.settings))

    def _ordered(self) -> "list[RunSpec]":
        """Return all runs in the order in which they are to be carried out."""
        return choice.ordered(
            self.specs, self.args.order, self._row, lambda spec: self._costs.seconds(spec)
        )

    def _row(self, spec: "RunSpec") -> tuple[str, str]:
        return spec.dataset, self.labels[spec.id] or spec.method

    def _show(self, standings: "Sequence[Standing]") -> int:
        """Print how the runs stand; return 1 if some failed."""
        from benchmark.launch.submitted import Submitted

        self.console.print(self._table(standings))
        for fault in Submitted(self.results).faults():
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(fault["time"]))
            print(f"{when} job {fault['job']} left {fault['host']}: {fault['reason']}")
        return _failures(standings)

    def _look(self) -> "list[Standing]":
        from benchmark.launch import launchers, status

        return status.look(self.specs, self.results, launchers.queued(self.results))

    def _table(
        self,
        standings: "Sequence[Standing]",
        seconds: "Mapping[str, float | None] | None" = None,
    ) -> "Table":
        from benchmark.launch import status

        return status.table(standings, self._row, seconds)

    def _write_searches(self) -> None:
        from benchmark.planning import search

        for row in self.rows:
            if row.request.search:
                search.write(row.plan.specs, self.results, row.request.search_seed)

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

    def _watch(self) -> int:
        """Show how the runs stand until nothing moves any more."""
        from rich.live import Live

        shown = ""
        standings = self._look()
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while _moves(standings):
                if self.console.is_terminal:
                    live.update(self._table(standings), refresh=True)
                elif (counts := _counts(standings)) != shown:
                    print(shown := counts, flush=True)
                time.sleep(WATCH_EVERY)
                standings = self._look()
        self._write_searches()
        return max(self._show(standings), _left(standings))


def _check(args: argparse.Namespace) -> None:
    options.PROCESSES.check(args.processes)
    if not 0 <= args.jobs <= MOST_JOBS:
        raise UsageError(f"--jobs is a number from 1 to {MOST_JOBS}, not {args.jobs}")


def _failures(standings: "Sequence[Standing]") -> int:
    """Print why runs failed; return the exit code."""
    failed = [one for one in standings if one.state is State.FAILED]
    for one in failed[:SHOWN]:
        reason = textwrap.shorten(one.detail, 300)
        print(f"failed: {one.spec.id} {one.spec.title}: {reason}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"... and {len(failed) - SHOWN} more", file=sys.stderr)
    if failed:
        print("repeat the command with --retry-failed to run them again", file=sys.stderr)
    return 1 if failed else 0


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


def _moves(standings: "Iterable[Standing]") -> bool:
    return any(one.state in (State.RUNNING, State.QUEUED) for one in standings)


def _counts(standings: "Iterable[Standing]") -> str:
    counts = Counter(one.state for one in standings)
    return ", ".join(f"{n} {state}" for state, n in counts.items())


if __name__ == "__main__":
    sys.exit(main())
