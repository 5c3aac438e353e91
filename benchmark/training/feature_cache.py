"""Features of a run, kept on disk and shared with all other runs.

What frozen stages make of a sample never changes, so it is computed once: by the first run that
needs it, for all methods, seeds and splits. Under evaluation transforms that holds for every
sample; in training for the augmented views that `Protocol.views` draws once. A modality whose
encoder has no frozen stages is kept as it was loaded, so that nothing has to be decoded.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from benchmark.records.spec import NUMBERS_VERSION, RunSpec
from benchmark.settings import RunSettings
from benchmark.training.feature_store import (
    DTYPES,
    FeatureStore,
    View,
    check_space,
    sample_keys,
    stem_key,
    summary,
)
from benchmark.training.model import MultimodalModel
from datasets.base import MultimodalDataset, Sample
from methods.base import Batch, Features

Pair = tuple[Sample, View]


class AbsentFeaturesError(OSError):
    """Features are not in the cache, or a file of it is damaged."""


class FeatureCache:
    """Features by sample and view, for the modalities of one run.

    Args:
        stores: by modality.
        keys: by modality, the key of each sample by its id.
    """

    def __init__(
        self, stores: Mapping[str, FeatureStore], keys: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._stores, self._keys = stores, keys

    @property
    def folder(self) -> Path:
        """The folder that all runs share."""
        return next(iter(self._stores.values())).folder

    def size(self) -> int:
        """Return the bytes on disk of all that is kept for these modalities and encoders."""
        names = {store.path.name for store in self._stores.values()}
        return sum(size for name, _, size in summary(self.folder) if name in names)

    def read(self, sample: Sample, view: View) -> dict[str, Features]:
        """Return the features of a sample by modality.

        Raises:
            AbsentFeaturesError: a file is absent, or was damaged and is now removed.
        """
        found = {}
        for k, store in self._stores.items():
            key = self._keys[k][sample.id]
            features = store.read(key, view)
            if features is None:
                store.remove(key, view)
                raise AbsentFeaturesError(f"no features of {k} of {sample.id}, view {view}")
            found[k] = features
        return found

    def absent(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Return the samples and views of which a modality has no file, in their order."""
        wanted = list(pairs)
        lost: set[int] = set()
        for k, store in self._stores.items():
            keyed = [(self._keys[k][sample.id], view) for sample, view in wanted]
            missing = set(store.missing(keyed))
            lost.update(i for i, pair in enumerate(keyed) if pair in missing)
        return [wanted[i] for i in sorted(lost)]

    def fill(
        self,
        pairs: Iterable[Pair],
        size: int,
        compute: Callable[[Sequence[Pair]], Batch],
        tell: Callable[[int, int], None],
    ) -> None:
        """Compute what is absent, with other runs that do the same.

        Args:
            pairs: the samples and views that are wanted.
            size: how many to compute at once.
            compute: returns their features.
            tell: is told how many of the absent ones are there, and how many there were.

        Raises:
            UsageError: the disk has no room for them, or a value is too large for the dtype.
            OSError: a file cannot be written.
        """
        absent, done, room = self.absent(pairs), 0, False
        for several in _from_anywhere(absent, size):
            if still := self.absent(several):  # another run may have been here
                batch = compute(still)
                if not room:
                    self._check_space(batch, len(absent))
                    room = True
                self._write(batch, [view for _, view in still])
            done += len(several)
            tell(done, len(absent))

    def _write(self, batch: Batch, views: Sequence[View]) -> None:
        for k, store in self._stores.items():
            features = batch.features[k]
            for i, (name, view) in enumerate(zip(batch.ids, views, strict=True)):
                one = features[i] if isinstance(features, Tensor) else tuple(x[i] for x in features)
                store.write(self._keys[k][name], view, one)

    def _check_space(self, batch: Batch, number: int) -> None:
        """Raise UsageError where the disk has no room for so many samples like these."""
        each = 0
        for k, store in self._stores.items():
            features = batch.features[k]
            several = (features,) if isinstance(features, Tensor) else features
            each += sum(x[0].numel() for x in several) * DTYPES[store.dtype].itemsize
        check_space(self.folder, each * number)


def of_run(
    spec: RunSpec,
    dataset: MultimodalDataset,
    settings: RunSettings,
    model: MultimodalModel,
    samples: Iterable[Sample],
) -> FeatureCache | None:
    """Return the cache of a run; None where none is asked for, or no encoder has frozen stages.

    Raises:
        UsageError: frozen stages change in training.
    """
    folder = settings.features
    if folder is None or not model.stemmed:
        return None
    settings.check_features([spec])
    samples = list(samples)
    stores, keys = {}, {}
    for k in spec.modalities:
        beside = dataset.follows(k, spec.modalities)
        inputs = {
            "dataset": spec.dataset,
            "options": dict(spec.options),
            "data": dataset.fingerprint([k]),
            "modality": k,
            "beside": beside,
            "shape": [m.shape for m in dataset.card.modalities if m.name == k],
            "numbers_version": NUMBERS_VERSION,
        }
        frozen = k in model.stemmed
        if frozen:
            inputs["precision"] = spec.protocol.precision
        stem = stem_key(spec.encoders[k] if frozen else "", model.encoder(k).stem, inputs)
        dtype = spec.protocol.feature_dtype if frozen else "fp32"
        stores[k] = FeatureStore(folder, k, stem, dtype)
        found = sample_keys(dataset, samples, k, beside)
        keys[k] = {s.id: key for s, key in zip(samples, found, strict=True)}
    return FeatureCache(stores, keys)


def _from_anywhere(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    """Yield batches from a random place on, so that runs that start together share the work."""
    batches = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    start = secrets.randbelow(len(batches)) if batches else 0
    yield from batches[start:] + batches[:start]
