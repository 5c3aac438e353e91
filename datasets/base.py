"""The contract every dataset keeps: a card, three roles per domain, and one loader."""

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from datasets.card import (
    ByteScale,
    Card,
    ModalitySpec,
    PublishedPipeline,
    Recipe,
)
from mmdg_common import UsageError, unknown

if TYPE_CHECKING:  # reading records must not wait for torch
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "HOLD_OUT",
    "ROLES",
    "ByteScale",
    "Card",
    "ModalitySpec",
    "MultimodalDataset",
    "PublishedPipeline",
    "Recipe",
    "Role",
    "Sample",
    "a_fifth_of_each_class",
    "announced",
    "given_folder",
]

T = TypeVar("T")

HOLD_OUT = "hold_out_classes"
"""The option that every dataset has; see `datasets.without_classes`. No options hold it where no
class is held out, so that runs are what they were before there was one."""

Role = Literal["train", "val", "target"]
"""What a domain's samples are used for: a source trains and validates, a target is tested."""

ROLES: tuple[Role, ...] = ("train", "val", "target")
SOURCE_ROLES: tuple[Role, ...] = ("train", "val")


@dataclass(frozen=True)
class Sample:
    """One recording: an id unique in the dataset, the index of its class, its domain's name."""

    id: str
    label: int
    domain: str
    group: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """What it was recorded from, coarse to fine, such as subject and recording: samples of one
    group are not independent. Its own id where nothing is given. Not part of a fingerprint."""

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", (self.id,))


@dataclass(frozen=True)
class NoOptions:
    """The options of a dataset that has none."""


class MultimodalDataset(ABC):
    """A labelled set of recordings, each in several modalities, from several domains."""

    Options: ClassVar[type] = NoOptions
    """A frozen dataclass of int, float and str fields; every field has a default."""

    published: ClassVar[PublishedPipeline | None] = None
    """None where no public scripts train on this dataset."""

    needs_root: ClassVar[bool] = True
    """Whether a run needs the user's own copy."""
    reads_root: ClassVar[bool] = True
    """Whether a copy can be given; False where the data is made in memory."""
    decodes: bool = False
    """Whether to load a sample takes so long that a GPU would wait for it, as for video."""
    fabricated: bool = False
    """True for made-up stand-ins of a real dataset; tables mark what was measured on them."""

    card: Card
    """Of the class, too, where a user's copy does not decide it."""

    skipped: dict[str, str]
    """Samples that the last `prepare` left out, by id, with the reason."""

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        self.root = root
        self.cache = cache
        self.options = parse_options(self.Options, options)
        self.skipped = {}

    @classmethod
    def to_predict(
        cls,
        root: Path | None,
        options: Mapping[str, Any],
        modalities: Sequence[str],
        classes: Sequence[str],
    ) -> "MultimodalDataset":
        """Open recordings that a trained run is to predict; what they say of labels is ignored.

        Args:
            root: the folder of the recordings, None for data that is made in memory.
            options: of the run.
            modalities: that the run was trained on.
            classes: that it tells apart.
        """
        return cls(root, None, options)

    def recordings(self) -> "list[Sample]":
        """Return every sample that can be used once, whatever its domain and role."""
        roles: tuple[Role, ...] = ("target", *SOURCE_ROLES)
        found = {
            sample.id: sample
            for domain in self.card.domains
            for role in roles
            for sample in self.listed(domain, role)
        }
        return [sample for sample in found.values() if sample.id not in self.skipped]

    @abstractmethod
    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in one role, always in the same order.

        `train` and `val` are disjoint and drawn once, independent of any run's seed.
        """

    def listed(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in one role before any is left out.

        A run is planned, and named, before `prepare` knows which files cannot be read.
        """
        return self.samples(domain, role)

    def check_ids(self) -> None:
        """Raise UsageError if an id names two recordings, in a role or in two domains.

        Also if a group is not a tuple of texts, or has other levels than those of other samples.
        """
        owners: dict[str, str] = {}
        levels: set[int] = set()
        for domain in self.card.domains:
            for role in ROLES:
                seen: set[str] = set()
                for sample in self.listed(domain, role):
                    other = owners.setdefault(sample.id, domain)
                    if sample.id in seen or other != domain:
                        places = " and ".join(dict.fromkeys((other, domain)))
                        raise UsageError(
                            f"{self.card.name}: the id {sample.id!r} names two recordings, of "
                            f"domain {places}; give every recording an id of its own"
                        )
                    seen.add(sample.id)
                    levels.add(len(sample.group))
                    if not _is_texts(sample.group) or len(levels) > 1:
                        raise UsageError(
                            f"{self.card.name}: the group of {sample.id!r} is {sample.group!r}; it "
                            "must be a tuple of texts, with as many levels for all samples"
                        )

    def parts(
        self, sources: Sequence[str], target: str, listed: bool = False
    ) -> "dict[Role, list[Sample]]":
        """Return what a run trains on, validates on and tests, in a fixed order.

        Where the target is its own and only source, the upper bound: it trains on the target's
        train part less a fifth of each class, validates on that fifth and tests on the part that
        no run trains on. The fifth is drawn once, independent of any run's seed.

        Args:
            sources: the domains to train on.
            target: the domain to test on; empty where nothing is tested.
            listed: also return samples that are left out because they cannot be read.

        Raises:
            UsageError: of a domain that plays a part, or of a class to train on, every sample is
                left out.
        """
        whole = self._listed_parts(sources, target)
        if listed:
            return whole
        left = {r: [s for s in part if s.id not in self.skipped] for r, part in whole.items()}
        for role, part in whole.items():
            self._refuse_emptied(role, part, left[role], lambda s: f"domain {s.domain}")
        classes = self.card.classes
        train = whole["train"], left["train"]
        self._refuse_emptied("train", *train, lambda s: f"class {classes[s.label]}")
        return left

    def _listed_parts(self, sources: Sequence[str], target: str) -> "dict[Role, list[Sample]]":
        if tuple(sources) != (target,):
            parts: dict[Role, list[Sample]] = {
                role: [s for domain in sources for s in self.listed(domain, role)]
                for role in SOURCE_ROLES
            }
            return {**parts, "target": list(self.listed(target, "target")) if target else []}
        train, test = self.listed(target, "train"), self.held_out(target)
        validating = self.a_fifth(train)
        seen = {s.id for s in train}
        return {
            "train": [s for s in train if s.id not in validating],
            "val": [s for s in train if s.id in validating],
            "target": [s for s in test if s.id not in seen],
        }

    def _refuse_emptied(
        self,
        role: Role,
        listed: Sequence[Sample],
        left: Sequence[Sample],
        group: Callable[[Sample], str],
    ) -> None:
        kept = {group(sample) for sample in left}
        for sample in listed:
            if group(sample) not in kept:
                raise UsageError(
                    f"{self.card.name}: every sample of {group(sample)} for the part {role!r} is "
                    f"left out, as none can be used. The first: {self.skipped[sample.id]}. Replace "
                    "the files, or choose other --sources and --target"
                )

    def a_fifth(self, samples: Sequence[Sample]) -> set[str]:
        """Return the ids of a fifth of these samples to validate on, drawn once."""
        return a_fifth_of_each_class({s.id: s.label for s in samples}, least=1)

    def held_out(self, domain: str) -> Sequence[Sample]:
        """Return the samples of a domain, readable or not, that it never trains on as a source."""
        return self.listed(domain, "val")

    def of_held_out_classes(self, domain: str) -> Sequence[Sample]:
        """Return the samples of the classes that the option `hold_out_classes` names.

        They are those that a run with this target would be tested on if the classes were not held
        out. None where no class is.
        """
        return ()

    @abstractmethod
    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> "dict[str, Tensor]":
        """Return one tensor of the declared shape for each modality asked for.

        It is float32, or bytes where the modality declares their scale.
        `seed` is None in evaluation; in training every random draw comes from it alone.
        """

    def waveform(
        self, sample: Sample, modality: str, modalities: Sequence[str]
    ) -> "NDArray[np.float32]":
        """Return the sound [N] at 16 kHz that `load` makes a modality of, in evaluation.

        A dataset that declares a modality of the kind `audio` has this.

        Args:
            sample: the recording.
            modality: one of `modalities`.
            modalities: what is loaded together.
        """
        raise UsageError(
            f"{self.card.name} declares {modality} as audio and has no `waveform`: add the method, "
            "or leave the kind out"
        )

    def follows(self, modality: str, modalities: Sequence[str]) -> str:
        """Return which other modality decides what `load` takes of this one; "" where none does.

        Args:
            modality: one of `modalities`.
            modalities: what is loaded together.
        """
        return ""

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the file that holds this modality, 0 when there is none."""
        return 0

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files of this modality by their paths below the root, there or not.

        `datasets.duplicates` compares them. None where one file holds samples of all domains.
        """
        return ()

    def made_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files, or folders of files, whose content decides what `load` makes of them.

        By their paths below the root, there or not; features are kept by them. None where the
        fingerprint tells all.
        """
        return self.files_of(sample, modality)

    def prepare(self, modalities: Sequence[str]) -> None:  # noqa: B027 - optional hook
        """Do the work that pays once (parsing, caching) for these modalities.

        Raises:
            UsageError: a file is missing or cannot be read; the message names it.
        """

    @classmethod
    def download(cls, root: Path) -> None:
        """Fetch the dataset into `root`, going on where an earlier call stopped.

        Raises:
            UsageError: it is not offered for download, or cannot be reached.
        """
        raise UsageError(
            f"{cls.card.name} cannot be downloaded from here. To get the data, {cls.card.source}"
        )

    @classmethod
    def offers_download(cls) -> bool:
        """Return whether `download` fetches anything."""
        return cls.download.__func__ is not MultimodalDataset.download.__func__  # type: ignore[attr-defined]

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up recordings in this dataset's layout, for trying things out.

        Args:
            root: a new folder, or one that was fabricated before.
            per_class: recordings of each class in each domain.

        Raises:
            UsageError: this dataset has no stand-in, or `root` holds something else.
        """
        raise UsageError(f"{cls.card.name} has no made-up stand-in; try hac or synthetic.")

    def remarks(self) -> Iterator[str]:
        """Yield, in words, what a user should know of this copy although nothing is wrong."""
        yield from ()

    def verify(self) -> Iterator[str]:
        """Yield, in words, everything that is wrong with the files on disk."""
        yield from ()

    def content(self, modalities: Sequence[str]) -> str:
        """Return a checksum of these modalities where file sizes do not tell copies apart."""
        return ""

    def fingerprint(self, modalities: Sequence[str]) -> str:
        """Return a SHA-256 of everything the data contributes to a run, paths excluded.

        Covers ids, labels, roles, file sizes of these modalities, options and the mark of
        fabricated data.
        """
        digest = hashlib.sha256()
        header = {
            "options": vars(self.options),
            "fabricated": self.fabricated,
            "modalities": [(m.name, m.shape) for m in self.card.modalities if m.name in modalities],
        }
        if content := self.content(modalities):
            header["content"] = content
        digest.update(json.dumps(header, sort_keys=True).encode())
        for domain in self.card.domains:
            for role in ROLES:
                for sample in self.listed(domain, role):
                    sizes = [self.size(sample, m) for m in modalities]
                    digest.update(f"{role} {sample} {sizes}\n".encode())
        return digest.hexdigest()


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


def a_fifth_of_each_class(
    labels: Mapping[str, int | str], salt: str = "", least: int = 0
) -> set[str]:
    """Return the ids of a fifth of each class: round(n / 5) of n, ranked by hashes of their ids.

    Args:
        labels: the class of each sample by its id.
        salt: hashed before each id; another one gives another ranking.
        least: how many samples of a class to take where a fifth rounds to fewer.
    """
    by_class: dict[int | str, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    chosen: set[str] = set()
    for ids in by_class.values():
        ids.sort(key=lambda name: hashlib.sha256(f"{salt}{name}".encode()).digest())
        chosen.update(ids[: max(least, round(len(ids) / 5))])
    return chosen


def given_folder(root: Path | None, name: str, advice: str) -> Path:
    """Return the folder of a dataset's files; raise UsageError where none is given or there."""
    if root is None:
        raise UsageError(f"{name} needs the folder that holds its files. {advice}")
    if not root.is_dir():
        raise UsageError(f"{name}: there is no folder {root}. {advice}")
    return root


def parse_options(cls: type, given: Mapping[str, Any]) -> Any:
    """Build the options dataclass `cls` from names and values; texts become the field's type."""
    kinds: dict[str, type] = {f.name: type(f.default) for f in fields(cls)}
    values = {}
    for name, value in given.items():
        if name not in kinds:
            raise unknown("dataset option", name, [*kinds, HOLD_OUT])
        try:
            values[name] = kinds[name](value)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(
                f"dataset option {name}: {value!r} is not of type {kinds[name].__name__}"
            ) from None
    return cls(**values)


def announced(items: Sequence[T], text: str) -> Iterable[T]:
    """Return the items to iterate over, shown by a progress bar, or by one line off a terminal."""
    if not sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr, flush=True)
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, text, console=Console(stderr=True))
