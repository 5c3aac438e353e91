"""CSV files of sensors, checked before anything is computed from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmdg_common import UsageError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


def read(
    path: Path, columns: Sequence[str], texts: Sequence[str] = (), header: bool = True
) -> "pd.DataFrame":
    """Return the columns of a CSV file, as finite float64 but for those that hold texts.

    Args:
        path: the file.
        columns: the columns wanted; where there is no header, all there are, in order.
        texts: those of them that are not numbers.
        header: whether the first line names the columns.

    Raises:
        UsageError: the file is missing or empty, lacks a column, or has a cell that is not what
            it should be; the message names the file and the line.
    """
    import pandas as pd

    try:
        table: pd.DataFrame = pd.read_csv(
            path,
            header=0 if header else None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
        )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except pd.errors.EmptyDataError:
        raise UsageError(f"{path} is empty; get it again") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise UsageError(f"{path} is not a table of CSV: {str(error).strip()}") from None
    if not header:
        if table.shape[1] != len(columns):
            raise UsageError(f"{path} has {table.shape[1]} columns instead of {len(columns)}")
        table.columns = pd.Index(columns)
    for name in columns:
        if name not in table:
            raise UsageError(f"{path} has no column {name!r}, only {', '.join(table.columns)}")
    table = table[list(columns)].fillna("")
    lines = np.arange(len(table)) + (2 if header else 1)
    kept = ~(table == "").all(axis=1).to_numpy()  # blank lines count, but hold nothing
    table, lines = table[kept].reset_index(drop=True), lines[kept]
    if table.empty:
        raise UsageError(f"{path} holds no measurement; get it again")
    found = {}
    for name in columns:
        if name in texts:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            raise UsageError(
                f"{path}, line {lines[wrong[0]]}: {name} is {table[name].iloc[wrong[0]]!r}, which "
                "is not a finite number"
            )
        found[name] = numbers
    checked: pd.DataFrame = table.assign(**found)
    return checked


def check_times(path: Path, times: Array, repeats: bool = False, header: bool = True) -> None:
    """Raise UsageError unless times grow from line to line; `repeats` allows equal ones, too."""
    steps = np.diff(times)
    wrong = np.flatnonzero(steps < 0 if repeats else steps <= 0)
    if len(wrong):
        what = "before" if steps[wrong[0]] < 0 else "equal to"
        raise UsageError(
            f"{path}, line {wrong[0] + (3 if header else 2)}: the time {times[wrong[0] + 1]:.15g} "
            f"is {what} that of the line above"
        )
