"""Print accuracy tables of the stored runs: `python -m benchmark.report --help`.

Reads records and nothing else: it trains nothing and opens no data.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console

from benchmark import selection
from benchmark.reporting import formats, tables
from benchmark.reporting.parts import METRICS, Record
from benchmark.spec import SETTINGS, RunSpec
from benchmark.store import RunFolder, Store, write_atomically
from mmdg_common import UsageError, unknown

DEFAULT_RESULTS = Path("results")
FIRST_RUN = "python -m benchmark.run --method erm mbcd --dataset synthetic --all-splits"
CHOICES = {
    "select": selection.NAMES,
    "metric": METRICS,
    "format": formats.FORMATS,
}
FILTERS: dict[str, Callable[[RunSpec], str]] = {
    "dataset": lambda spec: spec.dataset,
    "method": lambda spec: spec.method,
    "modalities": lambda spec: "+".join(spec.modalities),
    "setting": lambda spec: spec.setting,
}
"""The options that pick runs, and what of a run they look at."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 after wrong use."""
    args = parser().parse_args(argv)
    try:
        _report(args)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(args: argparse.Namespace) -> None:
    for name, valid in CHOICES.items():
        given = getattr(args, name)
        if given not in valid:
            raise unknown(name, given, valid)
    results = None if args.results == DEFAULT_RESULTS else str(args.results)
    chosen = _chosen(_read(args.results), args)
    if args.tuned:
        chosen = tables.tuned(chosen, args.select)
    found = tables.build(chosen, args.select, args.metric, args.ensemble)
    console = Console()
    if args.output is not None:
        _write(args.output, formats.render(found, args.format, results))
    elif args.format == "text" and sys.stdout.isatty() and console.color_system:
        formats.show(found, console, results)
    else:
        print(formats.render(found, args.format, results), end="")


def _read(root: Path) -> list[Record]:
    store = Store(root)
    records = [_record(spec, folder) for spec, folder in store.all()]
    if store.unreadable:
        print(
            f"left out: {len(store.unreadable)} runs of another version of the suite, "
            f"such as {store.unreadable[0].parent}",
            file=sys.stderr,
        )
    if not records:
        option = "" if root == DEFAULT_RESULTS else f" --results {root}"
        raise UsageError(f"there are no runs in {root}. Make some first: {FIRST_RUN}{option}")
    return records


def _record(spec: RunSpec, folder: RunFolder) -> Record:
    status = folder.status()
    error = str(status.get("error", ""))
    return Record(spec, status["state"], error, folder.result(), folder.path)


def _chosen(records: Sequence[Record], args: argparse.Namespace) -> list[Record]:
    """Return the runs that the filters let through; at least one."""
    chosen = list(records)
    for name, look in FILTERS.items():
        if not (wanted := getattr(args, name)):
            continue
        there = sorted({look(record.spec) for record in records})
        keys = {_key(name, value): value for value in wanted}
        for key in keys.keys() - {_key(name, value) for value in there}:
            raise unknown(f"{name} among the runs", keys[key], there)
        chosen = [record for record in chosen if _key(name, look(record.spec)) in keys]
    if not chosen:
        raise UsageError(f"no run matches all the filters. There are:\n{_listed(records)}")
    return chosen


def _key(name: str, value: str) -> str:
    # The order of modalities is the dataset's; a user may type any.
    return "+".join(sorted(value.split("+"))) if name == "modalities" else value


def _listed(records: Iterable[Record]) -> str:
    combinations = {tuple(look(r.spec) for look in FILTERS.values()) for r in records}
    return "\n".join(
        "  " + " ".join(f"--{name} {value}" for name, value in zip(FILTERS, values, strict=True))
        for values in sorted(combinations)
    )


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    p = argparse.ArgumentParser(
        prog="python -m benchmark.report",
        description="Print accuracy tables of the stored runs, with the command for every gap.",
    )
    add = p.add_argument
    add("--results", type=Path, default=DEFAULT_RESULTS, metavar="DIR", help="default: results")
    add("--dataset", nargs="+", metavar="NAME", help="only these datasets")
    add("--method", nargs="+", metavar="NAME", help="only these methods, e.g. erm swad+mbcd")
    add("--modalities", nargs="+", metavar="A+B", help="only these sets of modalities")
    add("--setting", nargs=1, metavar="NAME", help=f"only {' or '.join(SETTINGS)}")
    add("--select", default="best-val", metavar="RULE", help=_choice("select"))
    add("--metric", default="accuracy", metavar="NAME", help=_choice("metric"))
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
    add("--format", default="text", metavar="NAME", help=_choice("format"))
    add("--output", type=Path, metavar="FILE", help="write there instead of printing")
    return p


def _choice(name: str) -> str:
    first, *others = CHOICES[name]
    return f"{first} (default), {', '.join(others)}"


if __name__ == "__main__":
    sys.exit(main())
