"""Corruptions applied to a modality of a finished run, batch by batch, as it is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmark.analysis.corruptions import BY_KIND, Corruption, drawn
from benchmark.analysis.finished import FinishedRun
from benchmark.training.loader import Inputs
from datasets.base import ModalitySpec, Sample
from datasets.media import audio

SINGLE = ("audio", "video")
"""Kinds corrupted sample by sample: sounds differ in length, and clips take much memory."""
POOLED = {"depth": (0, 2, 3, 4), "skeleton": (0, 2), "inertial": (0, 2), "signal": (0, 2)}
"""Of kinds with levels in deviations, the dimensions [B, C, T, ...] that one is taken over."""


class Corruptible:
    """One modality of a finished run with corruptions of it."""

    def __init__(
        self,
        run: FinishedRun,
        modality: ModalitySpec,
        corruptions: Mapping[str, Corruption],
        samples: Sequence[Sample],
    ) -> None:
        self.name = modality.name
        self._run, self._kind, self._corruptions = run, modality.kind, corruptions
        self._samples = {sample.id: sample for sample in samples}
        of = POOLED.get(modality.kind)
        self._deviation = deviation(run, self.name, of) if of else torch.ones(1)

    def corrupted(
        self, inputs: Inputs, severities: Sequence[int]
    ) -> Iterator[tuple[str, int, Inputs]]:
        """Yield by corruption and severity the inputs of this modality alone, corrupted."""
        pieces = list(self._pieces(inputs))
        for name, corruption in self._corruptions.items():
            draws = [
                torch.stack([drawn(name, corruption, x.shape[1:], i) for i in ids]).to(x.device)
                for ids, x in pieces
            ]
            for severity in severities:
                level = corruption.levels[severity - 1]
                parts = [
                    self._loaded(corruption.apply(x, level, draw, self._deviation.to(x.device)))
                    for (_, x), draw in zip(pieces, draws, strict=True)
                ]
                yield name, severity, replace(inputs, tensors={self.name: torch.cat(parts)})

    def _pieces(self, inputs: Inputs) -> Iterator[tuple[Sequence[str], Tensor]]:
        """Yield ids and what is corrupted of these samples at once, [B, ...]."""
        if self._kind == "audio":
            yield from (([i], torch.from_numpy(self._heard(i))[None]) for i in inputs.ids)
            return
        x = inputs.tensors[self.name]
        assert isinstance(x, Tensor)
        size = 1 if self._kind in SINGLE else len(x)
        for start in range(0, len(x), size):
            yield inputs.ids[start : start + size], x[start : start + size]

    def _heard(self, sample: str) -> audio.Samples:
        found = self._run.dataset.waveform(self._samples[sample], self.name, self._run.modalities)
        # Sound that ends before its clip begins is silence, see `audio.spectrogram`.
        return found if len(found) else np.zeros(audio.SECONDS * audio.RATE, np.float32)

    def _loaded(self, x: Tensor) -> Tensor:
        """Return what `load` makes of samples; of sound, the spectrograms."""
        if self._kind != "audio":
            return x
        return torch.stack([audio.spectrogram(samples, None) for samples in x.numpy()])


def available(modality: ModalitySpec, noise: Mapping[str, Corruption]) -> Mapping[str, Corruption]:
    """Return the corruptions of a modality by name, and `noise` where it is sound."""
    if modality.kind == "video" and modality.scale is None:  # frames are standardised already
        return {}
    found = BY_KIND.get(modality.kind, {})
    return {**found, **noise} if modality.kind == "audio" else found


@torch.no_grad()
def deviation(run: FinishedRun, modality: str, over: Sequence[int]) -> Tensor:
    """Return the standard deviation of a modality on the sources' train part.

    Args:
        run: whose sources these are.
        modality: loaded as float32.
        over: the dimensions of a batch [B, C, T, ...] to pool.

    Returns:
        float32 of the shape of a sample, with 1 for what is pooled.
    """
    count, total, squares = 0, torch.zeros(1), torch.zeros(1)
    for inputs in run.inputs(run.samples("train"), modalities=[modality]):
        x = inputs.tensors[modality]
        assert isinstance(x, Tensor)
        x = x.double()
        count += x.numel()
        total = total + x.sum(tuple(over), keepdim=True)
        squares = squares + x.square().sum(tuple(over), keepdim=True)
    count //= total.numel()
    variance = squares / count - (total / count).square()
    return variance.clamp(min=0).sqrt()[0].float()
