"""What `python -m benchmark.speed` measures: a file for each of its sub-commands."""

import argparse
from typing import Protocol

from mmdg_common import UsageError


class SubCommand(Protocol):
    """What the module of a sub-command holds."""

    HELP: str
    """What is measured, in a line for the list of sub-commands."""
    DESCRIPTION: str
    """How it is measured, for the help of the sub-command."""

    def add_options(self, p: argparse.ArgumentParser) -> None:
        """Declare the options."""

    def run(self, options: argparse.Namespace) -> None:
        """Measure, and print.

        Raises:
            UsageError: the options make no sense.
        """


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
