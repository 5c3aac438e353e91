"""The contract of every method and composition, as checks that can be run on any of them.

A check takes a `Case`, a composition with a folder for its runs, and raises with a readable reason
if the composition breaks it; the first line of its docstring says what holds.
"""

import traceback
from collections.abc import Callable

from benchmark.contract import predictions, runs, steps
from benchmark.contract.case import Case

__all__ = ["CHECKS", "Case", "Check", "failure", "title"]

Check = Callable[[Case], None]

CHECKS: tuple[Check, ...] = (*steps.CHECKS, *predictions.CHECKS, *runs.CHECKS)


def title(check: Check) -> str:
    """Return the property that a check verifies."""
    return (check.__doc__ or check.__name__).splitlines()[0].removesuffix(".")


def failure(check: Check, case: Case) -> str | None:
    """Run a check and return in one line why it fails, or None."""
    try:
        check(case)
    except AssertionError as error:
        return " ".join(str(error).split())
    except Exception as error:  # whatever a method under test raises
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = " ".join(str(error).split())
        return f"{type(error).__name__}: {message} ({where.filename}:{where.lineno})"
    return None
