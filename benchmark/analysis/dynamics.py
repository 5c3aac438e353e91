"""What drives each modality: gradients at the kept weights, and modality dropout over training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.analysis import dropping, register
from benchmark.analysis.base import Analysis, finite
from benchmark.analysis.dropping import Line
from benchmark.analysis.finished import RULE, FinishedRun
from benchmark.analysis.noise import Scatter
from benchmark.records.selection import rule_of
from benchmark.training import gradients, seeds
from benchmark.training.gradients import SAMPLES
from datasets.base import Role, Sample
from methods.base import FUSED
from methods.hyperparameters import hyper


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    samples: int = hyper(SAMPLES, "samples of each part that gradients are measured on", low=1)
    batches: int = hyper(
        20,
        "batches of the train part that the gradient's variance is over, many more than the "
        "variance that comes out; 0: all",
        low=0,
    )


@register("dynamics")
class Dynamics(Analysis):
    """Which modality does the loss still drive, and which one does dropout hold back?

    Gradients are those of cross-entropies in evaluation mode, by the trained tensors of each
    modality's encoder: of the fused prediction and of the modality's own, see
    `benchmark.training.gradients`. By default they are measured on the samples of
    `--log-gradients`, and are what it logs where a method validates the trained weights themselves.
    The variance of the stochastic gradient is E‖g_B - g‖² / ‖g‖² over batches of the recipe's size,
    drawn from the train part without replacement, g being that of all batches: what the choice of
    samples does, without augmentation and dropout.
    """

    about = "gradient norm and cosine of every modality, gradient variance, and drop rates."
    Settings = Settings

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the gradients on both parts, their variance, and what the run has logged."""
        lines = run.record.metrics()
        return {
            "train": self._of(run, "train"),
            "target": self._of(run, "target"),
            "variance": self._variance(run),
            "logged": dropping.logged(lines, run.modalities),
            "keeping_one": dropping.keeping_one(lines, run.spec, run.modalities, _kept(run, lines)),
        }

    def _of(self, run: FinishedRun, part: Role) -> dict[str, Any]:
        samples, size = run.samples(part, self.settings.samples), run.spec.recipe.batch_size
        tails = gradients.of_tails(run.method, run.model, run.batches(samples, size=size))
        found = {**gradients.measures(tails), "confidence": self._confidence(run, samples)}
        return {
            name: {k: finite(values.get(k)) for k in run.modalities}
            for name, values in found.items()
        }

    @torch.no_grad()
    def _confidence(self, run: FinishedRun, samples: Sequence[Sample]) -> dict[str, float | None]:
        """Return s_k / B of MBCD's equation 2: the mean highest probability of trained heads."""
        z, _ = run.embeddings(samples)
        logits = run.method.classify(z, None, run.model)
        return {
            k: u.softmax(dim=1).amax(dim=1).double().mean().item()
            for k, u in logits.items()
            if k != FUSED
        }

    def _variance(self, run: FinishedRun) -> dict[str, Any]:
        size, every = run.spec.recipe.batch_size, run.samples("train")
        names = ("analysis", "dynamics", run.spec.dataset, run.spec.target)
        order = torch.randperm(len(every), generator=seeds.generator(0, *names)).tolist()
        population = len(every) // size
        count = min(self.settings.batches or population, population)
        samples = [every[i] for i in order[: count * size]]
        scatter = Scatter(
            gradients.of_all(run.method, run.model, batch)
            for batch in run.batches(samples, size=size)
        )
        return {
            "batches": scatter.count,
            "total": finite(scatter.relative(population)),
            "modalities": {
                k: finite(scatter.relative(population, _tail(run, k))) for k in run.modalities
            },
        }


def _tail(run: FinishedRun, modality: str) -> set[str]:
    """Return the names in the model of one encoder's trained tensors."""
    own = {id(p) for p in run.model.tail_parameters(modality).values()}
    return {name for name, p in run.model.named_parameters() if id(p) in own}


def _kept(run: FinishedRun, lines: Sequence[Line]) -> int | None:
    """Return the number of the validation at which the kept weights were chosen."""
    if run.weights_of(run.record) is None or (result := run.record.result) is None:
        return None
    rule = "last" if run.keeps_last(run.record) else RULE
    step = result["rules"][rule_of(result, rule)]["step"]
    return next((i for i, line in enumerate(lines) if line.get("step") == step), None)
