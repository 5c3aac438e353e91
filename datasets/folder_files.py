"""The `folder` dataset on disk: its samples.csv, and a made-up example of it."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PureWindowsPath

import numpy as np
from torch import nn

from datasets.base import announced
from datasets.folder_media import KNOWN, kind_of
from datasets.media import fabricate
from mmdg_common import UsageError, unknown

SAMPLES = "samples.csv"
LABEL, DOMAIN, ID, SPLIT, GROUP = "label", "domain", "id", "split", "group"
COLUMNS = (LABEL, DOMAIN, ID, SPLIT, GROUP)
SPLITS = ("train", "val", "test")
NEW = "new"
"""The domain of recordings to predict."""
PAIR = ";"
"""Between the two files of a cell."""

EXAMPLE_DOMAINS = ("home", "lab", "street")
EXAMPLE_CLASSES = ("clap", "jump", "push", "wave")
EXAMPLE_FEATURES = 16


@dataclass(frozen=True)
class Row:
    """One recording: what its row of samples.csv says."""

    number: int
    """The line in the file, the header being 1, as a spreadsheet counts."""
    id: str
    label: str
    domain: str
    split: str
    """`train`, `val` or `test`; `train` where there is no such column."""
    group: str
    """What it was recorded from, such as a session; its id where there is no such column."""
    files: dict[str, tuple[str, ...]]
    """By modality, paths below the root; none where the cell is empty."""


@dataclass(frozen=True)
class Table:
    """The recordings, and the modalities by the medium of their column, in the file's order."""

    rows: list[Row]
    media: dict[str, str]


def read(path: Path) -> Table:
    """Read samples.csv.

    Raises:
        UsageError: it is missing, or something in it is wrong; the message names the row.
    """
    header, lines = _read_csv(path)
    modalities = _modalities(path, header)
    rows = [_row(path, number, line, modalities) for number, line in lines]
    _check_rows(path, rows)
    media = {modality: _medium(path, modality, rows) for modality in modalities}
    return Table(rows, media)


def unlabelled(path: Path, modalities: Sequence[str], label: str) -> Table:
    """Read a samples.csv of recordings to predict: all columns but id and modalities are ignored.

    Args:
        path: of the file.
        modalities: the columns of paths that there must be.
        label: stands for the unknown one of every row.

    Raises:
        UsageError: it is missing, or something in it is wrong; the message names the row.
    """
    header, lines = _read_csv(path)
    for name in modalities:
        if name not in header:
            there, all_of_them = ", ".join(header), ", ".join(modalities)
            what = f"there is no column {name!r}, only {there}; the run was trained on"
            raise wrong(path, 1, f"{what} {all_of_them}: add it")
    named = [name for name in header if name in modalities]  # whose first path names the row
    _check_unique(path, [name for name in header if name in (ID, *modalities)])
    settled = {LABEL: label, DOMAIN: NEW, SPLIT: "test"}
    rows = []
    for number, line in lines:
        cells = {name: line[name] for name in (ID, *named) if name in line}
        rows.append(_row(path, number, settled | cells, named))
    _check_ids(path, rows)
    return Table(rows, {name: _medium(path, name, rows) for name in named})


def wrong(path: Path, row: int | None, what: str) -> UsageError:
    """Return the error for something in samples.csv, or in one row of it."""
    return UsageError(f"{path}{'' if row is None else f', row {row}'}: {what}")


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        # Spreadsheets may begin a file with a byte order mark, and end lines their own way.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise wrong(
            path, None, f"it is not text in UTF-8 ({error}); save it as CSV UTF-8"
        ) from error
    lines = [(number, line) for number, line in lines if any(line)]
    if len(lines) < 2:
        raise wrong(path, None, "there must be a row of column names and one row per recording")
    (_, header), *rows = lines
    if len(header) == 1 and PAIR in header[0]:
        raise wrong(path, 1, "the columns are separated by semicolons; save it with commas")
    for number, line in rows:
        if len(line) != len(header):
            what = f"{len(line)} cells under {len(header)} column names; a comma within a cell"
            raise wrong(path, number, f'{what} needs quotes around the cell: "a,b"')
    return header, [(n, dict(zip(header, line, strict=True))) for n, line in rows]


def _modalities(path: Path, header: Sequence[str]) -> list[str]:
    """Return the columns that are modalities, checking that every name can be one."""
    for name in (LABEL, DOMAIN):
        if name not in header:
            there = ", ".join(header)
            raise wrong(path, 1, f"there is no column {name!r}, only {there}; name one {name}")
    names = [name for name in header if name not in COLUMNS]
    _check_unique(path, header)
    if not names:
        raise wrong(path, 1, "there is no modality; add a column of paths, its name the modality's")
    taken = {"fused", *dir(nn.ModuleDict()), *vars(nn.ModuleDict())}
    for name in names:
        word = name.replace("-", "_")
        if not word.isidentifier() or word in taken:
            advice = "use another word" if word in taken else "use letters, then also digits and _"
            raise wrong(path, 1, f"a modality cannot be named {name!r}; {advice}")
    return names


def _check_unique(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if (count := names.count(name)) > 1:
            raise wrong(path, 1, f"{count} columns are named {name!r}; rename all but one")


def _row(path: Path, number: int, cells: dict[str, str], modalities: Sequence[str]) -> Row:
    for name in COLUMNS:
        if not cells.get(name, "-"):
            raise wrong(path, number, f"the cell under {name} is empty; fill it, or remove the row")
    split, domain = cells.get(SPLIT, "train"), cells[DOMAIN]
    if split not in SPLITS:
        raise wrong(path, number, str(unknown("split", split, SPLITS)))
    if domain[0] in "-." or {"/", "\\"} & set(domain):
        # Domains name folders of results and are typed after flags.
        raise wrong(path, number, f"a domain cannot be named {domain!r}; use letters and digits")
    files = {m: tuple(f.strip() for f in cells[m].split(PAIR) if f.strip()) for m in modalities}
    for file in (file for pair in files.values() for file in pair):
        windows = PureWindowsPath(file)
        if windows.drive or windows.root or ".." in windows.parts:
            raise wrong(path, number, f"{file} leads out of the folder; write paths below it")
    name = cells.get(ID) or next((PAIR.join(pair) for pair in files.values() if pair), "")
    if not name:
        raise wrong(path, number, "it names no file; remove the row")
    return Row(number, name, cells[LABEL], domain, split, cells.get(GROUP, name), files)


def _check_ids(path: Path, rows: Sequence[Row]) -> None:
    """Raise UsageError for ids that are not unique."""
    first: dict[str, int] = {}
    for row in rows:
        if row.id in first:
            what = f"its id {row.id!r} is also that of row {first[row.id]}"
            raise wrong(path, row.number, f"{what}; remove one, or add a column id of unique names")
        first[row.id] = row.number


def _check_rows(path: Path, rows: Sequence[Row]) -> None:
    """Raise UsageError for ids that are not unique, and for groups so small that they are typos."""
    _check_ids(path, rows)
    parts: dict[str, Row] = {}
    for row in rows:
        if row.split != "test":
            other = parts.setdefault(row.group, row)
            if other.split != row.split:
                what = f"its group {row.group!r} is {other.split!r} in row {other.number}"
                advice = "a group trains or validates as a whole"
                raise wrong(path, row.number, f"{what}, and {row.split!r} here; {advice}")
    domains = dict.fromkeys(row.domain for row in rows)
    if len(domains) < 2:
        what = f"all rows are of domain {next(iter(domains))!r}"
        raise wrong(path, None, f"{what}; there must be two, one to train on and one to test on")
    if len({row.label for row in rows}) < 2:
        raise wrong(path, None, f"all rows have the label {rows[0].label!r}; there must be two")
    for domain in domains:
        held = [row for row in rows if row.domain == domain]
        if len(held) < 3:
            what = f"domain {domain!r} has too few recordings, {len(held)}; correct its name"
            raise wrong(path, held[0].number, f"{what}, or record more: at least three")
    for label in sorted({row.label for row in rows}):
        held = [row for row in rows if row.label == label]
        if len({row.domain for row in held}) < 2:
            what = f"class {label!r} is in domain {held[0].domain!r} alone ({len(held)} rows)"
            advice = "correct its name, record it elsewhere, or remove it: a model trained on the "
            raise wrong(path, held[0].number, f"{what}; {advice}other domains never saw it")


def _medium(path: Path, modality: str, rows: Sequence[Row]) -> str:
    """Return the one medium of a column."""
    medium = ""
    for row in (row for row in rows if row.files[modality]):
        cell = PAIR.join(row.files[modality])
        kind = kind_of(row.files[modality])
        if kind is None:
            advice = f"The known media are {KNOWN}. Remove a column that is not a modality."
            raise wrong(
                path, row.number, f"column {modality}: {cell!r} is not a known medium. {advice}"
            )
        if medium and kind != medium:
            what = f"column {modality}: {cell} is {kind}, but the rows before hold {medium}"
            raise wrong(path, row.number, f"{what}; give each medium a column of its own")
        medium = kind
    if not medium:
        raise wrong(path, None, f"column {modality} is empty; fill it, or remove it")
    return medium


def write_example(root: Path, per_class: int) -> None:
    """Write made-up videos, sounds and feature vectors of four classes in three domains.

    Raises:
        UsageError: too few to validate on, or `root` holds something else.
    """
    if per_class < 3:
        raise UsageError("fabricate at least 3 recordings of each class and domain: train and val")
    fabricate.claim(root)
    patterns = np.random.default_rng(0).standard_normal((len(EXAMPLE_CLASSES), EXAMPLE_FEATURES))
    recordings = list(
        product(enumerate(EXAMPLE_DOMAINS), enumerate(EXAMPLE_CLASSES), range(per_class))
    )
    lines = [["label", "domain", "video", "audio", "features"]]
    for (domain, place), (label, action), number in announced(
        recordings, f"fabricating {len(recordings)} recordings"
    ):
        name = f"{place}/{action}_{number}"
        rng = np.random.default_rng([domain, label, number])
        subject = fabricate.Subject(label, len(EXAMPLE_CLASSES), domain, len(EXAMPLE_DOMAINS))
        files = [f"video/{name}.mp4", f"audio/{name}.wav", f"features/{name}.npy"]
        video, audio, features = (root / file for file in files)
        fabricate.write_mp4(video, fabricate.scene(subject, rng, 64).rgb)
        fabricate.write_wav(audio, fabricate.sound(subject, rng, 64 / fabricate.FPS))
        values = patterns[label] + 0.5 * domain + rng.standard_normal(EXAMPLE_FEATURES)
        features.parent.mkdir(parents=True, exist_ok=True)
        np.save(features, values.astype(np.float32))
        lines.append([action, place, *files])
    with (root / SAMPLES).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
