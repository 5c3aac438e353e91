"""Downloading official checkpoints: resumed where a transfer was cut off, and checked.

A file grows under the name `FILE.part` and takes its own name when it is whole and its SHA-256
begins as the name says. Where the name says nothing, the file must be a readable checkpoint.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from benchmark.backbones import checkpoints, official
from benchmark.backbones.official import Checkpoint
from mmdg_common import UsageError

TIMEOUT = 30.0
"""Seconds of silence after which a server counts as gone."""
CHUNK = 1 << 18
BROKEN = (HTTPException, ConnectionError, TimeoutError)
"""What a connection raises when it breaks; errors of the disk are none of these."""


def fetch(checkpoint: Checkpoint, homes: Sequence[Path]) -> Path:
    """Return the file of a checkpoint, downloaded into the first home unless it is there already.

    Raises:
        UsageError: it cannot be fetched as a whole, or is not the official file.
    """
    if there := official.find(checkpoint, homes):
        check(checkpoint, there, f"Delete {there} and run the same command again.")
        return there
    path = official.folders(homes)[0] / checkpoint.file
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(checkpoint.url, part, path)
    try:
        check(checkpoint, part, "It is deleted; run the same command again.")
    except UsageError:
        part.unlink()
        raise
    part.replace(path)
    return path


def check(checkpoint: Checkpoint, path: Path, advice: str) -> None:
    """Raise UsageError, which ends with the advice, unless a file is the official one."""
    if not checkpoint.digest:
        checkpoints.read(str(path), f"the official one is {checkpoint.url}. {advice}".rstrip("."))
        return
    found = checkpoints.sha256(path)[: len(checkpoint.digest)]
    if found != checkpoint.digest:
        raise UsageError(
            f"{path} is not the official file: its SHA-256 begins with {found}, not with "
            f"{checkpoint.digest}. {advice}"
        )


def _download(url: str, part: Path, path: Path) -> None:
    """Fetch what a partial file lacks, and raise UsageError where that does not work."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    by_hand = f"Or fetch it by other means and save it as {path}"
    try:
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as response:
            _receive(response, part, path.name)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # nothing is lacking
        raise UsageError(
            f"{url} cannot be fetched: the server says {error.code} {error.reason}. Try again "
            f"later. {by_hand}"
        ) from None
    except _CutOffError as error:
        raise UsageError(
            f"{url} was cut off after {error}. Run the same command again, which goes on from "
            f"there. {by_hand}"
        ) from None
    except (URLError, *BROKEN) as error:
        raise UsageError(
            f"{url} cannot be reached ({getattr(error, 'reason', error)}). Check the network and "
            f"run the same command again. {by_hand}"
        ) from None


class _CutOffError(Exception):
    """A transfer stopped before its end; the message says how far it came."""


def _receive(response: HTTPResponse, part: Path, name: str) -> None:
    """Write a response, which is the whole file or what the partial one lacks."""
    resumed = response.status == HTTPStatus.PARTIAL_CONTENT
    size = part.stat().st_size if resumed else 0
    total = None if response.length is None else size + response.length
    with part.open("ab" if resumed else "wb") as file, _progress(name, size, total) as advance:
        while chunk := _read(response):
            file.write(chunk)
            size += len(chunk)
            advance(len(chunk))
    if total is not None and size < total:
        raise _CutOffError(f"{size} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    """Return the next bytes; none at the end, and none where the connection breaks."""
    try:
        return response.read1(CHUNK)
    except BROKEN:
        return b""


@contextmanager
def _progress(name: str, size: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a transfer is, or one line where no terminal listens."""
    if not sys.stderr.isatty():
        so_far = f" from byte {size}" if size else ""
        print(f"downloading {name}{so_far} ...", file=sys.stderr, flush=True)
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, completed=size, total=total)
        yield lambda amount: bar.advance(task, amount)
