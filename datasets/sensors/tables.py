"""CSV files of sensors, checked before anything is computed from them."""

import warnings
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

    The index of the table is the line of the file.

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
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells that are left out
            table: pd.DataFrame = pd.read_csv(
                path,
                header=0 if header else None,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=False,
            )
    except pd.errors.ParserWarning:
        raise UsageError(f"{path} has lines with more cells than columns; get it again") from None
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
    table.index += 2 if header else 1
    table = table[~(table == "").all(axis=1)]  # blank lines count, but hold nothing
    if table.empty:
        raise UsageError(f"{path} holds no measurement; get it again")
    found = {}
    for name in columns:
        if name in texts:
            continue
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            line, cell = table.index[wrong[0]], table[name].iloc[wrong[0]]
            raise UsageError(
                f"{path}, line {line}: {name} is {cell!r}, which is not a finite number"
            )
        found[name] = numbers
    checked: pd.DataFrame = table.assign(**found)
    return checked


def files(folder: Path) -> list[Path]:
    """Return the CSV files in a folder, sorted; none where there is no such folder.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".csv")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from None


def check_times(path: Path, times: "pd.Series[float]", gap: float, repeats: bool = False) -> None:
    """Raise UsageError unless times grow from line to line.

    Args:
        path: the file, to be named.
        times: a column of what `read` returned.
        gap: the longest time without a measurement, in the same unit.
        repeats: whether times may also be equal: devices deliver in batches.
    """
    steps = np.diff(times)
    backward = np.flatnonzero(steps < 0 if repeats else steps <= 0)
    # Lines out of order leave gaps, too, so the order is what to tell.
    wrong = backward if len(backward) else np.flatnonzero(steps > gap)
    if len(wrong):
        first = wrong[0]
        before, after = times.iloc[first], times.iloc[first + 1]
        where = f"{path}, line {times.index[first + 1]}"
        if steps[first] > gap:
            raise UsageError(
                f"{where}: there is no measurement from {before:.15g} to {after:.15g} ms; get the "
                "file again"
            )
        what = "before" if steps[first] < 0 else "equal to"
        raise UsageError(f"{where}: the time {after:.15g} is {what} that of the line above")
