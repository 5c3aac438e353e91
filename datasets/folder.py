"""Your own recordings: a folder of files, and a samples.csv that names them.

`samples.csv` lies in the root. Its first row names the columns: `label` and `domain`; `id` and
`split` (`train`, `val`, `test`) if wanted; every other column is a modality and holds paths below
the root, whose suffixes tell the medium. Modalities keep the order of their columns, domains that
in which they first appear; classes are sorted. docs/add_a_dataset.md shows it all.

A source trains on its `train` rows and validates on its `val` rows; without any, or without the
column, a fifth of each class of `train`, drawn by the ids alone, validates instead. A target is
tested on its `test` rows; without any, on all it has. Values are scaled by constants or by a
sample's own values, so nothing of an unseen domain reaches training through the pre-processing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from datasets import folder_files, folder_media, folder_splits, register
from datasets.base import (
    Card,
    ModalitySpec,
    MultimodalDataset,
    Recipe,
    Role,
    Sample,
    announced,
)
from datasets.folder_files import SAMPLES, Row
from datasets.folder_media import Medium
from datasets.media import MediaError, audio, fabricate, index, loading, substream
from mmdg_common import UsageError, check_choices, unknown

SHORTEST, LONGEST = 16, 100_000
"""Time steps: as many as the encoder of time series needs, and as many as memory holds."""
SOURCE = (
    f"list your recordings in DIR/{SAMPLES}, one per row: the columns are label, domain, and for "
    "each modality one of paths below DIR. An example to look at: `python -m datasets.prepare "
    "folder --root NEW_DIR --fabricate 5`."
)
NEW = "list the recordings in DIR/samples.csv, one per row, with a column of paths for each of: {}."
"""The advice for recordings to predict, for the names of the modalities."""
CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "standardise": ("sample", "none"),
    "on_bad_sample": ("error", "skip"),
}


@dataclass(frozen=True)
class FolderOptions:
    """How arrays are pre-processed, and what happens to broken files."""

    length: int = 128
    """Time steps that every time series is brought to. A constant, because a length taken from
    the data would be taken from the target, too."""
    standardise: str = "sample"
    """`sample`: the channels of a time series, and clips, by their own mean and deviation;
    `none`: numbers as they are in the files. Vectors always are."""
    on_bad_sample: str = "error"
    """`error`: a file that is missing or broken stops the run; `skip`: its row is left out."""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)
        if not SHORTEST <= self.length <= LONGEST:
            limits = f"{SHORTEST} or more" if self.length < SHORTEST else f"{LONGEST} or less"
            raise UsageError(f"dataset option length: type {limits}, not {self.length}")


@register("folder")
class Folder(MultimodalDataset):
    """A folder and its samples.csv; a subclass may give it a name and a recipe of its own."""

    name: ClassVar[str] = "folder"
    """What results and tables call it; a subclass registers under the same name."""
    recipe: ClassVar[Recipe] = Recipe(epochs=20, lr=1e-3, batch_size=16)

    decodes = True
    Options: ClassVar[type] = FolderOptions
    options: FolderOptions

    def __init__(
        self,
        root: Path | None,
        cache: Path | None,
        options: Mapping[str, Any],
        modalities: Sequence[str] = (),
        classes: Sequence[str] = (),
    ) -> None:
        """Read samples.csv; with modalities and classes it names recordings to predict."""
        super().__init__(root, cache, options)
        source = NEW.format(", ".join(modalities)) if classes else SOURCE
        if root is None:
            raise UsageError(f"{self.name} needs the folder that holds its files: {source}")
        if not (root / SAMPLES).is_file():
            raise UsageError(
                f"{self.name}: there is no file {root / SAMPLES}. To make it, {source}"
            )
        self._root = root
        self.fabricated = fabricate.is_fabricated(root)
        self._unlabelled = bool(classes)
        if classes:
            table = folder_files.unlabelled(root / SAMPLES, modalities, classes[0])
        else:
            table = folder_files.read(root / SAMPLES)
            classes = sorted({row.label for row in table.rows})
        self._rows = {row.id: row for row in table.rows}
        self._known: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._media = {name: self._medium(name, kind) for name, kind in table.media.items()}
        domains = dict.fromkeys(row.domain for row in table.rows)
        self._roles = folder_splits.roles(table.rows, classes)
        self.card = Card(
            name=self.name,
            modalities=tuple(
                ModalitySpec(
                    name,
                    medium.shape,
                    medium.encoder,
                    medium.description,
                    medium.scale,
                    medium.kind,
                )
                for name, medium in self._media.items()
            ),
            domains=tuple(domains),
            classes=tuple(classes),
            recipe=self.recipe,
            source=SOURCE,
        )

    @classmethod
    def to_predict(
        cls,
        root: Path | None,
        options: Mapping[str, Any],
        modalities: Sequence[str],
        classes: Sequence[str],
    ) -> "Folder":
        """Open recordings whose samples.csv needs a column for each of the modalities alone."""
        return cls(root, None, options, modalities, classes)

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in the order of their rows."""
        return [sample for sample in self.listed(domain, role) if sample.id not in self.skipped]

    def listed(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain by samples.csv alone."""
        if domain not in self._roles:
            raise unknown("domain", domain, self.card.domains)
        return self._roles[domain][role]

    def a_fifth(self, samples: Sequence[Sample]) -> set[str]:
        """Return the ids of a fifth of these samples, groups undivided."""
        shared = folder_splits.grouped(samples)
        return folder_splits.whole_groups(samples, least=1) if shared else super().a_fifth(samples)

    def held_out(self, domain: str) -> Sequence[Sample]:
        """Return the `test` rows if there are any, else what validates."""
        tests = {row.id for row in self._rows.values() if row.split == "test"}
        found = [sample for sample in self.listed(domain, "target") if sample.id in tests]
        return found or self.listed(domain, "val")

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the files of this modality, 0 where one may be and is missing."""
        row = self._rows[sample.id]
        sizes = [self._size(file) for file in self._files(row, modality)]
        if sizes and all(sizes):
            return sum(sizes)
        if self.options.on_bad_sample == "error":
            raise MediaError(f"{self._absent(row, modality)}. {self._advice()}")
        return 0

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the paths in the cell of this modality."""
        return self._files(self._rows[sample.id], modality)

    def prepare(self, modalities: Sequence[str]) -> None:
        """Look into every file of these modalities; find the rows that cannot be used."""
        broken: dict[str, str] = {}
        for modality in modalities:
            broken |= {k: why for k, why in self._broken(modality).items() if k not in broken}
        if broken and self.options.on_bad_sample == "error":
            first = next(iter(broken.values()))
            raise MediaError(
                f"{len(broken)} rows cannot be used. The first: {first}. {self._advice()}"
            )
        self.skipped = broken

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of one recording; every modality draws from a stream of its own."""
        row = self._rows[sample.id]
        with loading(self.name):
            return {m: self._read(row, m, substream(seed, m)) for m in modalities}

    def waveform(self, sample: Sample, modality: str, modalities: Sequence[str]) -> audio.Samples:
        """Return the sound [N] at 16 kHz in evaluation."""
        with loading(self.name):
            paths, known = self._opened(self._rows[sample.id], modality)
            medium = self._media[modality]
            assert isinstance(medium, folder_media.Sound), f"{modality} is no sound"
            return medium.samples(paths, known, None)

    def verify(self) -> Iterator[str]:
        """Yield what is wrong, reading every file from start to end."""
        for domain in self.card.domains:
            if not self._roles[domain]["val"]:
                yield (
                    f"domain {domain} has nothing to validate on: no class has three `train` rows, "
                    "or three groups of them; as a target it can be used"
                )
        rows = list(self._rows.values())
        for row in announced(rows, f"checking {len(rows)} recordings"):
            for modality, medium in self._media.items():
                files = self._files(row, modality)
                try:
                    if not files:
                        raise MediaError("there is no file")
                    known = [self._probed(medium, file) for file in files]
                    medium.check([self._root / file for file in files], known)
                except MediaError as error:
                    yield f"row {row.number}, {modality}: {error}"

    @classmethod
    def download(cls, root: Path) -> None:
        """Raise UsageError: the files are the user's own."""
        raise UsageError(f"{cls.name} holds your own files. Leave --download out, and {SOURCE}")

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up videos, sounds and feature vectors with their samples.csv."""
        folder_files.write_example(root, per_class)

    def _medium(self, modality: str, kind: str) -> Medium:
        """Return how a column is read; its first readable array tells what the others hold."""
        fixed = {
            folder_media.VIDEO: folder_media.Video,
            folder_media.FLOW: folder_media.Flow,
            folder_media.SOUND: folder_media.Sound,
        }
        if kind in fixed:
            return fixed[kind]()
        standardise = self.options.standardise == "sample"
        first_error: MediaError | None = None
        for file in (file for row in self._rows.values() for file in row.files[modality]):
            try:
                return folder_media.numbers(self._root / file, self.options.length, standardise)
            except MediaError as error:
                first_error = first_error or error
        raise MediaError(f"no file of {modality} can be used. The first: {first_error}")

    def _files(self, row: Row, modality: str) -> tuple[str, ...]:
        if modality not in self._media:
            raise unknown("modality", modality, self._media)
        return row.files[modality]

    def _size(self, file: str) -> int:
        if file not in self._sizes:
            path = self._root / file
            self._sizes[file] = path.stat().st_size if path.is_file() else 0
        return self._sizes[file]

    def _probed(self, medium: Medium, file: str) -> Any:
        if file not in self._known:
            self._known[file] = medium.probe(self._root / file)
        return self._known[file]

    def _read(self, row: Row, modality: str, seed: int | None) -> Tensor:
        paths, known = self._opened(row, modality)
        return self._media[modality].read(paths, known, seed)

    def _opened(self, row: Row, modality: str) -> tuple[list[Path], list[Any]]:
        """Return the files of a cell, at least one, and what is known of each."""
        files, medium = self._files(row, modality), self._media[modality]
        if not files:
            raise MediaError(self._absent(row, modality))
        known = [self._probed(medium, file) for file in files]
        return [self._root / file for file in files], known

    def _broken(self, modality: str) -> dict[str, str]:
        """Probe the files of one modality; return what is wrong, by the id of the row."""
        rows = self._rows.values()
        files = [file for row in rows for file in self._files(row, modality)]
        medium = self._media[modality]
        name = f"{self.name} {modality}"
        found = index.build(name, self._root, files, medium.probe, medium.restore, self.cache)
        self._known |= found.known
        reasons = {}
        for row in rows:
            why = [found.broken[file] for file in row.files[modality] if file in found.broken]
            if why:
                reasons[row.id] = f"row {row.number}: {why[0]}"
            elif not row.files[modality]:
                reasons[row.id] = self._absent(row, modality)
        return reasons

    def _absent(self, row: Row, modality: str) -> str:
        missing = [str(self._root / file) for file in row.files[modality] if not self._size(file)]
        what = f"{missing[0]} is missing or empty" if missing else f"the cell under {modality} is"
        return f"{self._root / SAMPLES}, row {row.number}: {what}{'' if missing else ' empty'}"

    def _advice(self) -> str:
        advice = "Correct it, or leave such rows out with --on-bad-sample skip"
        if self._unlabelled:  # which datasets.prepare would find fault with
            return advice
        return f"{advice}. `python -m datasets.prepare {self.name} --root DIR` finds every one"
