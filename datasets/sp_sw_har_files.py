"""The files of sp_sw_har: the official CSVs, and the packaged windows made from them."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.base import announced
from datasets.media import fabricate
from datasets.sensors import arrays as kept
from datasets.sensors import signals, tables
from mmdg_common import UsageError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]

CACHE_VERSION = 1
PACKAGED = Path(__file__).with_suffix("").with_name("sp_sw_har.npz")
SOURCE = (
    "leave --root and --data-root out: the package carries the windows. The files that they are "
    "made of are the folder DATA of https://doi.org/10.5281/zenodo.8398688."
)
ADVICE = f"To get the data, {SOURCE}"
CLASSES = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
DEVICES = {"phone": "sp", "watch": "sw"}
"""Modalities, and how file names end."""
CHANNELS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
UNITS = np.array([0.005] * 3 + [0.001] * 3)
"""What 1 stands for in the arrays of int16: m/s² and rad/s."""
RATE = 50.0
WINDOW_MS, STRIDE_MS, SHARE = 1000.0, 500.0, 0.7
GAP_MS = 500.0
"""The longest time without a measurement that is interpolated; 188 ms in the official files."""
EXECUTION = re.compile(r"(s(?:0[1-9]|1\d|2[0-3]))_(\d\d)_(sp|sw)\.csv")
WAYS = ("back", "back_inv", "front", "front_inv")
INFO = "executions_info.csv"


@dataclass(frozen=True)
class Recorded:
    """Windows as arrays: [N, 6, 50] int16 by device, and what each window is."""

    arrays: Mapping[str, Array]

    def signals(self, device: str) -> Array:
        """Return [N, 6, 50] float32 of one device in m/s² and rad/s."""
        return np.asarray(self.arrays[device] * UNITS[:, None], np.float32)

    def index(self) -> Iterator[tuple[str, int, int]]:
        """Yield of each window its execution, its beginning in ms, and its class."""
        names = self.arrays["executions"]
        for execution, start, label in zip(
            *(self.arrays[key].tolist() for key in ("execution", "start", "label")), strict=True
        ):
            yield str(names[execution]), start, label

    def orientations(self) -> Mapping[str, str]:
        """Return how the phone lay in the pocket, by execution."""
        names, ways = (self.arrays[key].tolist() for key in ("executions", "orientations"))
        return dict(zip(names, ways, strict=True))


def packaged() -> Recorded:
    """Return the windows that the package carries."""
    with np.load(PACKAGED, allow_pickle=False) as file:
        return Recorded({name: file[name] for name in file.files})


def rebuilt(root: Path, cache: Path | None) -> Recorded:
    """Return the windows of the official files in a folder.

    Raises:
        UsageError: a file is missing, or something in it is wrong.
    """
    files = _listing(root)
    names = [INFO, *(path.relative_to(root).as_posix() for path in files.values())]
    name = f"sp_sw_har-v{CACHE_VERSION}"
    return Recorded(kept.cached(cache, name, root, names, lambda: _windows(root, files)))


def defects(root: Path, expected: Recorded | None) -> Iterator[str]:
    """Yield everything that is wrong with the files in a folder, reading each of them.

    Args:
        root: the folder.
        expected: the windows that the files should give; None accepts any.
    """
    files, ways = _listing(root), _orientations(root / INFO)
    executions = sorted({execution for execution, _ in files})
    for execution in announced(executions, f"checking {len(executions)} executions"):
        try:
            found = _cut(files, execution)
        except UsageError as error:
            yield str(error)
            continue
        if execution not in ways:
            yield f"{root / INFO} has no row for {execution}"
        if expected is not None:
            yield from _differences(execution, found, ways.get(execution), expected)
    if expected is not None and (missing := sorted(set(expected.orientations()) - set(executions))):
        named = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        yield f"{len(missing)} of {len(expected.orientations())} executions are missing: {named}"


def _differences(
    execution: str, found: Mapping[str, Array], way: str | None, expected: Recorded
) -> Iterator[str]:
    """Yield in what the windows of one execution differ from those that are expected."""
    way_expected = expected.orientations().get(execution)
    if way_expected is None:
        yield f"{execution} is not an execution of the dataset"
        return
    if way not in (None, way_expected):
        yield f"{execution}: the orientation is {way!r} instead of {way_expected!r}"
    rows = expected.arrays["executions"][expected.arrays["execution"]] == execution
    for name, mine in found.items():
        theirs = expected.arrays[name][rows]
        if mine.shape != theirs.shape:
            yield f"{execution}: {len(mine)} windows instead of {len(theirs)}"
            return
        if count := int((mine != theirs).sum()):
            yield f"{execution}: {name} differs from the package in {count} values"


def _listing(root: Path) -> dict[tuple[str, str], Path]:
    """Return the files by execution and device, checking that every execution has both."""
    found: dict[tuple[str, str], Path] = {}
    folders = [root / f"s{number:02d}" for number in range(1, 24)]
    for path in itertools.chain.from_iterable(map(tables.files, folders)):
        match = EXECUTION.fullmatch(path.name)
        if match is None:
            raise UsageError(
                f"{path} is not named like an execution, such as s01_01_sp.csv; remove it"
            )
        subject, number, device = match.groups()
        if path.parent.name != subject:
            raise UsageError(
                f"{path} is a file of {subject} in the folder of {path.parent.name}; move it"
            )
        found[f"{subject}_{number}", device] = path
    for execution, device in list(found):
        for other in DEVICES.values():
            if (execution, other) not in found:
                there = found[execution, device]
                missing = there.with_name(f"{execution}_{other}.csv")
                raise UsageError(f"{missing} is missing, but {there.name} is there. {ADVICE}")
    if not found:
        raise UsageError(f"sp_sw_har: {root} holds no execution. {ADVICE}")
    return found


def _windows(root: Path, files: Mapping[tuple[str, str], Path]) -> dict[str, Array]:
    ways = _orientations(root / INFO)
    executions = sorted({execution for execution, _ in files})
    for execution in executions:
        if execution not in ways:
            raise UsageError(f"{root / INFO} has no row for {execution}")
    names = announced(executions, f"reading {len(executions)} executions")
    cut = [_cut(files, execution) for execution in names]
    joined = {name: np.concatenate([each[name] for each in cut]) for name in cut[0]}
    counts = [len(each["label"]) for each in cut]
    return {
        **{device: joined[device] for device in DEVICES},
        "execution": np.repeat(np.arange(len(cut), dtype=np.int32), counts),
        **{name: joined[name] for name in ("start", "label")},
        "executions": np.array(executions),
        "orientations": np.array([ways[execution] for execution in executions]),
    }


def _orientations(path: Path) -> dict[str, str]:
    names = ("execution_id", "orientation")
    table = tables.read(path, names, texts=names)
    found = dict(zip(table.execution_id, table.orientation, strict=True))
    for execution, way in found.items():
        if way not in WAYS:
            raise UsageError(f"{path}: the orientation of {execution} is {way!r}, none of {WAYS}")
    return found


def _cut(files: Mapping[tuple[str, str], Path], execution: str) -> dict[str, Array]:
    """Return the windows of an execution: [n, 6, 50] by device, their starts in ms and labels.

    Raises:
        UsageError: something in a file is wrong, or the devices have no second in common.
    """
    paths = {device: files[execution, suffix] for device, suffix in DEVICES.items()}
    times: dict[str, Array] = {}
    values: dict[str, Array] = {}
    for device, path in paths.items():
        table = tables.read(path, (*CHANNELS, "timestamp", "label"), texts=("label",))
        tables.check_times(path, table.timestamp, GAP_MS, repeats=True)
        times[device] = table.timestamp.to_numpy()
        values[device] = table[list(CHANNELS)].to_numpy()
        if device == "phone":
            labels = _labels(path, table.label)
    first = max(time[0] for time in times.values())
    last = min(time[-1] for time in times.values())
    starts = signals.starts(first, last, WINDOW_MS, STRIDE_MS)
    if not len(starts):
        phone, watch = paths.values()
        raise UsageError(f"{phone} and {watch.name} have no second in common; get both again")
    ends = np.searchsorted(times["phone"], [starts, starts + WINDOW_MS])
    found = [signals.majority(labels[low:high], SHARE) for low, high in ends.T]
    kept_starts = [start for start, label in zip(starts, found, strict=True) if label is not None]
    steps = np.arange(RATE * WINDOW_MS / 1000) * 1000 / RATE
    grid = (np.array(kept_starts)[:, None] + steps).ravel()
    windows = (len(kept_starts), len(steps), len(CHANNELS))
    cut = {
        device: _coded(
            path,
            signals.at(grid, times[device], values[device]).reshape(windows).transpose(0, 2, 1),
        )
        for device, path in paths.items()
    }
    return {
        **cut,
        "start": np.array([int(start - first) for start in kept_starts], np.int32),
        "label": np.array([label for label in found if label is not None], np.int8),
    }


def _labels(path: Path, names: "pd.Series[str]") -> Array:
    """Return the classes of all measurements of a phone."""
    for line, name in names.items():
        if name not in CLASSES:
            raise UsageError(f"{path}, line {line}: the label is {name!r}, none of {CLASSES}")
    return np.array([CLASSES.index(name) for name in names])


def _coded(path: Path, values: Array) -> Array:
    codes: Array = np.rint(values / UNITS[:, None])
    if abs(codes).max(initial=0) > np.iinfo(np.int16).max:
        raise UsageError(f"{path} holds values beyond what its sensors can measure")
    return np.asarray(codes, np.int16)


def write_package(root: Path, path: Path = PACKAGED) -> None:
    """Write the packaged file from the official files in a folder."""
    from mmdg_common import written_atomically

    with written_atomically(path) as file:
        np.savez_compressed(file, **rebuilt(root, None).arrays)  # type: ignore[arg-type]


def write_stand_in(root: Path, per_class: int, subjects: Mapping[str, Sequence[str]]) -> None:
    """Write made-up executions of every subject, each through all classes.

    Args:
        root: a new folder, or one that was fabricated before.
        per_class: executions of each subject.
        subjects: those of each orientation.

    Raises:
        UsageError: fewer than two executions, as some train and some validate, or `root` holds
            something else.
    """
    if per_class < 2:
        raise UsageError("fabricate at least 2 executions of each subject: train and validation")
    fabricate.claim(root)
    lines = ["execution_id,orientation,first_turn,second_turn"]
    for way, names in subjects.items():
        for subject in names:
            (root / subject).mkdir(exist_ok=True)
            for old in tables.files(root / subject):
                old.unlink()
            for number in range(1, per_class + 1):
                execution = f"{subject}_{number:02d}"
                lines.append(f"{execution},{way},l,r")
                for device in DEVICES.values():
                    _write_execution(root / subject / f"{execution}_{device}.csv", way)
    (root / INFO).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_execution(path: Path, way: str) -> None:
    """Write 2.5 s of each class: a rhythm of its own on gravity that the orientation turns."""
    rng = np.random.default_rng(list(path.name.encode()))
    n = 250
    gravity = 9.81 * np.array({"back": [0, 0, -1], "back_inv": [0, 0, 1]}.get(way, [0, 1, 0]))
    rows = [",".join((*CHANNELS, "timestamp", "label"))]
    for label, name in enumerate(CLASSES):
        beat = np.sin(np.arange(n) * 0.02 * np.pi * (1 + 2 * label))
        moved = np.outer(beat, np.linspace(1, 2, 6) * (1 + label)) + rng.normal(0, 0.3, (n, 6))
        moved[:, :3] += gravity
        for i, values in enumerate(moved):
            numbers = ",".join(f"{value:.6f}" for value in values)
            rows.append(f"{numbers},{(label * n + i) * 10},{name}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
