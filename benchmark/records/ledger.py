"""The ledger of a set of committed results: a line for every run that was ever added to it.

Lines are only added. A later line for a run that is there already says why it was replaced, or,
without a digest, why it was taken out. So the ledger lists all changes with their reasons, and the
history of its file shows whether somebody has rewritten it.
"""

import csv
import io
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from benchmark.records.shape import UnreadableError
from mmdg_common import written_atomically


@dataclass(frozen=True)
class Entry:
    """One line."""

    run: str
    """The id."""
    digest: str
    """Of everything that is kept of the run; empty: it was taken out."""
    date: str
    by: str
    why: str = ""
    """Why an earlier line of the same run no longer holds."""


NUMBERS = ("--numstat", "-M", "--no-ext-diff", "--no-textconv", "--", "*/ledger.csv")
"""The options of git that count the lines that changes add and take away."""
HEAD = tuple(field.name for field in fields(Entry))


def read(path: Path) -> list[Entry]:
    """Return the lines of a ledger; none where there is no file.

    Raises:
        UnreadableError: it is damaged.
    """
    try:
        text = path.read_bytes().decode()
        head, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
        entries = [Entry(*line) for line in lines if len(line) == len(HEAD)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"{path}: {error}") from None
    if tuple(head) != HEAD or len(entries) < len(lines):
        raise UnreadableError(f"{path}: a line is not {','.join(HEAD)}")
    if _text(entries) != text:  # the next addition would write it in another way
        raise UnreadableError(
            f"{path}: write {','.join(HEAD)} without spare quotes, and end lines with \\n"
        )
    return entries


def add(path: Path, entries: Iterable[Entry]) -> None:
    """Add lines to a ledger, which may not exist yet."""
    text = _text((*read(path), *entries))
    with written_atomically(path) as file:
        file.write(text.encode())


def _text(entries: Iterable[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(astuple(entry) for entry in entries)
    return text.getvalue()


def problems(
    entries: Sequence[Entry], digests: Mapping[str, str], all_read: bool = True
) -> list[str]:
    """Return what in a ledger does not fit the runs that are there.

    Args:
        entries: the lines.
        digests: of the runs of the set, by id.
        all_read: whether these are all; otherwise nothing can be said of runs that are gone.
    """
    found = []
    last: dict[str, Entry] = {}
    for entry in entries:
        if entry.run in last and not entry.why:
            found.append(f"run {entry.run} was changed, and the ledger does not say why")
        last[entry.run] = entry
    for run, entry in last.items():
        if not entry.digest and not entry.why:
            found.append(f"run {run} was taken out, and the ledger does not say why")
        elif entry.digest and run not in digests:
            if all_read:
                found.append(f"run {run} is gone, and the ledger does not say why")
        elif entry.digest != digests.get(run, ""):
            found.append(
                f"run {run} is not what was added on {entry.date} by {entry.by}; restore its file"
            )
    return found + [f"run {run} is not in the ledger" for run in digests if run not in last]


def rewritten(home: Path) -> tuple[list[str], str]:
    """Return where the history of all ledgers in a folder takes lines away, and what limits this.

    Args:
        home: the folder that holds the sets.
    """
    shallow = _git(home, "rev-parse", "--is-shallow-repository")
    if shallow is None:
        return [], "this is no clone of the repository, so the ledgers' history was not checked"
    # -m: what a merge took away of any parent. A branch that lacks lines takes none away.
    log = _git(home, "log", "-m", "--format=commit %h", *NUMBERS) or ""
    log += "commit HEAD\n" + (_git(home, "diff", "HEAD", *NUMBERS) or "")
    found, commit = [], ""
    for line in log.splitlines():
        if line.startswith("commit "):
            commit = line.split()[1]
        elif len(cells := line.split("\t")) == 3 and cells[1] != "0":
            where = "uncommitted changes" if commit == "HEAD" else f"commit {commit}"
            found.append(f"{cells[2]}: {where} took lines out of it or changed them")
    limit = "" if shallow == "false\n" else "only the latest history is here; git fetch --unshallow"
    return found, limit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout
