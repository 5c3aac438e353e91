"""Committed results: check them, and add to them. `python -m benchmark.results --help`."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.planning.flag_kinds import path
from benchmark.records import committed, labbook, ledger, packing, read, verify
from benchmark.records.committed import CommittedSet
from benchmark.records.ledger import Entry
from benchmark.records.packing import NewSamples, Packed
from benchmark.records.read import Record
from benchmark.records.shape import UnreadableError
from mmdg_common import UsageError, exit_code

NAMED = 20
"""Problems that are named; the others are counted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 where a check fails, 2 after wrong use."""
    args = parser().parse_args(argv)
    work = {"verify": _verify, "add": _add}[args.command]
    return exit_code(lambda: work(args), "stopped; the same command can be repeated")


# verify


def _verify(args: argparse.Namespace) -> int:
    sets = [CommittedSet(root) for root in args.sets] or _sets(committed.HOME)
    for of in sets:
        if not committed.is_set(of.root):
            raise UsageError(f"{of.root} is no set of results: it has no {committed.MARK}")
    problems = []
    for of in sets:
        found = verify.check(of)
        problems += found.problems
        specs = [row.spec for row in found.runs.values()]
        datasets = len({spec.dataset for spec in specs})
        methods = len({spec.method for spec in specs})
        print(f"{of.root}: {len(specs)} runs of {methods} methods on {datasets} datasets")
    for home in dict.fromkeys(of.root.resolve().parent for of in sets):
        rewritten, limit = ledger.rewritten(home)
        problems += rewritten
        if limit:
            print(f"note: {limit}")
    for problem in problems[:NAMED]:
        print(f"wrong: {problem}", file=sys.stderr)
    if len(problems) > NAMED:
        print(f"wrong: {len(problems) - NAMED} more", file=sys.stderr)
    print(f"{len(problems)} problems" if problems else "all scores follow from the predictions")
    return 1 if problems else 0


def _sets(home: Path) -> list[CommittedSet]:
    found = [CommittedSet(mark.parent) for mark in sorted(home.glob(f"*/{committed.MARK}"))]
    if not found:
        raise UsageError(f"there are no committed results in {home}; name a set")
    committed.current(home)
    return found


# add


def _add(args: argparse.Namespace) -> int:
    of = packing.create(args.set or _current())
    found = read.read(args.results)
    for problem in found.problems[:NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    chosen = [r for r in found.records if r.committed is None and not _reused(r)]
    packed, samples, refused = _packed(of, chosen)
    for reason, count in Counter(refused.values()).items():
        print(f"left out: {count} runs: {reason}", file=sys.stderr)
    entries = _entries(of, packed, args)
    if entries:
        new = {entry.run for entry in entries}
        kept = {p: [run for run in runs if run.row.spec.id in new] for p, runs in packed.items()}
        packing.add(of, {p: runs for p, runs in kept.items() if runs}, samples)
        ledger.add(of.root / committed.LEDGER, entries)
        runs = [run.row for of_file in kept.values() for run in of_file]
        labbook.add(of.root / committed.LABBOOK, runs, entries[0].date, args.by, args.note)
    there = sum(map(len, packed.values())) - len(entries)
    print(f"{of.root}: {len(entries)} runs added, {there} were there already")
    if entries:
        print("check them with: python -m benchmark.results verify")
    return 1 if refused else 0


def _current() -> Path:
    found = committed.current()
    if found is None:
        raise UsageError(f"there is no {committed.HOME / committed.CURRENT}; name a set with --set")
    return found.root


def _reused(record: Record) -> bool:
    return record.result is not None and "reused" in record.result


def _packed(
    of: CommittedSet, records: Iterable[Record]
) -> tuple[dict[Path, list[Packed]], dict[str, NewSamples], dict[str, str]]:
    """Return runs by the file they go into, the samples by dataset, and why others are refused."""
    packed: dict[Path, list[Packed]] = {}
    samples: dict[str, NewSamples] = {}
    refused: dict[str, str] = {}
    for record in records:
        spec = record.spec
        try:
            _require_known(spec.method)
            if spec.dataset not in samples:
                there = (of.root / spec.dataset / committed.SAMPLES).exists()
                known = NewSamples.of(of.samples(spec.dataset)) if there else NewSamples()
                samples[spec.dataset] = known
            one = packing.pack(record, samples[spec.dataset], of.file_of(spec))
        except UnreadableError as error:
            refused[spec.id] = str(error)
            continue
        packed.setdefault(one.row.path, []).append(one)
    for runs in packed.values():
        for run in list(runs):
            of_dataset = committed.Samples(samples[run.row.spec.dataset].arrays())
            if wrong := list(verify.run_problems(run.row, run.arrays, of_dataset)):
                refused[run.row.spec.id] = wrong[0]
                runs.remove(run)
    return packed, {k: v for k, v in samples.items() if v.parts}, refused


def _require_known(method: str) -> None:
    """Raise UnreadableError unless the suite has a method, so that anyone can train it again."""
    import methods

    try:
        own = all(cls.__module__.startswith("methods.") for cls in methods.components(method))
    except UsageError:
        own = False
    if not own:
        raise UnreadableError(f"{method} is no method of the suite; add its file to methods/ first")


def _entries(
    of: CommittedSet, packed: Mapping[Path, Sequence[Packed]], args: argparse.Namespace
) -> list[Entry]:
    """Return the lines of the ledger for runs that are new or replace others."""
    date = time.strftime("%Y-%m-%d", time.gmtime())
    known = {entry.run: entry.digest for entry in ledger.read(of.root / committed.LEDGER)}
    entries = []
    for runs in packed.values():
        for run in runs:
            key, digest = run.row.spec.id, run.digest
            if known.get(key) == digest:
                continue
            if key in known and not args.replace:
                raise UsageError(
                    f"run {key} ({run.row.spec.title}) is committed with other numbers; if these "
                    "are better, say why with --replace WHY"
                )
            why = args.replace if key in known else ""
            entries.append(Entry(key, digest, date, args.by, why))
    return entries


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    p = argparse.ArgumentParser(prog="python -m benchmark.results", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "verify", help="compute every score again from the stored predictions"
    )
    check.add_argument(
        "sets", type=path, nargs="*", metavar="SET", help="folders (default: all of results/)"
    )
    add = commands.add_parser("add", help="pack finished runs into files for a pull request")
    add.add_argument(
        "--results", type=path, nargs="+", required=True, metavar="DIR", help="your results folders"
    )
    add.add_argument("--by", required=True, metavar="NAME", help="who ran them, for the ledger")
    add.add_argument(
        "--note", default="", metavar="TEXT", help="for the lab book: the command, caveats"
    )
    add.add_argument(
        "--set", type=path, metavar="DIR", help="the set (default: that of results/CURRENT)"
    )
    add.add_argument(
        "--replace", default="", metavar="WHY", help="why these runs replace committed ones"
    )
    return p


if __name__ == "__main__":
    sys.exit(main())
