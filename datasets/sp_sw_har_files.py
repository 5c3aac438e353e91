"""The files of sp_sw_har: the official CSVs, and the packaged windows made from them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.base import announced
from datasets.media import fabricate
from datasets.sensors import arrays as kept
from datasets.sensors import signals, tables
from mmdg_common import UsageError

Array = NDArray[Any]

CACHE_VERSION = 1
PACKAGED = Path(__file__).with_suffix("").with_name("sp_sw_har.npz")
SOURCE = (
    "The package carries the windows: leave --root and --data-root out. The files they are made "
    "of are the folder DATA of https://doi.org/10.5281/zenodo.8398688."
)
CLASSES = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")
DEVICES = {"phone": "sp", "watch": "sw"}
"""Modalities, and how file names end."""
CHANNELS = ("x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro")
UNITS = np.array([0.005] * 3 + [0.001] * 3)
"""What 1 stands for in the arrays of int16: m/s² and rad/s."""
RATE = 50.0
WINDOW_MS, STRIDE_MS, SHARE = 1000.0, 500.0, 0.7
EXECUTION = re.compile(r"(s(?:0[1-9]|1\d|2[0-3]))_(\d\d)_(sp|sw)\.csv")
WAYS = ("back", "back_inv", "front", "front_inv")


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
    sizes = [(path.name, path.stat().st_size) for path in files.values()]
    name = f"sp_sw_har-v{CACHE_VERSION}"
    return Recorded(kept.cached(cache, name, sizes, lambda: _windows(root, files)))


def differences(found: Recorded, packaged: Recorded) -> Iterator[str]:
    """Yield in what windows made from files differ from those of the package."""
    if found.arrays.keys() != packaged.arrays.keys():
        yield f"arrays {', '.join(found.arrays)} instead of {', '.join(packaged.arrays)}"
        return
    for name, array in packaged.arrays.items():
        mine = found.arrays[name]
        if mine.shape != array.shape:
            yield f"{name} has the shape {mine.shape}, in the package {array.shape}"
        elif not np.array_equal(mine, array):
            yield f"{name} differs from the package in {int((mine != array).sum())} values"


def _listing(root: Path) -> dict[tuple[str, str], Path]:
    """Return the files by execution and device, checking that every execution has both."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.glob("s*/*.csv")):
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
                raise UsageError(f"{missing} is missing, but {there.name} is there. {SOURCE}")
    if not found:
        raise UsageError(f"sp_sw_har: {root} holds no execution. {SOURCE}")
    return found


def _windows(root: Path, files: Mapping[tuple[str, str], Path]) -> dict[str, Array]:
    ways = _orientations(root / "executions_info.csv")
    executions = sorted({execution for execution, _ in files})
    for execution in executions:
        if execution not in ways:
            raise UsageError(f"{root / 'executions_info.csv'} has no row for {execution}")
    found: dict[str, list[Any]] = {k: [] for k in (*DEVICES, "execution", "start", "label")}
    for number, execution in enumerate(
        announced(executions, f"reading {len(executions)} executions")
    ):
        pair = {device: files[execution, suffix] for device, suffix in DEVICES.items()}
        for start, label, values in _execution(pair):
            for device, array in values.items():
                found[device].append(array)
            found["execution"].append(number)
            found["start"].append(start)
            found["label"].append(label)
    made: dict[str, Array] = {device: np.stack(found[device]) for device in DEVICES}
    made |= {k: np.array(found[k], np.int32) for k in ("execution", "start")}
    made["label"] = np.array(found["label"], np.int8)
    made["executions"] = np.array(executions)
    made["orientations"] = np.array([ways[execution] for execution in executions])
    return made


def _orientations(path: Path) -> dict[str, str]:
    names = ("execution_id", "orientation")
    table = tables.read(path, names, texts=names)
    found = dict(zip(table.execution_id, table.orientation, strict=True))
    for execution, way in found.items():
        if way not in WAYS:
            raise UsageError(f"{path}: the orientation of {execution} is {way!r}, none of {WAYS}")
    return found


def _execution(files: Mapping[str, Path]) -> Iterator[tuple[int, int, dict[str, Array]]]:
    """Yield the windows of an execution: beginning in ms, class, and [6, 50] by device."""
    times: dict[str, Array] = {}
    values: dict[str, Array] = {}
    labels: Array = np.zeros(0)
    for device, path in files.items():
        table = tables.read(path, (*CHANNELS, "timestamp", "label"), texts=("label",))
        times[device] = table.timestamp.to_numpy()
        tables.check_times(path, times[device], repeats=True)
        values[device] = table[list(CHANNELS)].to_numpy()
        if device == "phone":
            labels = _labels(path, table.label.tolist())
    first = max(time[0] for time in times.values())
    last = min(time[-1] for time in times.values())
    steps = np.arange(RATE * WINDOW_MS / 1000) * 1000 / RATE
    for start in signals.starts(first, last, WINDOW_MS, STRIDE_MS):
        low, high = np.searchsorted(times["phone"], [start, start + WINDOW_MS])
        label = signals.majority(labels[low:high], SHARE)
        if label is not None:
            cut = {k: signals.at(start + steps, times[k], values[k]) for k in files}
            yield int(start - first), label, {k: _coded(files[k], x.T) for k, x in cut.items()}


def _labels(path: Path, names: Sequence[str]) -> Array:
    for line, name in enumerate(names, 2):
        if name not in CLASSES:
            raise UsageError(f"{path}, line {line}: the label is {name!r}, none of {CLASSES}")
    return np.array([CLASSES.index(name) for name in names])


def _coded(path: Path, values: Array) -> Array:
    codes: Array = np.rint(values / UNITS[:, None])
    if abs(codes).max() > np.iinfo(np.int16).max:
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
        root: a new folder.
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
            (root / subject).mkdir()
            for number in range(1, per_class + 1):
                execution = f"{subject}_{number:02d}"
                lines.append(f"{execution},{way},l,r")
                for device in DEVICES.values():
                    _write_execution(root / subject / f"{execution}_{device}.csv", way)
    (root / "executions_info.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
