"""Crafted contents of files, for tests of what reads them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEEP = b"[" * 100_000 + b"]" * 100_000
CRAFTED = {
    "an empty file": b"",
    "no object": b"[]",
    "an empty object": b"{}",
    "another object": b'{"a": 1}',
    "null": b"null",
    "a text": b'"x"',
    "an infinite number": b"1e999",
    "no number": b"NaN",
    "a huge number": b"9" * 5000,
    "a large number": b'{"state": ' + b"9" * 4000 + b"}",
    "deep lists": DEEP,
    "a deep list in an object": b'{"state": ' + DEEP + b"}",
    "no UTF-8": b"\xff\xfe\x00\x01",
    "half a pair": b'{"state": "\\ud800"}',
    "a cut-off object": b'{"schema": 1, "rules"',
    "zeros": b"\x00" * 100,
}
DIRECTORY = "a directory"
WRONG: tuple[Any, ...] = (
    *(None, "x", "\x1b[31m", -1, True, [], {}, float("inf"), float("nan"), 10**300, 2**63),
    *([[[[]]]], {"a": {"b": 1}}, ["x", 1], {"x": "y"}),
)
"""Values of which none is right for every field."""


def put(path: Path, content: bytes | str) -> None:
    """Replace a file, by a folder where that is asked for."""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.mkdir()


def poison(path: Path, byte: bytes = b"x") -> None:
    """Make a file unreadable, keeping its size and when it was written."""
    status = path.stat()
    path.write_bytes(byte * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def misshapen(
    values: Mapping[str, Any], place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield JSON values that lack one field, or have a wrong value in it, and where that is."""
    for name in values:
        here = (*place, name)
        yield here, {k: v for k, v in values.items() if k != name}
        for wrong in WRONG:
            yield here, {**values, name: wrong}
        if isinstance(values[name], dict):
            for where, inner in misshapen(values[name], here):
                yield where, {**values, name: inner}
