"""`python -m benchmark.score my_method.py`: train a method, and set it beside committed results."""

import argparse
import math
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning import options
from benchmark.planning.flag_kinds import path
from benchmark.records.result import taken_from
from benchmark.records.state import ENDED, State
from mmdg_common import Parser, UsageError, exit_code, homes

if TYPE_CHECKING:
    from benchmark.launch.local import Local
    from benchmark.planning.grid import Grid
    from benchmark.records.spec import RunSpec

EPILOG = """examples:
  python -m benchmark.score my_method.py                      # the quick suite: 16 targets, 3 seeds
  python -m benchmark.score my_method.py --only sp_sw_har     # a first look, in a minute or two
  python -m benchmark.score my_method.py --method swad+mine   # one of several, or a composition
  python -m benchmark.score swad+mbcd

Only this method is trained; ERM and all others come from the committed results, or from those that
--reuse names. The command is safe to repeat: done runs are skipped, interrupted ones resume. After
a change of the method, --force trains it again.
exit codes: 0 done, 1 the method breaks the contract or some runs failed, 2 wrong use
"""
SUITE = Path(__file__).resolve().parents[1] / "sweeps" / "quick.yaml"
RULE = "best-val"
NAMED = 5
"""Problems that are named; the others are counted."""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.score",
        description="Train a method on a suite of short runs, and set it beside the committed "
        "results: its gain over ERM, its rank, where it wins and loses, what it costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "what",
        metavar="WHAT",
        help="a .py file or dotted module that registers a method; or a registered method or "
        "composition",
    )
    add("--method", nargs="+", default=[], metavar="NAME", help="which, where WHAT has several")
    add("--only", nargs="+", default=[], metavar="DATASET", help="leave out all other datasets")
    replace(options.SEEDS, help="default: those of the suite").declare(p)
    add("--suite", type=path, default=SUITE, metavar="GRID", help="default: sweeps/quick.yaml")
    where = options.add_where(p)
    options.add_data_roots(where)
    replace(
        options.PROCESSES, help="at a time (default: one per GPU, or as many as the cores hold)"
    ).declare(where)
    p.set_defaults(threads=1)  # as in a sweep
    mode = p.add_argument_group("instead of running, or running again")
    one = mode.add_mutually_exclusive_group()
    for flag in options.MODES:
        flag.declare(one)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    stopped = "stopped; the same command goes on from there"
    return exit_code(lambda: _main(argv), stopped)


def _main(argv: Sequence[str] | None) -> int:
    from benchmark.planning import grid

    suite = grid.read(parser().parse_args(argv).suite)
    # The file's options first, so that the command line's win.
    args = parser().parse_args(argv, argparse.Namespace(**suite.given))
    options.PROCESSES.check(args.processes)
    return _Score(args, suite).run()


class _Score:
    """The planned runs of one or several methods, and the committed ones beside them."""

    def __init__(self, args: argparse.Namespace, grid: "Grid") -> None:
        import methods
        from benchmark.planning import request, suite
        from benchmark.planning.grid import specs
        from benchmark.reporting.kinds import beside

        self.args = args
        self.names = _names(args.what, args.method)
        self.results: Path = args.results or Path("results")
        places = homes()
        grid, lacking = suite.with_data(suite.only(grid, args.only), args.data_root, places)
        if lacking:
            print(f"left out: {lacking}")
        wanted = [entry.request.dataset for entry in grid.entries]
        roots = request.data_roots(args.data_root, wanted, places)
        settings = request.settings(args, self.results, places, roots)
        self.settings = replace(settings, modules=methods.modules(self.names))
        of = beside.find(settings.reuse)
        rows = suite.together_with(grid, self.names, args.seeds).plan(self.settings)
        for reason in dict.fromkeys(r for row in rows for r in row.plan.skipped):
            print(f"skipped: {reason}")
        planned = specs(rows)
        self.beside = beside.collect(of, planned, self.names, RULE)
        _tell(self.beside.problems)
        for line in self.beside.lacking():
            print(line)
        own = [spec for spec in planned if spec.method in self.names]
        self.specs = [spec for spec in own if self.beside.compares(spec)]
        if not self.specs:
            raise UsageError(
                "nothing is left to compare; name other committed results with --reuse DIR"
            )

    def run(self) -> int:
        """Do what the options say, and return the exit code."""
        from benchmark.launch import reuse, status
        from benchmark.launch.local import Local

        launcher = Local(self.args.processes)
        launcher.check(self.settings)
        if self.args.dry_run or self.args.status:
            status.print_states(self.specs, self.results)
            there = reuse.available(self.specs, self.settings)
            self._estimate(launcher, [s for s in self._left() if s.id not in there])
            return 0
        if not self.args.force:
            reuse.take(self.specs, self.settings)
        again = self.args.force or self.args.retry_failed
        if (again or self._left()) and not self._keep_the_contract():
            return 1
        todo = status.pending(
            self.specs, self.results, force=self.args.force, retry=self.args.retry_failed
        )
        if todo:
            self._estimate(launcher, todo)
            status.make_results_folder(self.results)
            launcher.launch(todo, self.settings)
        code = status.summary(self.specs, self.results)
        if len(todo) < len(self.specs):
            self._tell_of_changes()
        self._show()
        return code

    def _left(self) -> "list[RunSpec]":
        from benchmark.records.store import Store

        store = Store(self.results)
        return [s for s in self.specs if store.folder(s).status().state not in ENDED]

    def _keep_the_contract(self) -> bool:
        """Check the methods that are not made of the suite's own, which its tests check."""
        from benchmark.contract import command

        failed = [name for name in self.names if _files(name) and command.check(name, brief=True)]
        if failed:
            print(
                f"nothing was trained: {', '.join(failed)} breaks the contract that every method "
                f"keeps. All of it: python -m methods check {self.args.what}",
                file=sys.stderr,
            )
        return not failed

    def _estimate(self, launcher: "Local", todo: "Sequence[RunSpec]") -> None:
        """Say how long runs will take, by earlier ones; nothing where some have none."""
        from benchmark.launch.costs import Costs
        from benchmark.launch.forecast import forecast
        from benchmark.launch.status import duration

        passes = {name: _passes(name) for name in self.names}
        costs = Costs(self.settings, launcher.device(self.settings), passes)
        found = forecast(todo, costs)
        if todo and len(found.known) == len(todo):
            processes = len(launcher.slots(len(todo), self.settings))
            seconds = sum(one.seconds for one in found.known) / processes
            print(
                f"{len(todo)} runs to do, {processes} at a time: about {duration(seconds)} "
                f"({found.bases})"
            )

    def _tell_of_changes(self) -> None:
        """Say which methods have changed since runs of them were trained."""
        from benchmark.records.store import Store

        store = Store(self.results)
        for name in self.names:
            changed = max((file.stat().st_mtime for file in _files(name)), default=0.0)
            folders = [store.folder(spec) for spec in self.specs if spec.method == name]
            old = [
                folder
                for folder in folders
                if folder.status().state is State.DONE
                and not taken_from(folder.result())
                and (folder.noted().time or math.inf) < changed
            ]
            if old:
                print(
                    f"{name} has changed since {len(old)} of its runs were trained; --force trains "
                    "them again"
                )

    def _show(self) -> None:
        """Print the scorecard of every method of which a run is done."""
        from rich.console import Console

        from benchmark.records import read
        from benchmark.records.store import Store
        from benchmark.reporting.kinds import scorecard
        from benchmark.reporting.request import Wanted
        from benchmark.reporting.write import text

        store, problems = Store(self.results), list[str]()
        own = [read.of_folder(spec, store.folder(spec), problems) for spec in self.specs]
        for name in self.names:
            mine = [r for r in own if r.spec.method == name and r.result is not None]
            card = scorecard.collect(name, Wanted([*mine, *self.beside.records]))
            if card is None:
                continue
            subject = (self.args.suite.stem, f"beside {self.beside.name}")
            table = scorecard.table(card, subject, [*mine, *self.beside.erm])
            print(f"\n{textwrap.fill(scorecard.headline(card), text.WIDTH)}\n")
            if sys.stdout.isatty():
                text.show([table], Console())
            else:
                print(text.render([table], []), end="")
        _tell(problems)


def _names(what: str, chosen: Sequence[str]) -> list[str]:
    """Return the compositions to score.

    Raises:
        UsageError: there is no such method, or there are several and none is chosen.
    """
    import methods
    from benchmark.contract import command
    from benchmark.reporting.kinds.frame import BASELINE

    found = command.compositions(what)
    if not chosen and len(found) > 1:
        raise UsageError(
            f"{what} registers {len(found)} methods, {', '.join(found)}: say which, such as "
            f"--method {found[0]}"
        )
    names = list(dict.fromkeys(methods.canonical(name) for name in chosen or found))
    if BASELINE in names:
        raise UsageError(f"{BASELINE} is what all others are compared with; score another method")
    return names


def _files(name: str) -> list[Path]:
    """Return the files of the parts of a composition that are not the suite's own."""
    import methods

    modules = [m for m in methods.modules([name]) if not m.startswith("methods.")]
    return [Path(file) for m in modules if (file := getattr(sys.modules[m], "__file__", None))]


def _passes(name: str) -> float:
    """Return what a method makes of a sample; as a plain one where that cannot be counted."""
    from benchmark.contract.cost import measure
    from benchmark.launch.costs import per_sample

    try:
        return per_sample(vars(measure(name).step))
    except Exception:  # a user's method may raise anything, and this is for an estimate
        return per_sample(None)


def _tell(problems: Sequence[str]) -> None:
    for problem in problems[:NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(problems) > NAMED:
        print(f"left out: {len(problems) - NAMED} more", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
