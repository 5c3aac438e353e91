"""Batches of inputs, in an order that depends on the seed and the epoch alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmark.training import seeds
from benchmark.training.feature_cache import AbsentFeaturesError, FeatureCache
from benchmark.training.feature_store import EVAL, View
from datasets.base import ByteScale, MultimodalDataset, Sample
from methods.base import Features


@dataclass(frozen=True)
class Inputs:
    """B samples before the stem: tensors [B, ...] by modality, labels [B], domains [B], ids.

    `second` holds the same samples under other augmentation, where a method asks for two views.
    """

    tensors: dict[str, Features]
    labels: Tensor
    domains: Tensor
    ids: tuple[str, ...]
    second: tuple[dict[str, Features], ...] = ()
    past_stem: bool = False
    """Whether the tensors are features already, out of a cache."""

    def to(self, device: torch.device) -> "Inputs":
        """Return the same batch on a device."""
        if device.type == "cpu":
            return self
        return self._moved(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self) -> "Inputs":
        """Return the same batch where a GPU can fetch it by itself; torch's loader calls this."""
        return self._moved(Tensor.pin_memory)

    def scaled(self, scales: Mapping[str, ByteScale]) -> "Inputs":
        """Return the same batch with what was loaded as bytes as an encoder reads it."""
        if self.past_stem or scales.keys().isdisjoint(self.tensors):
            return self  # a cache holds what was made of scaled inputs
        return self._changed(lambda k, x: _each(x, scales[k].of) if k in scales else x)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Inputs":
        moved = self._changed(lambda _, x: _each(x, move))
        return replace(moved, labels=move(self.labels), domains=move(self.domains))

    def _changed(self, change: Callable[[str, Features], Features]) -> "Inputs":
        first, *second = (
            {k: change(k, x) for k, x in tensors.items()}
            for tensors in (self.tensors, *self.second)
        )
        return replace(self, tensors=first, second=tuple(second))


def _each(features: Features, change: Callable[[Tensor], Tensor]) -> Features:
    if isinstance(features, Tensor):
        return change(features)
    return tuple(change(one) for one in features)


Draw = tuple[View | None, int | None]
"""How a sample is loaded: under which view that a cache may hold (None: under one that is drawn for
this epoch alone), and the seed that draws it (None: evaluation transforms)."""
Key = tuple[Sample, tuple[Draw, ...]]
"""A sample, and how it is loaded for each view that a batch holds of it."""
EVALUATION: Draw = (EVAL, None)


def kept_view(sample: Sample, view: View) -> Draw:
    """Return how a view is loaded that is the same for all methods and seeds."""
    return view, None if view == EVAL else seeds.stream(0, "view", view, sample.id)


class Feed:
    """Loads samples for all parts of a run, in this process or in others that last as long.

    Args:
        dataset: where the samples come from.
        modalities: what is loaded of each.
        domains: the names that domain indices count; a domain outside them has index -1.
        workers: loading processes; the batches are the same for any number of them.
        pinned: whether batches lie in memory that a GPU can fetch from by itself.
        cache: where features of views are read from, rather than the dataset.
        fill: computes what the cache lacks; called where something is absent, or is damaged.
    """

    def __init__(
        self,
        dataset: MultimodalDataset,
        modalities: Sequence[str],
        domains: Sequence[str],
        workers: int = 0,
        pinned: bool = False,
        cache: FeatureCache | None = None,
        fill: Callable[[], None] = lambda: None,
    ) -> None:
        self._workers, self._pinned, self._fill = workers, pinned, fill
        self._source = _Source(dataset, tuple(modalities), tuple(domains), cache)
        self._idle: list[tuple[_Order, DataLoader[_Item]]] = []

    def serve(self, batches: Sequence[list[Key]]) -> Iterator[Inputs]:
        """Yield these batches, loaded by the processes of an earlier call that came to its end.

        Only where one call begins within another, as a validation does in an epoch, more
        processes start.
        """
        served, lacked = 0, set[str]()
        while served < len(batches):
            try:
                for inputs in self._serve(batches[served:]):
                    served += 1
                    yield inputs
            except AbsentFeaturesError as error:
                if str(error) in lacked:  # they cannot be read although they were just written
                    raise
                lacked.add(str(error))
                self._fill()

    def _serve(self, batches: Sequence[list[Key]]) -> Iterator[Inputs]:
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
            pin_memory=self._pinned,
            # Its own generator: the base seed it draws must not touch the global stream.
            generator=torch.Generator(),
        )
        return order, loader


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return the batches of an epoch; an incomplete last one is dropped, unless it is alone."""
    return max(1, samples // batch_size)


class Loader:
    """Serves a part in batches, for training (shuffled, augmented) or for evaluation.

    Args:
        feed: loads the samples.
        samples: what is served.
        batch_size: samples per batch of training.
        seed: the run's seed; draws order and augmentation of every epoch.
        two_views: load every training sample twice, under independent augmentation.
        views: as `Protocol.views`.
    """

    def __init__(
        self,
        feed: Feed,
        samples: Sequence[Sample],
        batch_size: int,
        seed: int = 0,
        two_views: bool = False,
        views: int = 0,
    ) -> None:
        self._feed, self._seed, self._views = feed, seed, views
        self._streams = ("augment", "augment again") if two_views else ("augment",)
        self.samples = list(samples)
        self.batch_size = batch_size

    @property
    def steps(self) -> int:
        """Training batches per epoch."""
        return steps_per_epoch(len(self.samples), self.batch_size)

    def training_epoch(self, epoch: int, start: int = 0) -> Iterator[Inputs]:
        """Yield the shuffled batches of an epoch from batch number `start` on."""
        order = torch.randperm(
            len(self.samples), generator=seeds.generator(self._seed, "order", epoch)
        ).tolist()
        size = self.batch_size
        batches = [order[i * size : (i + 1) * size] for i in range(start, self.steps)]
        return self._feed.serve(
            [
                [(s, self._draws(s, epoch)) for s in map(self.samples.__getitem__, b)]
                for b in batches
            ]
        )

    def _draws(self, sample: Sample, epoch: int) -> tuple[Draw, ...]:
        if self._views:
            # Another first view for every seed and sample, and then all of them in turn. A second
            # view is as far from the first as it can be.
            first = seeds.stream(self._seed, "view", sample.id) + epoch
            apart = max(1, self._views // 2)
            numbers = (first + i * apart for i in range(len(self._streams)))
            return tuple(kept_view(sample, number % self._views) for number in numbers)
        return tuple(
            (None, seeds.stream(self._seed, name, epoch, sample.id)) for name in self._streams
        )

    def evaluation(self, batch_size: int | None = None) -> Iterator[Inputs]:
        """Yield every sample once, in order, with evaluation transforms.

        Args:
            batch_size: by default twice that of training: without a gradient, as much memory
                serves more samples, and larger batches are faster.
        """
        size = batch_size or 2 * self.batch_size
        keys: list[Key] = [(sample, (EVALUATION,)) for sample in self.samples]
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


_Item = tuple[list[Mapping[str, Features]], Sample, int, bool]


class _Order:
    """The batches that a `DataLoader` serves when it is next iterated over."""

    batches: Sequence[list[Key]] = ()

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class _Source(Dataset[_Item]):
    """One sample by its key."""

    def __init__(
        self,
        dataset: MultimodalDataset,
        modalities: tuple[str, ...],
        domains: tuple[str, ...],
        cache: FeatureCache | None,
    ) -> None:
        self.dataset = dataset
        self.modalities = modalities
        self.domains = {name: i for i, name in enumerate(domains)}
        self.cache = cache

    def __getitem__(self, key: Key) -> _Item:
        sample, draws = key
        views: list[Mapping[str, Features]] = []
        past_stem = False
        for view, seed in draws:
            if self.cache is not None and view is not None:
                views.append(self.cache.read(sample, view))
                past_stem = True
            else:
                views.append(self.dataset.load(sample, self.modalities, seed))
        return views, sample, self.domains.get(sample.domain, -1), past_stem


def _collate(items: list[_Item]) -> Inputs:
    first, *second = (
        {k: _stacked([views[i][k] for views, *_ in items]) for k in view}
        for i, view in enumerate(items[0][0])
    )
    return Inputs(
        tensors=first,
        second=tuple(second),
        labels=torch.tensor([sample.label for _, sample, _, _ in items]),
        domains=torch.tensor([domain for _, _, domain, _ in items]),
        ids=tuple(sample.id for _, sample, _, _ in items),
        past_stem=items[0][3],
    )


def _stacked(features: Sequence[Features]) -> Features:
    """Return the features of several samples as those of a batch."""
    if isinstance(features[0], Tensor):
        return torch.stack(list(features))  # type: ignore[arg-type]
    return tuple(torch.stack(parts) for parts in zip(*features, strict=True))
