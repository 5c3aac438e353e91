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


class Feed:
    """Loads samples for all parts of a run, in this process or in others that last as long.

    Args:
        dataset: where the samples come from.
        modalities: what is loaded of each.
        domains: the names that domain indices count; a domain outside them has index -1.
        seed: the run's seed; draws order and augmentation of every epoch.
        workers: loading processes; the batches are the same for any number of them.
        two_views: load every training sample twice, under independent augmentation.
    """

    def __init__(
        self,
        dataset: MultimodalDataset,
        modalities: Sequence[str],
        domains: Sequence[str],
        seed: int = 0,
        workers: int = 0,
        two_views: bool = False,
    ) -> None:
        self.seed = seed
        self._workers = workers
        streams = ("augment", "augment again") if two_views else ("augment",)
        self._source = _Source(dataset, tuple(modalities), tuple(domains), seed, streams)
        self._idle: list[tuple[_Order, DataLoader[_Item]]] = []

    def serve(self, batches: "list[list[_Key]]") -> Iterator[Inputs]:
        """Yield these batches, loaded by the processes of an earlier call that came to its end.

        Only where one call begins within another, as a validation does in an epoch, more
        processes start.
        """
        order, loader = self._idle.pop() if self._idle else self._new()
        order.batches = batches
        try:
            yield from _watched(loader)
        finally:
            self._idle.append((order, loader))

    def close(self) -> None:
        """Stop the loading processes."""
        self._idle.clear()

    def _new(self) -> "tuple[_Order, DataLoader[_Item]]":
        order = _Order()
        loader = DataLoader(
            self._source,
            batch_sampler=order,
            collate_fn=_collate,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            # Its own generator: the base seed it draws must not touch the global stream.
            generator=torch.Generator(),
        )
        return order, loader


class Loader:
    """Serves a part in batches, for training (shuffled, augmented) or for evaluation.

    Args:
        feed: loads the samples.
        samples: what is served.
        batch_size: samples per batch of training.
    """

    def __init__(self, feed: Feed, samples: Sequence[Sample], batch_size: int) -> None:
        self._feed = feed
        self.samples = list(samples)
        self.batch_size = batch_size

    @property
    def steps(self) -> int:
        """Training batches per epoch; an incomplete last one is dropped, unless it is alone."""
        return max(1, len(self.samples) // self.batch_size)

    def training_epoch(self, epoch: int, start: int = 0) -> Iterator[Inputs]:
        """Yield the shuffled batches of an epoch from batch number `start` on."""
        order = torch.randperm(
            len(self.samples), generator=seeds.generator(self._feed.seed, "order", epoch)
        ).tolist()
        size = self.batch_size
        batches = [order[i * size : (i + 1) * size] for i in range(start, self.steps)]
        return self._feed.serve([[(self.samples[i], epoch) for i in batch] for batch in batches])

    def evaluation(self, batch_size: int | None = None) -> Iterator[Inputs]:
        """Yield every sample once, in order, with evaluation transforms.

        Args:
            batch_size: by default twice that of training: without a gradient, as much memory
                serves more samples, and larger batches are faster.
        """
        size = batch_size or 2 * self.batch_size
        keys = [(sample, EVALUATION) for sample in self.samples]
        return self._feed.serve([keys[i : i + size] for i in range(0, len(keys), size)])


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


EVALUATION = -1
"""In place of an epoch: nothing is augmented."""

_Key = tuple[Sample, int]
_Item = tuple[list[dict[str, Tensor]], Sample, int]


class _Order:
    """The batches that a `DataLoader` serves when it is next iterated over."""

    batches: Sequence[list[_Key]] = ()

    def __iter__(self) -> Iterator[list[_Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Source(Dataset[_Item]):
    """One sample by itself and the epoch."""

    def __init__(
        self,
        dataset: MultimodalDataset,
        modalities: tuple[str, ...],
        domains: tuple[str, ...],
        seed: int,
        streams: tuple[str, ...],
    ) -> None:
        self.streams = streams
        self.dataset = dataset
        self.modalities = modalities
        self.domains = {name: i for i, name in enumerate(domains)}
        self.seed = seed

    def __getitem__(self, key: _Key) -> _Item:
        sample, epoch = key
        draws: list[int | None] = [None]
        if epoch != EVALUATION:
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
