"""The loss on the straight line between two runs that differ in nothing but the seed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmark.analysis import register
from benchmark.analysis.base import Analysis, finite
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.surface import PARTS, Fused, Point, Surface, Weights, sampled
from benchmark.records.read import Record
from benchmark.training.model import MultimodalModel
from methods.base import Batch, Method
from methods.hyperparameters import hyper
from methods.shared.averaging import copied, trained
from mmdg_common import UsageError


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    samples: int = sampled()
    points: int = hyper(11, "points on the line, its ends included", low=3)
    partner: int = hyper(0, "the seed of the run that all others of a cell are compared with")


@register("interpolation")
class Interpolation(Analysis):
    """Do two seeds end in one basin of the loss?

    The barrier is the highest rise of the loss above the straight line between its two ends
    (Entezari et al., ICLR 2022; Frankle et al., ICML 2020, subtract the mean of the ends); that of
    the accuracy is the deepest fall below it. Weights are not permuted to match each other.
    Batch-norm statistics are interpolated as the weights are (`linear`), or computed anew on
    samples of the sources' train part at every point, the ends included (`reset`; Jordan et al.,
    REPAIR, ICLR 2023). What a method predicts with beside weights, such as which branch is the
    best, is that of the run itself throughout.
    """

    about = "loss and accuracy on the line to the same run with another seed; the barriers."
    Settings = Settings

    def lacks(self, record: Record, among: Collection[Record]) -> str:
        """Return why a run cannot be measured; each pair is measured once."""
        if reason := super().lacks(record, among):
            return reason
        seed = self.settings.partner
        if record.spec.seed == seed:
            return f"seed {seed} is the one that the others are compared with"
        other = self._partner(record, among)
        if other is None or super().lacks(other, among) or self.told(other) != self.told(record):
            return (
                f"there is no such run with seed {seed} and the same weights kept; train it, or "
                "name another seed with --set interpolation.partner=SEED"
            )
        return ""

    def _partner(self, record: Record, among: Collection[Record]) -> Record | None:
        wanted = replace(record.spec, seed=self.settings.partner).id
        return next((r for r in among if r.spec.id == wanted and r.result is not None), None)

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the places on the line, 0 the run and 1 its partner, and what is there."""
        partner = self._partner(run.record, run.among)
        assert partner is not None, "a run without a partner is left out"
        own, other = run.model, run.model_of(partner)
        _check_stems(own, other)
        asked, line = self.settings, Line(run.method, own, other)
        alphas = [i / (asked.points - 1) for i in range(asked.points)]
        batches = {part: list(run.batches(run.samples(part, asked.samples))) for part in PARTS}
        train = list(run.batches(run.samples("train", asked.samples)))
        values: dict[str, Any] = {part: {} for part in PARTS}
        for kind, refreshed in (("linear", ()), ("reset", train)):
            points: dict[str, list[Point]] = {part: [] for part in PARTS}
            for alpha in alphas:
                model = line.at(alpha, refreshed)
                for part in PARTS:
                    points[part].append(Surface(model, batches[part]).at({}))
            for part in PARTS:
                values[part][kind] = profile(alphas, points[part])
        return {"alphas": alphas, **values}


class Line:
    """The models between two of a method, whose frozen stages are the same."""

    def __init__(self, method: Method, start: MultimodalModel, end: MultimodalModel) -> None:
        """Look at two models, which stay as they are; `method` says how they predict."""
        self._model = copied(start)
        self._fused = Fused(method, self._model)
        self._start, self._end = _tensors(start), _tensors(end)

    def at(self, alpha: float, train: Sequence[Batch] = ()) -> Fused:
        """Return the model at a place, 0..1, good until the next call.

        With `train`, the statistics of its batch norm are of those batches.
        """
        between = {
            name: torch.lerp(a, self._end[name], alpha) if a.is_floating_point() else a
            for name, a in self._start.items()
        }
        self._model.load_state_dict(between, strict=False)
        if train:
            self._model.refresh_batch_norms(train)
        return self._fused


def _tensors(model: MultimodalModel) -> Weights:
    """Return copies of all that training changes."""
    found = trained(model) | model.changing_buffers()
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def _check_stems(own: MultimodalModel, other: MultimodalModel) -> None:
    for k in own.stemmed:
        stems = (model.encoder(k).stem.state_dict().values() for model in (own, other))
        if not all(torch.equal(a, b) for a, b in zip(*stems, strict=True)):
            raise UsageError(
                f"the frozen stages of {k} are random and differ between seeds; train with "
                f"--weights {k}=FILE"
            )


def profile(alphas: Sequence[float], points: Sequence[Point]) -> dict[str, Any]:
    """Return loss and accuracy on the line and their barriers.

    max_α [L(α) - (L(0) + α (L(1) - L(0)))], and of the accuracy the same with the other sign. The
    least is 0, as the ends are on that line.
    """
    losses, accuracies = [p.loss for p in points], [p.accuracy for p in points]
    return {
        "loss": [finite(loss) for loss in losses],
        "accuracy": accuracies,
        "loss_barrier": finite(_rise(alphas, losses)),
        "accuracy_barrier": _rise(alphas, [-accuracy for accuracy in accuracies]),
    }


def _rise(alphas: Sequence[float], values: Sequence[float]) -> float:
    start, end = values[0], values[-1]
    rises = [v - (start + a * (end - start)) for a, v in zip(alphas, values, strict=True)]
    return torch.tensor(rises, dtype=torch.float64).max().item()
