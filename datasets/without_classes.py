"""A dataset without some of its classes, which are kept apart: nothing trains on them.

This is the option `hold_out_classes`, which every dataset has. The parts of a domain are those of
the whole dataset less the classes held out, so that all other samples keep the parts they play.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from datasets.base import HOLD_OUT, MultimodalDataset, Role, Sample
from mmdg_common import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

FEWEST = 2
"""Classes that must be left."""


class WithoutClasses(MultimodalDataset):
    """Another dataset, with the remaining classes renumbered in their order.

    Labels from `len(card.classes)` on are those of the classes held out, in their order.
    """

    def __init__(self, whole: MultimodalDataset, held_out: str) -> None:
        """Hold out the classes whose names or indices `held_out` joins by commas.

        Raises:
            UsageError: there is no such class, or too few are left.
        """
        super().__init__(whole.root, whole.cache, {})
        classes = whole.card.classes
        held = chosen(held_out, classes)
        kept = [label for label in range(len(classes)) if label not in held]
        if len(kept) < FEWEST:
            raise UsageError(
                f"dataset option {HOLD_OUT}: {whole.card.name} has {len(classes)} classes, and "
                f"{FEWEST} at least must be left; hold out fewer"
            )
        self._whole = whole
        self._labels = (*kept, *held)
        """By label, that in the whole dataset."""
        self._renumbered = {label: new for new, label in enumerate(self._labels)}
        self.card = replace(whole.card, classes=tuple(classes[label] for label in kept))
        self.fabricated, self.decodes = whole.fabricated, whole.decodes
        # Written in one way, so that the same classes give the same run.
        text = ",".join(_text(label, classes) for label in held)
        self.options = SimpleNamespace(**vars(whole.options), **{HOLD_OUT: text})

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of the remaining classes."""
        return self._kept(self._whole.samples(domain, role))

    def listed(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of the remaining classes before any is left out."""
        return self._kept(self._whole.listed(domain, role))

    def held_out(self, domain: str) -> Sequence[Sample]:
        """Return the samples of the remaining classes that the domain never trains on."""
        return self._kept(self._whole.held_out(domain))

    def of_held_out_classes(self, domain: str) -> Sequence[Sample]:
        """Return what would be tested of a domain, of the classes held out."""
        samples = map(self._ours, self._whole.samples(domain, "target"))
        return [sample for sample in samples if not self._is_kept(sample)]

    def recordings(self) -> list[Sample]:
        """Return every sample once, of all classes: who predicts ignores what they are."""
        return [self._ours(sample) for sample in self._whole.recordings()]

    def a_fifth(self, samples: Sequence[Sample]) -> set[str]:
        """Return the ids of a fifth of these samples, as the whole dataset draws it."""
        return self._whole.a_fifth([self._theirs(sample) for sample in samples])

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> "dict[str, Tensor]":
        """Return the tensors of a sample, of whatever class."""
        return self._whole.load(self._theirs(sample), modalities, seed)

    def follows(self, modality: str, modalities: Sequence[str]) -> str:
        """Return what the whole dataset does."""
        return self._whole.follows(modality, modalities)

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the file that holds this modality."""
        return self._whole.size(self._theirs(sample), modality)

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files of this modality."""
        return self._whole.files_of(self._theirs(sample), modality)

    def made_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return what decides on this modality."""
        return self._whole.made_of(self._theirs(sample), modality)

    def prepare(self, modalities: Sequence[str]) -> None:
        """Prepare the whole dataset, classes held out included."""
        self._whole.prepare(modalities)
        self.skipped = self._whole.skipped

    def remarks(self) -> Iterator[str]:
        """Yield what is to be known of the whole dataset."""
        yield from self._whole.remarks()

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files of the whole dataset."""
        yield from self._whole.verify()

    def content(self, modalities: Sequence[str]) -> str:
        """Return the checksum of the whole dataset."""
        return self._whole.content(modalities)

    def _kept(self, samples: Iterable[Sample]) -> list[Sample]:
        return [sample for sample in map(self._ours, samples) if self._is_kept(sample)]

    def _is_kept(self, sample: Sample) -> bool:
        return sample.label < len(self.card.classes)

    def _ours(self, sample: Sample) -> Sample:
        return replace(sample, label=self._renumbered[sample.label])

    def _theirs(self, sample: Sample) -> Sample:
        return replace(sample, label=self._labels[sample.label])


def chosen(text: str, classes: Sequence[str]) -> list[int]:
    """Return the labels, in order, that names or indices joined by commas stand for.

    A name counts before an index: of classes that are called by numbers, `3` is the one called so.

    Raises:
        UsageError: one is neither.
    """
    known = {str(label): label for label in range(len(classes))}
    known |= {name: label for label, name in enumerate(classes)}
    items = [item.strip() for item in text.split(",")]
    for item in items:
        if item not in known:
            raise unknown(f"class in dataset option {HOLD_OUT}", item, classes)
    return sorted({known[item] for item in items})


def _text(label: int, classes: Sequence[str]) -> str:
    """Return what `chosen` reads as a class: its name, or else its index."""
    name = classes[label]
    return name if name.strip() == name and "," not in name else str(label)


def without_classes(dataset: MultimodalDataset, options: Mapping[str, Any]) -> MultimodalDataset:
    """Return the dataset without the classes that options hold out; itself where they name none."""
    text = str(options.get(HOLD_OUT, "")).strip()
    return WithoutClasses(dataset, text) if text else dataset
