"""Pack runs; check committed results, and add to them. `python -m benchmark.results --help`."""

import argparse
import sys
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmark.planning.flag_kinds import path
from benchmark.records import (
    archiving,
    committed,
    committed_analyses,
    labbook,
    ledger,
    packing,
    read,
    verify,
)
from benchmark.records.claims import ClaimLostError
from benchmark.records.committed import CommittedSet, Whole
from benchmark.records.committed_analyses import Line
from benchmark.records.ledger import Entry
from benchmark.records.packing import Packed
from benchmark.records.read import Record
from benchmark.records.result import taken_from
from benchmark.records.run_folder import write_atomically
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from mmdg_common import Parser, UsageError, exit_code

NAMED = 20
"""Problems that are named; the others are counted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 where a check fails, 2 after wrong use."""
    return exit_code(lambda: _main(argv), "stopped; the same command can be repeated")


def _main(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    return {"pack": _pack, "verify": _verify, "add": _add, "pages": _pages}[args.command](args)


# pack


def _pack(args: argparse.Namespace) -> int:
    from benchmark.launch import cluster
    from benchmark.launch.submitted import Submitted

    store, submitted = Store(args.results), Submitted(args.results)
    if not store.runs.is_dir():
        raise UsageError(f"there are no runs in {args.results}; name their folder with --results")
    places = (store.runs, submitted.logs)
    before = archiving.size(places)
    try:
        found = archiving.pack(store)
    except ClaimLostError:
        raise UsageError("another process took this over; repeat it when that has ended") from None
    print(f"{found.runs} runs packed into {found.packs} files, {len(found.done)} are packed now")
    if found.left:
        print(f"left as they are: {_listed(found.left)}")
    if submitted.any():
        try:
            dropped_logs = submitted.drop_logs(found.done, cluster.jobs(), cluster.owner())
            found.dropped["logs of jobs"] = dropped_logs
        except UsageError as error:
            print(f"the logs of SLURM jobs stay: {error}", file=sys.stderr)
    if dropped := +found.dropped:
        print(f"dropped: {_listed(dropped)}")
    for when, (files, size) in {"before": before, "now": archiving.size(places)}.items():
        print(f"{when}: {files} files, {size / 1e6:.1f} MB")
    for problem in found.problems:
        print(f"left out: {problem}", file=sys.stderr)
    return 1 if found.problems else 0


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))


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
    by, why = _spaced(args.by), _spaced(args.replace)
    if not by:
        raise UsageError("--by is empty: name who ran them")
    try:
        of = packing.opened(args.set or _current())
        found = read.read(args.results)
        if not found.records:
            raise UsageError(f"there are no runs in {', '.join(map(str, args.results))}")
        chosen = [r for r in found.records if not (r.committed or taken_from(r.result))]
        known: dict[str, Whole] = {}
        packed, refused = _packed(of, chosen, known)
        measures = _measures(of, chosen, {run.row.spec.id for run in packed}, refused)
        _tell(found, refused)
        date = time.strftime("%Y-%m-%d", time.gmtime())
        noted = {entry.run: entry.digest for entry in ledger.read(of.root / committed.LEDGER)}
        ledger_of = _Ledger(noted, date, by, why)
        new = _new(of, packed, ledger_of)
        new_measures = _new_measures(measures, ledger_of)
        if new:
            packing.create(of)
            packing.add(of, new, known)
        for path, lines in new_measures.items():
            committed_analyses.add(path, lines)
        _note(of, new, new_measures, ledger_of.entries, args.note)
    except UnreadableError as error:
        raise UsageError(f"{error}; restore the file from the history, and repeat this") from None
    there = len(packed) - len(new)
    print(f"{of.root}: {len(new)} runs added, {there} were there already")
    if measures:
        count, added = (sum(map(len, one.values())) for one in (measures, new_measures))
        print(f"{added} measures of analyses added, {count - added} were there already")
    if taken := len(found.records) - len(chosen):
        print(f"{taken} runs were taken from committed results, and are not added again")
    if new or new_measures:
        print(f"check them with: python -m benchmark.results verify {of.root}")
    return 1 if refused else 0


def _spaced(text: str) -> str:
    """Return a text in one line that a file can hold."""
    return " ".join(text.encode(errors="replace").decode().split())


def _current() -> Path:
    found = committed.current()
    if found is None:
        raise UsageError(f"there is no {committed.HOME / committed.CURRENT}; name a set with --set")
    return found.root


def _packed(
    of: CommittedSet, records: Iterable[Record], known: dict[str, Whole]
) -> tuple[list[Packed], dict[str, list[RunSpec]]]:
    """Return runs in the order of the set, and others by the reason why they are refused."""
    packed: list[Packed] = []
    refused: dict[str, list[RunSpec]] = {}
    for record in records:
        try:
            _require_known(record.spec)
            one = packing.pack(record, of.file_of(record.spec), known)
            labels = {part: known[key][2].astype(np.int64) for part, key in one.row.parts.items()}
            for wrong in verify.run_problems(one.row, one.arrays, labels):
                raise UnreadableError(f"{wrong}; train it again")
        except UnreadableError as error:
            refused.setdefault(str(error), []).append(record.spec)
            continue
        packed.append(one)
    return sorted(packed, key=lambda one: packing.place(one.row)), refused


def _tell(found: read.Found, refused: Mapping[str, Sequence[RunSpec]]) -> None:
    """Say what is left out, and why."""
    for problem in found.problems[:NAMED]:
        print(f"left out: {problem}", file=sys.stderr)
    for reason, specs in refused.items():
        first = f"{specs[0].id} ({specs[0].title})"
        which = first if len(specs) == 1 else f"{len(specs)} runs, the first {first}"
        print(f"left out: {which}: {reason}", file=sys.stderr)


def _require_known(spec: RunSpec) -> None:
    """Raise UnreadableError unless anyone can repeat a run: the suite has method and dataset."""
    import datasets
    import methods

    for kind, name, package, look_up in (
        ("method", spec.method, "methods", lambda: methods.components(spec.method)),
        ("dataset", spec.dataset, "datasets", lambda: [datasets.get(spec.dataset)]),
    ):
        try:
            own = all(cls.__module__.startswith(f"{package}.") for cls in look_up())
        except UsageError:
            own = False
        if not own:
            raise UnreadableError(
                f"{name} is no {kind} of the suite; add its file to {package}/ first"
            )


@dataclass
class _Ledger:
    """The ledger of a set, and the lines that an addition will add to it."""

    noted: Mapping[str, str]
    """The digest of the last line by what it is of: a run, or a measure of one."""
    date: str
    by: str
    why: str
    """Why the additions replace what is there."""
    entries: list[Entry] = field(default_factory=list)

    def note(self, name: str, digest: str, title: str) -> None:
        """Add a line unless it is there.

        Raises:
            UsageError: there is a line of another digest, and nothing says why.
        """
        if self.noted.get(name) == digest:
            return
        if name in self.noted and not self.why:
            raise UsageError(
                f"run {name} ({title}) is committed with other numbers; if these are better, say "
                "why with --replace WHY"
            )
        why = self.why if name in self.noted else ""
        self.entries.append(Entry(name, digest, self.date, self.by, why))


def _new(of: CommittedSet, packed: Sequence[Packed], notes: _Ledger) -> list[Packed]:
    """Return the runs that the set lacks or has with other numbers, and note them.

    What an addition that was stopped has left undone is among them.
    """
    there = packing.there(of, dict.fromkeys(run.row.path for run in packed))
    new = []
    for run in packed:
        key, old = run.row.spec.id, there.get(run.row.spec.id)
        if old is not None and old.numbers == run.numbers and notes.noted.get(key) == old.digest:
            continue  # trained twice, if there is any difference at all
        new.append(run)
        notes.note(key, run.digest, run.row.spec.title)
    return new


def _measures(
    of: CommittedSet,
    records: Iterable[Record],
    packed: Container[str],
    refused: dict[str, list[RunSpec]],
) -> dict[Path, list[Line]]:
    """Return what analyses measured of the runs that are packed, by the file it belongs into.

    `refused` gains the runs whose measures cannot be committed.
    """
    found: dict[Path, list[Line]] = {}
    for record in records:
        if record.spec.id not in packed:
            continue
        try:
            lines = committed_analyses.pack(record)
        except UnreadableError as error:
            refused.setdefault(str(error), []).append(record.spec)
            continue
        if lines:
            found.setdefault(committed_analyses.file_of(of.file_of(record.spec)), []).extend(lines)
    return found


def _new_measures(
    measures: Mapping[Path, Sequence[Line]], notes: _Ledger
) -> dict[Path, list[Line]]:
    """Return the measures that the set lacks or has with other numbers, and note them."""
    new: dict[Path, list[Line]] = {}
    for place, lines in measures.items():
        there = {line.name: line for line in committed_analyses.read(place)}
        for line in lines:
            old = there.get(line.name)
            same = old is not None and old.numbers == line.numbers
            if old is not None and same and notes.noted.get(line.name) == old.digest:
                continue
            new.setdefault(place, []).append(line)
            notes.note(line.name, line.digest, line.measured.analysis)
    return new


def _note(
    of: CommittedSet,
    new: Sequence[Packed],
    measures: Mapping[Path, Sequence[Line]],
    entries: Sequence[Entry],
    note: str,
) -> None:
    """Write lab book and ledger; the ledger comes last, as it makes an addition complete."""
    if not entries:
        return
    path = of.root / committed.LEDGER
    first = len(ledger.read(path)) + 2  # after the head
    names = {entry.run for entry in entries}
    labbook.add(
        of.root / committed.LABBOOK,
        [run.row for run in new if run.row.spec.id in names],
        [line for lines in measures.values() for line in lines if line.name in names],
        (first, first + len(entries) - 1),
        entries[0].date,
        entries[0].by,
        note,
    )
    ledger.add(path, entries)


# pages


def _pages(args: argparse.Namespace) -> int:
    """Write what the repository shows of its results."""
    from benchmark.reporting.leaderboard import pages

    of = committed.current()
    if of is None:
        raise UsageError(f"there is no {committed.HOME / committed.CURRENT}")
    for place, content in pages.contents(of, committed.HOME.parent).items():
        write_atomically(place, content)
        print(place)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    p = Parser(prog="python -m benchmark.results", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    few = commands.add_parser(
        "pack",
        help="make one file of all finished runs of a method and split, readable as before",
    )
    few.add_argument(
        "--results",
        type=path,
        default=Path("results"),
        metavar="DIR",
        help="a results folder (default: results)",
    )
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
    commands.add_parser("pages", help="write the leaderboard, and the tables in the pages, again")
    return p


if __name__ == "__main__":
    sys.exit(main())
