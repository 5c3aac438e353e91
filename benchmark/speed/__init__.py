"""What `python -m benchmark.speed` measures: a file for each of its sub-commands."""

import argparse

from mmdg_common import UsageError


def option(name: str) -> str:
    """Return an option as it is typed."""
    return f"--{name.replace('_', '-')}"


def check_counts(options: argparse.Namespace, *names: str) -> None:
    """Raise UsageError if an option that was given counts fewer than one."""
    for name in names:
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and value < 1:
                raise UsageError(f"{option(name)} must be at least 1, not {value}")
