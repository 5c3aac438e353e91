"""`python -m benchmark.sweep`: carry out every run of a grid, here or on a SLURM cluster."""

import argparse
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning import options
from mmdg_common import UsageError, exit_code, unknown

if TYPE_CHECKING:
    from rich.table import Table

    from benchmark.launch.inline import Inline
    from benchmark.launch.local import Local
    from benchmark.launch.slurm import Slurm
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

Every command is safe to repeat: done runs are skipped, queued ones are not submitted again,
interrupted ones resume. What a grid says of --threads, --data-root and the like, these options win
over.
exit codes: 0 done or submitted, 1 some runs failed, 2 wrong use
"""
LAUNCHERS = ("inline", "local", "slurm")
WATCH_EVERY = 2.0
SHOWN = 20
"""Failed runs that are named; the others are counted."""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmark.sweep",
        description="Carry out every run of a grid, here or on a SLURM cluster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("grid", type=Path, metavar="GRID", help="a YAML file, such as sweeps/smoke.yaml")
    where = options.add_where(p)
    options.add_data_roots(where)
    # The same everywhere, so that the same sweep gives the same bits wherever it runs.
    p.set_defaults(threads=1)
    how = p.add_argument_group("how to carry it out")
    how.add_argument(
        "--launcher",
        default="inline",
        metavar="NAME",
        help=f"{', '.join(LAUNCHERS)} (the default is inline)",
    )
    how.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="local: at a time (default: one per GPU, or as many as the cores hold)",
    )
    how.add_argument(
        "--profile", metavar="NAME", help="slurm: a file of sweeps/profiles, or any other .yaml"
    )
    how.add_argument(
        "--max-parallel", type=int, default=0, metavar="N", help="slurm: jobs at a time"
    )
    how.add_argument(
        "--runs-per-job", type=int, default=1, metavar="N", help="slurm: pack short runs"
    )
    how.add_argument(
        "--array-size",
        type=int,
        default=0,
        metavar="N",
        help="slurm: tasks in one array, where yours may have fewer than the cluster says",
    )
    mode = p.add_argument_group("instead").add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="count the runs, and what they cost")
    mode.add_argument("--status", action="store_true", help="how the runs stand, queue included")
    mode.add_argument("--watch", action="store_true", help="the same, live, until all have ended")
    mode.add_argument(
        "--cancel", action="store_true", help="take the sweep's jobs out of the queue"
    )
    mode.add_argument("--retry-failed", action="store_true", help="run only what failed, anew")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    stopped = "stopped; the same command goes on from there"
    return exit_code(lambda: _Sweep(args.grid, argv).run(), stopped)


class _Sweep:
    """A grid, planned, and what the command is to do with it."""

    def __init__(self, path: Path, argv: Sequence[str] | None) -> None:
        from rich.console import Console

        from benchmark.planning import grid, plan, request

        if not path.exists():
            near = sorted(Path("sweeps").glob("*.yaml"))
            raise unknown("grid", str(path), map(str, near))
        read = grid.read(path)
        # The file's options first, so that the command line's win.
        self.args = args = parser().parse_args(argv, argparse.Namespace(**read.given))
        _check(args)
        self.results: Path = args.results or Path("results")
        roots = request.data_roots(args.data_root, [entry.args.dataset for entry in read.entries])
        self.settings: RunSettings = request.settings(args, self.results, roots)
        self.rows: list[Row] = read.plan(self.settings)
        plan.check_weights([row.plan for row in self.rows], self.settings)
        self.specs: list[RunSpec] = grid.specs(self.rows)
        self.console = Console(soft_wrap=True)
        for reason in dict.fromkeys(r for row in self.rows for r in row.plan.skipped):
            print(f"skipped: {reason}")

    def run(self) -> int:
        """Do what the options say, and return the exit code."""
        if self.args.dry_run:
            return self._estimate()
        if self.args.cancel:
            return self._cancel()
        if self.args.watch:
            return self._watch()
        if self.args.status:
            return self._show(self._look())
        self._launch()
        standings = self._look()
        self._write_searches()
        code = self._show(standings)
        return code if self.args.launcher == "slurm" else max(code, _left(standings))

    def _launch(self) -> None:
        from benchmark.launch import work

        launcher = _launcher(self.args)
        launcher.check(self.settings)
        todo = work.pending(self.specs, self.results, retry=self.args.retry_failed)
        if todo:
            work.make_results_folder(self.results)
            launcher.launch(todo, self.settings)

    def _show(self, standings: "Sequence[Standing]") -> int:
        """Print how the runs stand; return 1 if some failed."""
        self.console.print(self._table(standings))
        return _failures(standings)

    def _look(self) -> "list[Standing]":
        from benchmark.launch import status

        return status.look(self.specs, self.results)

    def _table(self, standings: "Sequence[Standing]") -> "Table":
        from benchmark.launch import status

        labels = {s.id: row.label for row in reversed(self.rows) for s in row.plan.specs}
        return status.table(standings, labels)

    def _write_searches(self) -> None:
        from benchmark.planning import search

        for row in self.rows:
            if row.args.search:
                search.write(row.plan.specs, self.results, row.args.search_seed)

    def _estimate(self) -> int:
        """Print how many runs there are, how many are left, and what those cost."""
        from benchmark.launch import estimate

        standings = self._look()
        self.console.print(self._table(standings))
        left = [one.spec for one in standings if one.state not in ("done", "failed")]
        costs = estimate.Costs(self.results)
        known = {spec.id: costs.of(spec) for spec in left}
        seconds = sum(cost for cost in known.values() if cost is not None)
        new = sum(cost is None for cost in known.values())
        if len(left) > new:
            total = estimate.duration(seconds)
            print(f"{len(left) - new} runs to do take about {total} in all, by earlier records")
        if new:
            print(f"{new} runs to do have no earlier record to estimate their time from")
        return 0

    def _cancel(self) -> int:
        from benchmark.launch import cluster, slurm

        cluster.require()
        queued = slurm.queued_runs(self.results, cluster.jobs())
        jobs = list(dict.fromkeys(queued[s.id].id for s in self.specs if s.id in queued))
        cluster.cancel(jobs)
        print(f"cancelled {len(jobs)} jobs; what they had begun can be resumed")
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


def _launcher(args: argparse.Namespace) -> "Inline | Local | Slurm":
    if args.launcher == "inline":
        from benchmark.launch.inline import Inline

        return Inline()
    if args.launcher == "local":
        from benchmark.launch.local import Local

        return Local(args.processes)
    from benchmark.launch import profile
    from benchmark.launch.slurm import Slurm

    return Slurm(
        profile=profile.read(args.profile) if args.profile else profile.Profile(),
        name=args.grid.stem,
        max_parallel=args.max_parallel,
        runs_per_job=args.runs_per_job,
        array_size=args.array_size,
    )


def _check(args: argparse.Namespace) -> None:
    if args.launcher not in LAUNCHERS:
        raise unknown("launcher", args.launcher, LAUNCHERS)
    for name, least in (
        ("processes", 0),
        ("max_parallel", 0),
        ("runs_per_job", 1),
        ("array_size", 0),
    ):
        if getattr(args, name) < least:
            raise UsageError(f"--{name.replace('_', '-')} must not be below {least}")


def _failures(standings: "Sequence[Standing]") -> int:
    """Print why runs failed; return the exit code."""
    failed = [one for one in standings if one.state == "failed"]
    for one in failed[:SHOWN]:
        reason = textwrap.shorten(one.detail, 300)
        print(f"failed: {one.spec.id} {one.spec.title}: {reason}", file=sys.stderr)
    if len(failed) > SHOWN:
        print(f"... and {len(failed) - SHOWN} more", file=sys.stderr)
    if failed:
        print("the same command with --retry-failed runs them anew", file=sys.stderr)
    return 1 if failed else 0


def _left(standings: "Iterable[Standing]") -> int:
    """Say how many runs nobody is at, if any; return the exit code."""
    if elsewhere := sum(one.state in ("running", "queued") for one in standings):
        print(
            f"{elsewhere} runs are in other hands; --status tells how they stand", file=sys.stderr
        )
    if left := sum(one.state in ("to do", "interrupted") for one in standings):
        print(
            f"{left} runs are not done; the command that starts the sweep goes on", file=sys.stderr
        )
    return 1 if left or elsewhere else 0


def _moves(standings: "Iterable[Standing]") -> bool:
    return any(one.state in ("running", "queued") for one in standings)


def _counts(standings: "Iterable[Standing]") -> str:
    counts = Counter(one.state for one in standings)
    return ", ".join(f"{n} {state}" for state, n in counts.items())


if __name__ == "__main__":
    sys.exit(main())
