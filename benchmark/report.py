"""Print accuracy tables of the stored runs: `python -m benchmark.report --help`.

Reads records and nothing else: it trains nothing and opens no data.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmark.planning.flag_kinds import path
from benchmark.records import committed, selection
from benchmark.records import read as reading
from benchmark.records.committed import is_set
from benchmark.records.read import Record
from benchmark.records.result import taken_from
from benchmark.records.run_folder import write_atomically
from benchmark.reporting import filters, kinds, write
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import by_average
from benchmark.reporting.tidy import METRICS
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.text import show
from mmdg_common import Parser, UsageError, exit_code, homes, unknown

if TYPE_CHECKING:
    from benchmark.planning.grid import Row as GridRow
    from benchmark.reporting.figures import Figure

DEFAULT_RESULTS = Path("results")
HEADLINE = "gains"
"""The table of committed results that is shown unless another is asked for."""
FIRST_RUN = "python -m benchmark.run --method erm mbcd --dataset synthetic --all-splits"
CHOICES: Mapping[str, Sequence[str]] = {
    "select": selection.NAMES,
    "metric": tuple(METRICS),
    "sort": ("name", "average"),
    "format": write.FORMATS,
    "table": (*kinds.KINDS, kinds.ALL),
    "compare": ("published",),
}
OWN_TABLES = ("table", "versus", "compare", "plan")
"""The options that choose the tables of a report, which leaderboard and advice do themselves."""
NAMED = 5
"""Problems that are named; the others are counted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 after wrong use."""
    return exit_code(lambda: _report(parser().parse_args(argv)), "stopped; no run was touched")


def _report(args: argparse.Namespace) -> int:
    for name, valid in CHOICES.items():
        given = getattr(args, name)
        for one in given if isinstance(given, list) else [given]:
            if one is not None and one not in valid:
                raise unknown(name, one, valid)
    read = _read(args)
    told = _tell(read.problems)
    if not read.records:
        raise _no_runs(args)
    chosen = filters.chosen(read.records, vars(args))
    if args.export is not None:
        with _writing(args.export):
            print(f"{reading.export(chosen, args.export)} records: {args.export}")
        return 0
    chosen, without = filters.tested(chosen)
    if without:
        print(f"left out: {without}", file=sys.stderr)
    if args.ensemble and any(r.committed or taken_from(r.result) for r in chosen):
        print("left out: ensembles of committed runs, which keep no logits", file=sys.stderr)
    if args.tuned and (args.plan or "search" in args.table):
        raise UsageError(
            "--tuned chooses among the settings of a search, which --plan and --table search name "
            "one by one; leave it out"
        )
    if args.tuned:
        chosen = accuracy.tuned(chosen, args.select)
    if args.advise:
        return _advise(args, chosen)
    given = [f"--{name}" for name in OWN_TABLES if getattr(args, name)]
    given += ["--metric with several"] if len(args.metric) > 1 else []
    if args.format == "leaderboard" and given:
        raise UsageError(f"--format leaderboard has its own tables; leave out {given[0]}")
    view = View(args.select, args.metric[0], "target", args.all_rows, args.ensemble)
    plan = _plan(args, chosen) if args.plan else None
    try:
        _show(args, Wanted(chosen, view, plan))
    finally:
        _tell(read.problems, told)
    return 0


def _show(args: argparse.Namespace, wanted: Wanted) -> None:
    if args.format == "leaderboard":
        _leaderboard(args, wanted)
        return
    found: list[Table] = []
    for metric in args.metric:
        tables = _tables(args, wanted.seen(metric=metric))
        found += [table for table in tables if table not in found]  # some have no metric
    _print(args, list(map(by_average, found)) if args.sort == "average" else found, wanted)


def _read(args: argparse.Namespace) -> reading.Found:
    """Return the records; the committed ones where a user has none yet."""
    rule = None if args.export is not None else args.select
    found = reading.read(args.results, rule)
    if found.records or args.results != [DEFAULT_RESULTS] or (of := committed.current()) is None:
        return found
    print(f"no runs of your own yet; these are the committed results {of.name}", file=sys.stderr)
    if not (args.table or args.dataset or args.versus or args.compare):
        args.table = [HEADLINE]
        print("--dataset NAME shows the table of a dataset", file=sys.stderr)
    args.results = [of.root]
    return reading.read(args.results, rule)


def _advise(args: argparse.Namespace, records: Sequence[Record]) -> int:
    """Print which method to take, and the commands that make use of it."""
    from benchmark.reporting.kinds import advice
    from benchmark.reporting.write import advice as text

    if given := [name for name in (*OWN_TABLES, "figures") if getattr(args, name)]:
        raise UsageError(f"--advise stands alone; leave --{given[0]} out")
    if args.format != "text" or len(args.metric) > 1:
        raise UsageError("--advise is plain text about one metric; leave --format out, name one")
    if args.select != "best-val":
        raise UsageError("--advise goes by best-val, the weights that are kept; leave --select out")
    found = advice.build(Wanted(records, View(args.select, args.metric[0], all_rows=args.all_rows)))
    said = text.render(found, _folders(args))
    if args.output is not None:
        _write(args.output, said)
    else:
        print(said, end="")
    return 0


def _folders(args: argparse.Namespace) -> list[str]:
    """Return the results folders that a command must name; none for the usual one."""
    packed = [place for place in args.results if place.suffix == ".jsonl" or is_set(place)]
    folders = [str(place) for place in args.results if place not in packed]
    return [] if args.results == [DEFAULT_RESULTS] else folders


def _tables(args: argparse.Namespace, wanted: Wanted) -> list[Table]:
    if args.versus:
        from benchmark.reporting.kinds import versus

        first, second = args.versus
        return versus.build(first, second, wanted)
    if args.compare:
        from benchmark.reporting.kinds import comparison

        return comparison.build(wanted)
    return kinds.build(args.table, wanted)


def _print(args: argparse.Namespace, found: Sequence[Table], wanted: Wanted) -> None:
    results = _folders(args)
    drawn = _draw(args, wanted)
    console = Console()
    if args.format == "html":
        from benchmark.reporting.write import page

        path = args.output or Path("report.html")
        text = page.render(found, drawn, wanted.records, args.select, path.parent, results)
        _write(path, text)
        print(f"the report: {path}")
    elif args.output is not None:
        _write(args.output, write.render(found, args.format, results))
    elif args.format == "text" and sys.stdout.isatty() and console.color_system:
        show(found, console, results)
    else:
        print(write.render(found, args.format, results), end="")


def _leaderboard(args: argparse.Namespace, wanted: Wanted) -> None:
    from benchmark.reporting.leaderboard import page

    _draw(args, wanted)
    path = args.output or Path("leaderboard.html")
    _write(path, page.render(wanted))
    print(f"the leaderboard: {path}")


def _draw(args: argparse.Namespace, wanted: Wanted) -> "Sequence[Figure]":
    """Return the figures where some are wanted, and write them where that is asked for."""
    if args.figures is None and args.format != "html":
        return []
    from benchmark.reporting import figures

    found = figures.make(wanted)
    for figure in found if args.figures is not None else ():
        with _writing(args.figures):
            for path in figures.save(figure, args.figures):
                print(path, file=sys.stderr)
    return found


def _plan(args: argparse.Namespace, records: Sequence[Record]) -> "Sequence[GridRow]":
    """Return the rows of the grid that is asked for."""
    from benchmark.planning import grid, request
    from benchmark.planning.options import WEIGHTS
    from benchmark.settings import RunSettings

    read = grid.read(args.plan)
    roots = reading.data_roots(records)
    given = [*read.given.get("data_root", []), *args.data_root]
    wanted = [entry.request.dataset for entry in read.entries]
    known = [f"{k}={root}" for k, root in roots.items() if k in wanted]
    places = homes()
    weights = args.weights or read.given.get("weights", [])
    settings = RunSettings(
        args.results[0],
        places,
        request.data_roots([*known, *given], wanted, places),
        **request.starts(WEIGHTS.read(weights)),
    )
    return read.plan(settings)


def _tell(problems: Sequence[str], told: int = 0) -> int:
    """Say what is left out of the report, from problem `told` on; return how many there are."""
    new = problems[told:]
    for problem in new[:NAMED]:
        print(f"left out: {printable(problem)}", file=sys.stderr)
    if len(new) > NAMED:
        print(f"left out: {len(new) - NAMED} more", file=sys.stderr)
    return len(problems)


def _no_runs(args: argparse.Namespace) -> UsageError:
    places = " ".join(map(str, args.results))
    option = "" if args.results == [DEFAULT_RESULTS] else f" --results {args.results[0]}"
    return UsageError(f"there are no runs in {places}. Make some first: {FIRST_RUN}{option}")


def _write(path: Path, text: str) -> None:
    with _writing(path):
        write_atomically(path, text.encode())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being written into wrong use."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    p = Parser(
        prog="python -m benchmark.report",
        description="Print accuracy tables of the stored runs, with the command for every gap.",
    )
    add = p.add_argument
    add(
        "--results",
        type=path,
        nargs="+",
        default=[DEFAULT_RESULTS],
        metavar="DIR",
        help="results folders, or .jsonl files that --export wrote (default: results)",
    )
    filters.declare(p)
    add("--table", nargs="+", default=[], metavar="KIND", help=_choice("table"))
    add("--select", default="best-val", metavar="RULE", help=_choice("select"))
    add("--metric", nargs="+", default=["accuracy"], metavar="NAME", help=_choice("metric"))
    add("--sort", default="name", metavar="ORDER", help=f"order of methods: {_choice('sort')}")
    add(
        "--tuned",
        action="store_true",
        help="of the settings tried of a method, show the best on source validation, cell by cell",
    )
    add(
        "--ensemble",
        action="store_true",
        help="add a row for the ensemble of each method's seeds (summed logits)",
    )
    add(
        "--all-rows",
        action="store_true",
        help="show every setting of a method's hyper-parameters, not the default alone",
    )
    add(
        "--plan",
        type=path,
        metavar="GRID",
        help="expect exactly the runs of a grid; its labels name rows, as in sweeps/ablation.yaml",
    )
    add(
        "--data-root",
        nargs="+",
        default=[],
        metavar="DATASET=DIR",
        help="for --plan, where the runs do not tell where your copies are",
    )
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="MODALITY=FILE",
        help="for --plan, what encoders start from, as in benchmark.run",
    )
    add("--versus", nargs=2, metavar=("A", "B"), help="is method B better than method A?")
    add(
        "--advise",
        action="store_true",
        help="which method to take, how sure that is, and the commands that train it on all "
        "domains and predict with it",
    )
    add("--compare", metavar="WHAT", help="published: beside the numbers in the papers")
    add("--figures", type=path, metavar="DIR", help="draw figures there, as PNG and PDF")
    add("--export", type=path, metavar="FILE", help="write the records to a .jsonl file")
    add("--format", default="text", metavar="NAME", help=_choice("format"))
    add("--output", type=path, metavar="FILE", help="write there instead of printing")
    return p


def _choice(name: str) -> str:
    first, *others = CHOICES[name]
    if name == "table":
        return f"{', '.join(CHOICES[name])} (default: the accuracy of what there is)"
    return f"{first} (default), {', '.join(others)}"


if __name__ == "__main__":
    sys.exit(main())
