"""A seeded multi-modal, multi-domain dataset made in memory, with a knob for every difficulty."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets import register
from datasets.base import Card, ModalitySpec, MultimodalDataset, Recipe, Role, Sample
from mmdg_common import UsageError, unknown

Array = NDArray[np.float64]

VECTOR_SHAPE = (16,)
SEQUENCE_SHAPE = (4, 24)  # channels, time steps
HARMONICS = (1, 2, 3)  # of a sequence's patterns, in periods per sequence

# The options that hold one number per modality, and the largest each may be.
MAXIMUM = {"snr": math.inf, "difficulty": 1.0, "domain_shift": math.inf}

# The range of the options that count. Every recording is held in memory.
COUNTS = {
    "modalities": (1, 64),
    "classes": (2, 1_000),
    "domains": (2, 100),
    "samples_per_class": (3, 100_000),
    "seed": (0, 2**63 - 1),
}
MOST_RECORDINGS = 1_000_000

# One random stream for each purpose; the key's next numbers say what is drawn.
PATTERN, STYLE, RECORDING, CUE, SPLIT = range(1, 6)


@dataclass(frozen=True)
class SyntheticOptions:
    """The knobs; texts such as "3.0,1.5" hold a value per modality, the last one repeating.

    Strengths are norms of a pattern in units of the noise's standard deviation, so that they
    compare across modalities of different shapes.
    """

    modalities: int = 3
    classes: int = 5
    domains: int = 4
    samples_per_class: int = 20
    """Recordings of each class in each domain."""
    snr: str = "2.5,8.0,1.5"
    """Norm of a class's pattern over the noise's standard deviation."""
    difficulty: str = "0.0,1.0,0.0"
    """0: a linear model reads the class; 1: only products of features tell anything."""
    domain_shift: str = "0.6"
    """How far domains differ in mixing, offset and gain over time; 0: not at all."""
    spurious_modality: int = 0
    """The modality that carries a spurious cue, counted from 1; 0: none."""
    spurious_strength: float = 0.0
    """Norm of the cue's pattern over the noise's standard deviation."""
    seed: int = 0
    """Seed of the data, independent of any run's seed."""

    def __post_init__(self) -> None:
        for name, (least, most) in COUNTS.items():
            if getattr(self, name) < least:
                raise self._impossible(name, f"type {least} or more")
            if getattr(self, name) > most:
                raise self._impossible(name, f"type {most} or less")
        if self.domains * self.classes * self.samples_per_class > MOST_RECORDINGS:
            few = MOST_RECORDINGS // (self.domains * self.classes)
            valid = f"with {self.domains} domains of {self.classes} classes type {few} or less"
            raise self._impossible("samples_per_class", valid)
        if not 0 <= self.spurious_strength < math.inf:
            raise self._impossible("spurious_strength", "type a number of 0 or more")
        if not 0 <= self.spurious_modality <= self.modalities:
            valid = f"type 1 to {self.modalities} for a modality, 0 for no cue"
            raise self._impossible("spurious_modality", valid)
        if self.spurious_strength > 0 and self.spurious_modality == 0:
            valid = f"type its modality too: spurious_modality, 1 to {self.modalities}"
            raise self._impossible("spurious_strength", valid)
        for name in MAXIMUM:
            self.per_modality(name)

    def per_modality(self, name: str) -> list[float]:
        """Return the values of an option that has one for each modality."""
        maximum = MAXIMUM[name]
        try:
            values = [float(number) for number in getattr(self, name).split(",")]
        except ValueError:
            values = [math.nan]
        if not all(0 <= value <= maximum and math.isfinite(value) for value in values):
            limit = "of 0 or more" if maximum == math.inf else f"from 0 to {maximum:g}"
            valid = f'type numbers {limit}, one per modality, such as "1.0,0.5"'
            raise self._impossible(name, valid)
        values += values[-1:] * (self.modalities - len(values))
        return values[: self.modalities]

    def _impossible(self, name: str, valid: str) -> UsageError:
        return UsageError(f"dataset option {name}: {getattr(self, name)!r} is impossible; {valid}")


@dataclass(frozen=True)
class _Style:
    """What one domain does to every recording of one modality."""

    mixing: Array  # [W, W] for W features or channels
    offset: Array  # [W], or [W, 1] for sequences
    gain: Array  # [1], or [T] for sequences

    def __call__(self, x: Array) -> Array:
        return (self.mixing @ x + self.offset) * self.gain


@dataclass(frozen=True)
class _Recording:
    """One recording by its indices, and the role it has where its domain is a source."""

    domain: int
    label: int
    index: int
    source: Role

    def sample(self, role: Role) -> Sample:
        domain = f"d{self.domain + 1}"
        return Sample(f"{domain}/{role}/c{self.label}/{self.index:04d}", self.label, domain)


@register("synthetic")
class Synthetic(MultimodalDataset):
    """Class patterns in noise, seen through each domain's own style.

    A recording of class c in domain d is `style_d(± snr · pattern_c + noise)`, with standard
    normal noise and patterns of norm 1. Odd modalities are vectors of 16 features, even ones
    sequences of 4 channels and 24 time steps.

    *Learning difficulty.* The sign is negative with probability difficulty / 2. At 0 the
    patterns are class prototypes; at 1 every class has mean zero and only products of features
    tell the classes apart, as in XOR: the information is there, but it is learned late.

    *Domain shift.* A style mixes the features (or channels), adds an offset, and lets the gain
    of sequences drift over time. Each is the identity plus the domain's own random part.

    *Spurious cue.* It depends on the role, as a domain is a source in one split and the target
    in another. Samples in the roles `train` and `val` add the cue pattern of their own class to
    the chosen modality. Samples in the role `target` are the same recordings (equal in style,
    signal and noise) with the cue of a class drawn independently of the label. They therefore
    have ids of their own: `d1/target/c0/0003` is the recording of `d1/train/c0/0003` or of
    `d1/val/c0/0003`.

    Every recording has its own random stream, keyed by the option `seed` and its indices, so
    further modalities or domains leave the existing samples as they are. There is no
    augmentation.
    """

    Options = SyntheticOptions
    needs_root = False
    reads_root = False
    options: SyntheticOptions

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        self.card = _card(self.options)
        self._recordings = list(self._draw_roles())
        self._samples: dict[tuple[str, Role], list[Sample]] = {}
        for recording in self._recordings:
            for role in (recording.source, "target"):
                sample = recording.sample(role)
                self._samples.setdefault((sample.domain, role), []).append(sample)
        self._tables: dict[str, dict[str, Tensor]] = {}

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in one role, by class and then by index."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        return tuple(self._samples[domain, role])

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of the modalities asked for; `seed` makes no difference."""
        # Copies, so that work in place on a sample cannot change the data.
        return {name: self._table(name)[sample.id].clone() for name in modalities}

    def prepare(self, modalities: Sequence[str]) -> None:
        """Make the recordings of these modalities, which `load` otherwise does on first use."""
        for name in modalities:
            self._table(name)

    def _table(self, modality: str) -> dict[str, Tensor]:
        """Return the tensors of one modality by sample id, made on the first call."""
        if modality not in self._tables:
            names = [spec.name for spec in self.card.modalities]
            if modality not in names:
                raise unknown("modality", modality, names)
            self._tables[modality] = self._make(names.index(modality))
        return self._tables[modality]

    def _make(self, modality: int) -> dict[str, Tensor]:
        opts, shape = self.options, self.card.modalities[modality].shape
        names = ("snr", "difficulty", "domain_shift")
        snr, difficulty, shift = (opts.per_modality(name)[modality] for name in names)
        strength = opts.spurious_strength if opts.spurious_modality == modality + 1 else 0.0
        classes, domains = range(opts.classes), range(opts.domains)
        patterns = [snr * _pattern(self._rng(PATTERN, modality, c), shape) for c in classes]
        cues = [strength * _pattern(self._rng(CUE, modality, c), shape) for c in classes]
        styles = [_style(self._rng(STYLE, modality, d), shape, shift) for d in domains]
        table = {}
        for r in self._recordings:
            rng = self._rng(RECORDING, modality, r.domain, r.label, r.index)
            sign = -1.0 if rng.random() < difficulty / 2 else 1.0
            x = styles[r.domain](sign * patterns[r.label] + rng.standard_normal(shape))
            table[r.sample(r.source).id] = _tensor(x + cues[r.label])
            table[r.sample("target").id] = _tensor(x + cues[rng.integers(opts.classes)])
        return table

    def _draw_roles(self) -> Iterator[_Recording]:
        """Yield every recording; a fifth of each class and domain validates."""
        n = self.options.samples_per_class
        for domain in range(self.options.domains):
            for label in range(self.options.classes):
                order = self._rng(SPLIT, domain, label).permutation(n)
                validates = set(order[: round(n / 5)].tolist())
                for index in range(n):
                    yield _Recording(domain, label, index, "val" if index in validates else "train")

    def _rng(self, *key: int) -> np.random.Generator:
        # Padded to one length, as numpy takes a seed with trailing zeros for the shorter one.
        return np.random.default_rng([self.options.seed, *key, *[0] * (5 - len(key))])


def _tensor(x: Array) -> Tensor:
    return torch.from_numpy(x.astype(np.float32))


def _pattern(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return a random pattern of norm 1: white for a vector, smooth in time for a sequence."""
    if len(shape) == 1:
        pattern = rng.standard_normal(shape)
    else:
        time = 2 * np.pi * np.arange(shape[1]) / shape[1]
        waves = np.stack([wave(h * time) for h in HARMONICS for wave in (np.sin, np.cos)])
        pattern = rng.standard_normal((shape[0], len(waves))) @ waves
    return pattern / np.linalg.norm(pattern)


def _style(rng: np.random.Generator, shape: tuple[int, ...], shift: float) -> _Style:
    width = shape[0]
    mixing = np.eye(width) + shift * rng.standard_normal((width, width)) / math.sqrt(width)
    offset = shift * rng.standard_normal(width)
    if len(shape) == 1:
        return _Style(mixing, offset, np.ones(1))
    phase = rng.uniform(0, 2 * np.pi)
    drift = np.sin(2 * np.pi * np.arange(shape[1]) / shape[1] + phase)
    return _Style(mixing, offset[:, None], np.exp(shift * drift))


def _card(options: SyntheticOptions) -> Card:
    modalities = tuple(
        ModalitySpec(f"m{i + 1}", SEQUENCE_SHAPE, "signal_cnn", "a short sequence", kind="signal")
        if i % 2
        else ModalitySpec(f"m{i + 1}", VECTOR_SHAPE, "mlp", "a vector")
        for i in range(options.modalities)
    )
    return Card(
        name="synthetic",
        modalities=modalities,
        domains=tuple(f"d{i + 1}" for i in range(options.domains)),
        classes=tuple(f"c{i}" for i in range(options.classes)),
        recipe=Recipe(epochs=20, lr=1e-3, batch_size=32),
        source="made in memory, nothing to download",
    )
