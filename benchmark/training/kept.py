"""The weights that a finished run keeps, and the run rebuilt from them to predict new samples.

A file holds every tensor that training can change, statistics of the training data included: the
encoders' batch norm computes them, so nothing of new samples enters their scaling. Frozen stages
come from their checkpoint or from the run's seed, as they did in training.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import methods
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from benchmark.training import checkpoint, evaluate, seeds, setup
from benchmark.training.evaluate import Predictions
from benchmark.training.loader import Feed, Loader
from benchmark.training.model import MultimodalModel
from datasets.base import MultimodalDataset, Sample
from methods.base import Batch, Method, Run
from methods.shared.averaging import trained

STATE = "method"
"""What the method predicts with stands under this name, beside those of the model's tensors."""


class UnfitWeightsError(Exception):
    """Kept weights are not those of the run's model."""


def file(folder: Path, which: str) -> Path:
    """Return where a run's folder holds the weights of the `best` or the `last` validation."""
    return folder / f"weights-{which}.pt"


def save(path: Path, weights: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write weights, and beside them what the method predicts with.

    Raises:
        OSError: the file cannot be written.
    """
    checkpoint.save(path, {**weights, **({STATE: dict(state)} if state else {})})


def find(folder: Path) -> Path | None:
    """Return the file of weights that a run kept, those of the best validation first."""
    return next(
        (path for which in ("best", "last") if (path := file(folder, which)).exists()), None
    )


def rebuilt(
    spec: RunSpec, dataset: MultimodalDataset, settings: RunSettings, path: Path
) -> tuple[Method, MultimodalModel]:
    """Return the method of a run as it predicts, and the model with the kept weights.

    Args:
        spec: of the run.
        dataset: has the shapes and classes that the run was trained on.
        settings: where to compute, and what frozen stages start from.
        path: the file of the weights.

    Raises:
        UnfitWeightsError: the file is of another model.
        UnreadableCheckpointError: it is damaged.
    """
    tensors = checkpoint.load(path, torch.device("cpu"))
    state = tensors.pop(STATE, {})
    model = setup.model(spec, dataset, settings)
    method = methods.create(spec.method, spec.hyperparameters)
    torch.manual_seed(seeds.stream(spec.seed, "method", "init"))
    method.setup(model, _run_info(spec, len(dataset.card.classes)))
    lacking = {*trained(model), *model.changing_buffers()} - tensors.keys()
    foreign = tensors.keys() - model.state_dict().keys()
    if lacking or foreign or method.prediction_state().keys() != state.keys():
        raise UnfitWeightsError(f"{path} does not hold what {spec.method} predicts with")
    try:
        model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UnfitWeightsError(f"{path} is of another model: {error}") from error
    method.set_prediction_state(state)
    return method.to(settings.torch_device()).eval(), model


def _run_info(spec: RunSpec, classes: int) -> Run:
    """Return the run as a method sees it that only predicts: without data to train on."""
    return Run(
        modalities=spec.modalities,
        domains=spec.sources,
        classes=classes,
        total_steps=max(1, spec.recipe.steps or spec.recipe.epochs),
        ema_warmup=spec.protocol.ema_warmup,
        average_bn=spec.protocol.average_bn,
        generator=seeds.generator(spec.seed, "method"),
        train_loader=lambda: (),
        val_loader=lambda: (),
        refresh_bn=lambda model: None,
        reset_optimizer=lambda: None,
    )


def predict(
    spec: RunSpec,
    dataset: MultimodalDataset,
    settings: RunSettings,
    path: Path,
    samples: Sequence[Sample],
) -> Predictions:
    """Return what a run predicts of samples, at least one, from the weights it kept.

    The arguments and errors are those of `rebuilt`.
    """
    method, model = rebuilt(spec, dataset, settings, path)
    device, scales = settings.torch_device(), setup.scales(dataset)
    workers = setup.workers(spec, dataset, settings)
    feed = Feed(dataset, spec.modalities, spec.sources, workers, pinned=device.type == "cuda")
    loader = Loader(feed, samples, spec.recipe.batch_size)

    def batches() -> Iterator[Batch]:
        for inputs in loader.evaluation():
            inputs = inputs.to(device).scaled(scales)
            features = model.stem(inputs.tensors, training=False)
            yield Batch(features, inputs.labels, inputs.domains, inputs.ids)

    try:
        return evaluate.predict(method, batches(), {"kept": model})["kept"]
    finally:
        feed.close()
