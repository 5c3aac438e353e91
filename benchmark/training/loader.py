"""Batches of inputs, in an order that depends on the seed and the epoch alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmark.training import seeds
from datasets.base import MultimodalDataset, Sample


@dataclass(frozen=True)
class Inputs:
    """B samples before the stem: tensors [B, ...] by modality, labels [B], domains [B], ids.

    `second` holds the same samples under other augmentation, where a method asks for two views.
    """

    tensors: dict[str, Tensor]
    labels: Tensor
    domains: Tensor
    ids: tuple[str, ...]
    second: tuple[dict[str, Tensor], ...] = ()

    def to(self, device: torch.device) -> "Inputs":
        """Return the same batch on a device."""
        if device.type == "cpu":
            return self
        first, *second = (
            {k: x.to(device, non_blocking=True) for k, x in tensors.items()}
            for tensors in (self.tensors, *self.second)
        )
        labels, domains = self.labels.to(device), self.domains.to(device)
        return Inputs(first, labels, domains, self.ids, tuple(second))


class Loader:
    """Serves samples in batches, for training (shuffled, augmented) or for evaluation.

    Args:
        dataset: where the samples come from.
        samples: what is served.
        modalities: what is loaded of each.
        domains: the names that domain indices count; a domain outside them has index -1.
        batch_size: samples per batch.
        seed: the run's seed; draws order and augmentation of every epoch.
        workers: loading processes; the batches are the same for any number of them.
        two_views: load every training sample twice, under independent augmentation.
    """

    def __init__(
        self,
        dataset: MultimodalDataset,
        samples: Sequence[Sample],
        modalities: Sequence[str],
        domains: Sequence[str],
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        two_views: bool = False,
    ) -> None:
        self.samples = list(samples)
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        streams = ("augment", "augment again") if two_views else ("augment",)
        self._source = _Source(
            dataset, self.samples, tuple(modalities), tuple(domains), seed, streams
        )

    @property
    def steps(self) -> int:
        """Training batches per epoch; an incomplete last one is dropped, unless it is alone."""
        return max(1, len(self.samples) // self.batch_size)

    def training_epoch(self, epoch: int, start: int = 0) -> Iterator[Inputs]:
        """Yield the shuffled batches of an epoch from batch number `start` on."""
        order = torch.randperm(
            len(self.samples), generator=seeds.generator(self.seed, "order", epoch)
        ).tolist()
        size = self.batch_size
        batches = [order[i * size : (i + 1) * size] for i in range(start, self.steps)]
        return self._serve([[(i, epoch) for i in batch] for batch in batches])

    def evaluation(self) -> Iterator[Inputs]:
        """Yield every sample once, in order, with evaluation transforms."""
        indices = range(len(self.samples))
        size = self.batch_size
        batches = [indices[i : i + size] for i in range(0, len(indices), size)]
        return self._serve([[(i, -1) for i in batch] for batch in batches])

    def _serve(self, batches: list[list[tuple[int, int]]]) -> Iterator[Inputs]:
        return _watched(
            DataLoader(
                self._source,
                batch_sampler=batches,
                collate_fn=_collate,
                num_workers=self.workers,
                # Its own generator: the base seed it draws must not touch the global stream.
                generator=torch.Generator(),
            )
        )


class WorkerLostError(OSError):
    """A loading process was killed."""


def _watched(batches: Iterable[Inputs]) -> Iterator[Inputs]:
    """Yield batches; raise WorkerLostError where a loading process is gone."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerLostError(str(error).splitlines()[0]) from error


_Item = tuple[list[dict[str, Tensor]], Sample, int]


class _Source(Dataset[_Item]):
    """One sample by (index, epoch); epoch -1 is evaluation."""

    def __init__(
        self,
        dataset: MultimodalDataset,
        samples: list[Sample],
        modalities: tuple[str, ...],
        domains: tuple[str, ...],
        seed: int,
        streams: tuple[str, ...],
    ) -> None:
        self.streams = streams
        self.dataset = dataset
        self.samples = samples
        self.modalities = modalities
        self.domains = {name: i for i, name in enumerate(domains)}
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> _Item:
        index, epoch = key
        sample = self.samples[index]
        draws: list[int | None] = [None]
        if epoch >= 0:
            draws = [seeds.stream(self.seed, name, epoch, sample.id) for name in self.streams]
        views = [self.dataset.load(sample, self.modalities, draw) for draw in draws]
        return views, sample, self.domains.get(sample.domain, -1)


def _collate(items: list[_Item]) -> Inputs:
    first, *second = (
        {k: torch.stack([views[i][k] for views, _, _ in items]) for k in view}
        for i, view in enumerate(items[0][0])
    )
    return Inputs(
        tensors=first,
        second=tuple(second),
        labels=torch.tensor([sample.label for _, sample, _ in items]),
        domains=torch.tensor([domain for _, _, domain in items]),
        ids=tuple(sample.id for _, sample, _ in items),
    )
