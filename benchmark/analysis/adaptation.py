"""Test-time adaptation: what a run gains where it may adapt to the target as it comes."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from benchmark.analysis import register
from benchmark.analysis.adapt import EVALUATORS
from benchmark.analysis.adapt.base import Evaluator
from benchmark.analysis.adapt.settings import Settings
from benchmark.analysis.base import Analysis, chosen
from benchmark.analysis.finished import FinishedRun
from benchmark.training import seeds
from datasets.base import Sample
from methods.base import FUSED

ALL = "all"


@register("adaptation")
class Adaptation(Analysis):
    """How accurate are evaluators that adapt the kept weights to a stream of target batches?

    The samples of the target come once, in an order drawn without the method, and no label is
    seen. Each evaluator adapts a copy of the model: `before` is the accuracy of the predictions
    made before each batch's own update, `after` that of the same batches right after it. Tent, SAR
    and AEO publish the former, T3A the latter, and READ both.
    """

    about = "accuracy of Tent, T3A, SAR, READ and AEO on the target as a stream of batches."
    Settings = Settings

    @property
    def chosen(self) -> list[str]:
        """The evaluators that are asked for, in their order."""
        return chosen("evaluator", self.settings.evaluators, list(EVALUATORS), ALL)

    def check(self) -> None:
        """Raise UsageError where there is no such evaluator."""
        super().check()
        _ = self.chosen

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return accuracies without adaptation, and of each evaluator before and after updates."""
        reasons = {k: EVALUATORS[k].lacks(run.method, run.model) for k in self.chosen}
        evaluators: dict[str, Evaluator] = {
            name: EVALUATORS[name](run.method, run.model, self.settings)
            for name, reason in reasons.items()
            if not reason
        }
        right: Counter[str] = Counter()
        samples = stream(run)
        for batch in run.batches(samples, size=self.settings.batch_size):
            plain = run.method.predict(batch.features, model=run.model)[FUSED]
            right["without"] += _right(plain, batch.labels)
            for name, evaluator in evaluators.items():
                before, after = evaluator.adapt(batch.features)
                right[f"{name} before"] += _right(before, batch.labels)
                right[f"{name} after"] += _right(after, batch.labels)
        n = len(samples)
        values: dict[str, dict[str, Any]] = {}
        for name, reason in reasons.items():
            if reason:
                values[name] = {"before": None, "after": None, "reason": reason}
            else:
                values[name] = {when: right[f"{name} {when}"] / n for when in ("before", "after")}
                values[name] |= evaluators[name].facts()
        return {"n": n, "without": right["without"] / n, "evaluators": values}


def stream(run: FinishedRun) -> list[Sample]:
    """Return the target's samples in the order in which they come, the same for all methods."""
    samples = run.samples("target")
    drawn = seeds.generator(0, "analysis", "stream", run.spec.dataset, run.spec.target)
    return [samples[i] for i in torch.randperm(len(samples), generator=drawn)]


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(dim=1) == labels).sum())
