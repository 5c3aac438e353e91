"""`python -m benchmark.analyze`: measure finished runs, and keep the numbers beside them."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.planning import flags
from benchmark.planning.flag_kinds import path
from benchmark.planning.options import DATA_ROOTS, WHERE
from benchmark.reporting import filters
from mmdg_common import Parser, UsageError, exit_code, homes

if TYPE_CHECKING:
    from benchmark.analysis.base import Analysis
    from benchmark.analysis.finished import FinishedRun
    from benchmark.records.read import Record
    from benchmark.settings import RunSettings

EPILOG = """examples:
  python -m benchmark.run --method erm mbcd --dataset sp_sw_har --all-splits --keep-checkpoints best
  python -m benchmark.analyze shapley calibration
  python -m benchmark.report --table shapley calibration

Nothing is trained. What was measured before is skipped, so the command is safe to repeat, and goes
on where it was stopped. --list names the analyses with their settings.
exit codes: 0 done, 1 some runs could not be measured, 2 wrong use
"""
DEFAULT_RESULTS = Path("results")
USED = ("device", "threads", "workers", "weights")
HOW = tuple(flag for flag in WHERE if flag.name in USED)


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.analyze",
        description="Measure every finished run that matches, and keep the numbers beside it; "
        "benchmark.report makes tables and figures of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("analysis", nargs="*", metavar="ANALYSIS", help="what to measure: --list names them")
    add(
        "--results",
        type=path,
        nargs="+",
        default=[DEFAULT_RESULTS],
        metavar="DIR",
        help="results folders (default: results)",
    )
    filters.declare(p)
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings: key=value for every analysis that has the key, analysis.key=value for one",
    )
    DATA_ROOTS.declare(p)
    for flag in HOW:
        flag.declare(p)
    mode = p.add_mutually_exclusive_group()
    mode.add_argument("--list", action="store_true", help="name the analyses and their settings")
    mode.add_argument("--dry-run", action="store_true", help="count what there is to do")
    mode.add_argument("--force", action="store_true", help="measure again what was measured before")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    stopped = "stopped; the same command goes on from there"
    return exit_code(lambda: _main(argv), stopped)


def _main(argv: Sequence[str] | None) -> int:
    import benchmark.analysis

    args = parser().parse_args(argv)
    if args.list:
        _list()
        return 0
    if not args.analysis:
        raise UsageError(f"say what to measure: {', '.join(benchmark.analysis.names())}")
    analyses = _analyses(args.analysis, args.set)
    for analysis in analyses:
        analysis.check()
    records = _records(args)
    todo = _Todo.of(analyses, records, args.force)
    todo.tell()
    if args.dry_run or not todo.pairs:
        return 0
    failed = _measure(todo.pairs, _settings(args, records), records)
    _end(todo, failed)
    return 1 if failed else 0


def _list() -> None:
    """Print every analysis with what it needs and its settings."""
    import benchmark.analysis

    for name in benchmark.analysis.names():
        cls = benchmark.analysis.get(name)
        needs = "kept weights" if cls.needs_weights else "stored predictions"
        print(f"{name}: {cls.about} Needs {needs}.")
        for one in fields(cls.Settings):
            print(f"  {one.name}={one.default}  {one.metadata['help']}")


def _analyses(names: Sequence[str], assignments: Sequence[str]) -> "list[Analysis]":
    """Return the analyses with the settings that are given."""
    import benchmark.analysis
    from benchmark.planning.assignments import reached
    from methods.hyperparameters import build

    classes = {name: benchmark.analysis.get(name) for name in dict.fromkeys(names)}
    keys = {name: [one.name for one in fields(cls.Settings)] for name, cls in classes.items()}
    given: dict[str, dict[str, str]] = {name: {} for name in classes}
    for assignment in assignments:
        owners, key, value = reached(assignment, keys, "analysis", "setting")
        for name in owners:
            given[name][key] = value
    return [cls(build(cls.Settings, name, given[name])) for name, cls in classes.items()]


def _records(args: argparse.Namespace) -> "list[Record]":
    """Return the finished runs that match and have a target."""
    from benchmark.records import read

    found = read.read(args.results)
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    places = " ".join(map(str, args.results))
    if not found.records:
        raise UsageError(f"there are no runs in {places}; name another folder with --results DIR")
    chosen = filters.chosen(found.records, vars(args))
    done = [r for r in chosen if r.result is not None and r.spec.target]
    if not done:
        raise UsageError(f"none of the {len(chosen)} runs that match is done and has a target")
    return done


@dataclass
class _Todo:
    """What is to be measured, and what is not, with the reasons."""

    pairs: "list[tuple[Analysis, Record]]" = field(default_factory=list)
    there: Counter[str] = field(default_factory=Counter)
    """By analysis, the runs that were measured before."""
    lacking: dict[str, Counter[str]] = field(default_factory=dict)
    """By analysis, the reasons why runs cannot be measured, with how many there are of each."""

    @classmethod
    def of(
        cls, analyses: "Sequence[Analysis]", records: "Sequence[Record]", force: bool
    ) -> "_Todo":
        """Look at every run; all analyses of one run follow each other."""
        todo = cls()
        for record in records:
            for analysis in analyses:
                if reason := analysis.lacks(record, records):
                    todo.lacking.setdefault(analysis.name, Counter())[reason] += 1
                elif not force and _measured(analysis, record):
                    todo.there[analysis.name] += 1
                else:
                    todo.pairs.append((analysis, record))
        return todo

    def tell(self) -> None:
        """Print the counts."""
        for name, reasons in self.lacking.items():
            for reason, count in reasons.items():
                print(f"{name}: {count} run{'s' * (count > 1)} left out: {reason}", file=sys.stderr)
        counts = Counter(analysis.name for analysis, _ in self.pairs)
        for name in dict.fromkeys([*counts, *self.there]):
            print(f"{name}: {counts[name]} runs to measure, {self.there[name]} measured before")
        if not counts and not self.there:
            print("nothing can be measured")


def _measured(analysis: "Analysis", record: "Record") -> bool:
    from benchmark.records import analyses

    assert record.folder is not None
    return analyses.there(record.folder, analysis.key(record))


def _settings(args: argparse.Namespace, records: "Sequence[Record]") -> "RunSettings":
    """Return how to carry out the analyses; data is where the runs found it, unless it is given."""
    from benchmark.planning import request
    from benchmark.records import read
    from benchmark.settings import RunSettings

    given = flags.read(args, HOW)
    places = homes()
    wanted = dict.fromkeys(record.spec.dataset for record in records)
    known = [f"{name}={root}" for name, root in read.data_roots(records).items()]
    return RunSettings(
        args.results[0],
        places,
        request.data_roots([*known, *args.data_root], list(wanted), places),
        **{**given, **request.starts(given.get("weights", {}))},
    )


def _measure(
    pairs: "Sequence[tuple[Analysis, Record]]",
    settings: "RunSettings",
    records: "Sequence[Record]",
) -> "list[tuple[Analysis, Record, str]]":
    """Measure, and write each measure when it is there; return what failed, with the errors."""
    from benchmark.analysis.finished import FinishedRun
    from benchmark.training.setup import configure

    configure(settings)
    failed = []
    run: FinishedRun | None = None
    for analysis, record in _shown(pairs):
        if run is None or run.record is not record:
            run = FinishedRun(record, settings, records)
        try:
            _write(analysis, run)
        except Exception as error:  # one run must not take the others along
            named = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
            failed.append((analysis, record, f"{named}{error}"))
    return failed


def _write(analysis: "Analysis", run: "FinishedRun") -> None:
    from benchmark.records import analyses, provenance

    assert run.record.folder is not None
    started = time.monotonic()
    values = analysis.measure(run)
    told = {**provenance.collect(run.device), "wall_s": time.monotonic() - started}
    settings = analysis.told(run.record)
    measured = analyses.Measured(analysis.name, analysis.version, settings, values, told)
    analyses.write(run.record.folder, measured)


def _shown(pairs: "Sequence[tuple[Analysis, Record]]") -> "Iterator[tuple[Analysis, Record]]":
    """Yield what to measure, with a bar on a terminal and a line for each elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        for number, (analysis, record) in enumerate(pairs, 1):
            print(f"[{number}/{len(pairs)}] {analysis.name} · {record.spec.title}", file=sys.stderr)
            yield analysis, record
        return
    with Progress(console=console) as bar:
        task = bar.add_task("", total=len(pairs))
        for analysis, record in pairs:
            bar.update(task, description=f"{analysis.name} · {record.spec.title}")
            yield analysis, record
            bar.advance(task)


def _end(todo: _Todo, failed: "Sequence[tuple[Analysis, Record, str]]") -> None:
    """Say what was measured and what failed, and how to look at it."""
    for reason, count in Counter(reason for *_, reason in failed).items():
        some = next(record for _, record, why in failed if why == reason)
        print(f"{count} failed, such as {some.spec.title}: {reason}", file=sys.stderr)
    names = dict.fromkeys(analysis.name for analysis, _ in todo.pairs)
    print(
        f"{len(todo.pairs) - len(failed)} measured. To look at them: "
        f"python -m benchmark.report --table {' '.join(names)}"
    )


if __name__ == "__main__":
    sys.exit(main())
