"""A finished run brought back: its model with the kept weights, and its data through the stem."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from benchmark.records.predictions import Predicted
from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from benchmark.training import evaluate, kept, seeds, setup
from benchmark.training.evaluate import Predictions
from benchmark.training.loader import Feed, Inputs, Loader
from benchmark.training.model import MultimodalModel
from datasets.base import MultimodalDataset, Role, Sample
from methods.base import FUSED, Batch, Method
from mmdg_common import UsageError

RULE = "best-val"
"""The selection rule whose weights are kept as the best, and whose predictions are analysed."""


class FinishedRun:
    """What an analysis sees of one run; data and weights are opened when they are first used.

    Whatever is drawn at random is drawn from streams that the analysis names, so that a second
    call gives the same numbers, and that do not depend on the method, so that methods are compared
    on the same samples.
    """

    def __init__(
        self, record: Record, settings: RunSettings, among: Collection[Record] = ()
    ) -> None:
        """Look at a run; `among` are all runs that were chosen, as `Analysis.lacks` sees them."""
        self.record, self.settings, self.among = record, settings, among

    @staticmethod
    def weights_of(record: Record) -> Path | None:
        """Return the file of the weights that a run kept, None where it kept none."""
        return kept.find(record.folder) if record.folder else None

    @staticmethod
    def keeps_last(record: Record) -> bool:
        """Return whether the weights that a run kept are those of the last validation."""
        path = FinishedRun.weights_of(record)
        return path is not None and path == kept.file(path.parent, "last")

    @property
    def spec(self) -> RunSpec:
        """The run."""
        return self.record.spec

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that it was trained on, in the dataset's order."""
        return self.spec.modalities

    @property
    def device(self) -> torch.device:
        """What to compute on."""
        return self.settings.torch_device()

    @cached_property
    def dataset(self) -> MultimodalDataset:
        """The data that the run was trained on.

        Raises:
            UsageError: it cannot be found, or has changed since.
        """
        spec = self.spec
        dataset = self.settings.open_dataset(spec.dataset, spec.options)
        dataset.prepare(spec.modalities)
        if dataset.fingerprint(spec.modalities) != spec.data:
            raise UsageError(
                f"the data of {spec.dataset} is not what the run was trained on; name the folder "
                f"that it was: --data-root {spec.dataset}=DIR"
            )
        return dataset

    @cached_property
    def _rebuilt(self) -> tuple[Method, MultimodalModel]:
        setup.check_starts(self.spec, self.settings)
        path = self.weights_of(self.record)
        assert path is not None, "an analysis that needs weights looks for them first"
        return kept.rebuilt(self.spec, self.dataset, self.settings, path)

    def model_of(self, other: Record) -> MultimodalModel:
        """Return the model of another run on the same data, with the weights that it kept."""
        path = self.weights_of(other)
        assert path is not None, "a run is compared with runs that kept their weights"
        return kept.rebuilt(other.spec, self.dataset, self.settings, path)[1]

    @property
    def method(self) -> Method:
        """The method as it predicts, in evaluation mode."""
        return self._rebuilt[0]

    @property
    def model(self) -> MultimodalModel:
        """The model with the weights that were validated and tested, in evaluation mode."""
        return self._rebuilt[1]

    def predicted(self, part: Role) -> Predicted:
        """Return the stored predictions, with logits.

        Raises:
            UsageError: they are damaged.
        """
        found = self.record.predicted(RULE, part)
        if found is None or found.logits is None:
            raise UsageError("its stored predictions are damaged; train again with --force")
        return found

    def samples(self, part: Role, most: int = 0) -> list[Sample]:
        """Return the samples of a part in order, or as many as `most`, drawn without a method."""
        found: list[Sample] = self.dataset.parts(self.spec.sources, self.spec.target)[part]
        names = ("analysis", part, self.spec.dataset, self.spec.target)
        return seeds.some(found, most, *names) if most else found

    def batches(
        self,
        samples: Sequence[Sample],
        dataset: MultimodalDataset | None = None,
        size: int | None = None,
    ) -> Iterator[Batch]:
        """Yield samples through the frozen stages, with evaluation transforms.

        Args:
            samples: in the order in which they come.
            dataset: that the samples are of, if not the run's own.
            size: samples per batch, if not as many as evaluation takes.
        """
        dataset = dataset or self.dataset
        for inputs in self.inputs(samples, dataset, size=size):
            yield self.stemmed(inputs, dataset)

    def inputs(
        self,
        samples: Sequence[Sample],
        dataset: MultimodalDataset | None = None,
        modalities: Sequence[str] = (),
        size: int | None = None,
    ) -> Iterator[Inputs]:
        """Yield samples in batches as they are loaded in evaluation.

        Args:
            samples: in the order in which they come.
            dataset: that the samples are of, if not the run's own.
            modalities: to load, if not all of the run.
            size: samples per batch, if not as many as evaluation takes.
        """
        dataset = dataset or self.dataset
        workers = setup.workers(self.spec, dataset, self.settings)
        pinned = self.device.type == "cuda"
        feed = Feed(dataset, modalities or self.modalities, self.spec.sources, workers, pinned)
        try:
            yield from Loader(feed, samples, self.spec.recipe.batch_size).evaluation(size)
        finally:
            feed.close()

    def stemmed(self, inputs: Inputs, dataset: MultimodalDataset | None = None) -> Batch:
        """Return inputs, of any of the run's modalities, through the frozen stages.

        Args:
            inputs: as `inputs` yields them.
            dataset: that they are of, if not the run's own.
        """
        scales = setup.scales(dataset or self.dataset)
        seen = inputs.to(self.device).scaled(scales)
        features = self.model.stem(seen.tensors, training=False)
        return Batch(features, seen.labels, seen.domains, seen.ids)

    def predict(
        self, samples: Sequence[Sample], dataset: MultimodalDataset | None = None
    ) -> Predictions:
        """Return what the run predicts of samples; the arguments are those of `batches`."""
        batches = self.batches(samples, dataset)
        return evaluate.predict(self.method, batches, {"it": self.model})["it"]

    @torch.no_grad()
    def embeddings(self, samples: Sequence[Sample]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the embeddings [N, D_k] of samples by modality, and their labels [N]."""
        found: dict[str, list[Tensor]] = {k: [] for k in self.modalities}
        labels = []
        for batch in self.batches(samples):
            for k, z in self.model.embed(batch.features).items():
                found[k].append(z)
            labels.append(batch.labels)
        return {k: torch.cat(z) for k, z in found.items()}, torch.cat(labels)

    @torch.no_grad()
    def classified(self, embeddings: Mapping[str, Tensor], present: Sequence[str]) -> Tensor:
        """Return the fused logits [N, C] where only some modalities are present."""
        like = next(iter(embeddings.values()))
        mask = {
            k: torch.full((len(like),), k in present, device=like.device) for k in self.modalities
        }
        return self.method.classify(embeddings, mask, self.model)[FUSED]
