"""Out-of-distribution detection: can the run tell samples that it was never trained for?"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import datasets
from benchmark.analysis import confidence, register
from benchmark.analysis.base import Analysis
from benchmark.analysis.confidence import Floats
from benchmark.analysis.finished import FinishedRun
from benchmark.records.read import Record
from benchmark.training import setup
from datasets.base import HOLD_OUT, MultimodalDataset, Sample
from methods.base import FUSED
from methods.hyperparameters import hyper
from mmdg_common import UsageError, unknown

CONSTANT = 1e-5
"""Range of a score over all samples up to which it tells nothing apart but rounding."""


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    against: str = hyper(
        "", "dataset whose samples are out of distribution; none: the classes held out"
    )
    against_domains: str = hyper("", "its domains, joined by commas; none: all")


@register("ood")
class OutOfDistribution(Analysis):
    """How well do three scores tell the target from what no training was for?

    In distribution is the run's target part. Out of distribution are the target's samples of the
    classes that the run was trained without, or another dataset with the same modalities, whose
    options are the run's where it has options of the same names.

    A score is high for what looks familiar: the highest softmax probability (Hendrycks and Gimpel,
    ICLR 2017), the highest logit (Hendrycks et al., ICML 2022), and minus the energy at T = 1,
    log Σ_c exp f_c (Liu et al., NeurIPS 2020). AUROC, `aupr_out` and FPR95 take out-of-distribution
    samples as positive, so FPR95 is the share of the target that is rejected where 95 % of the
    foreign samples are; `aupr_in` takes the target as positive. AUROC is the same either way.
    """

    about = "telling held-out classes, or another dataset, from the target: AUROC, AUPR, FPR95."
    Settings = Settings

    def check(self) -> None:
        """Raise UsageError where there is no such dataset."""
        super().check()
        if self.settings.against:
            datasets.get(self.settings.against)
        elif self.settings.against_domains:
            raise UsageError("ood.against_domains: say of which dataset, with --set ood.against=")

    def lacks(self, record: Record, among: Collection[Record]) -> str:
        """Return why a run has nothing out of distribution, and what to do."""
        if reason := super().lacks(record, among):
            return reason
        if self.settings.against == record.spec.dataset:
            return "trained on the dataset it would be tested against; name another one"
        if self.settings.against or record.spec.options.get(HOLD_OUT):
            return ""
        return (
            f"no class was held out; train with --dataset-option {HOLD_OUT}=CLASS,CLASS, or name "
            "another dataset: --set ood.against=DATASET"
        )

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the measures of each score, and what is out of distribution."""
        dataset, samples, told = self._outside(run)
        known = run.predict(run.samples("target"))
        inside = known.logits[FUSED].double().numpy()
        outside = run.predict(samples, dataset=dataset).logits[FUSED].double().numpy()
        return {
            "in": len(inside),
            "out": len(outside),
            **told,
            "accuracy": float((inside.argmax(axis=1) == known.labels.numpy()).mean()),
            "scores": {
                name: separation(score, scores(outside)[name])
                for name, score in scores(inside).items()
            },
        }

    def _outside(
        self, run: FinishedRun
    ) -> tuple[MultimodalDataset, Sequence[Sample], dict[str, Any]]:
        """Return a dataset, its samples that are out of distribution, and what to say of them."""
        if not self.settings.against:
            target = run.spec.target
            samples = run.dataset.of_held_out_classes(target)
            if not samples:
                raise UsageError(f"{target} has no sample of the classes that were held out")
            return run.dataset, samples, {"classes": run.spec.options[HOLD_OUT]}
        other = _opened(run, self.settings.against)
        domains = other.card.domains
        if asked := self.settings.against_domains:
            domains = tuple(name.strip() for name in asked.split(","))
        for name in domains:
            if name not in other.card.domains:
                raise unknown(f"domain of {other.card.name}", name, other.card.domains)
        found = {s.id: s for domain in domains for s in other.samples(domain, "target")}
        told = {"domains": domains, "data": other.fingerprint(run.modalities)}
        return other, list(found.values()), told


def _opened(run: FinishedRun, name: str) -> MultimodalDataset:
    """Return another dataset that the run can read, ready to load.

    Raises:
        UsageError: it cannot be found, or has other modalities or shapes.
    """
    names = vars(datasets.get(name).Options())
    options = {key: value for key, value in run.spec.options.items() if key in names}
    other = run.settings.open_dataset(name, options)
    there = {modality.name: modality.shape for modality in other.card.modalities}
    for k, shape in setup.shapes(run.spec, run.dataset).items():
        if k not in there:
            raise UsageError(f"{name} has no {k}; name a dataset with the modalities of the run")
        if there[k] != shape:
            raise UsageError(
                f"{k} has the shape {there[k]} in {name}, and the run was trained on {shape}; name "
                "a dataset with the same shapes"
            )
    other.prepare(run.modalities)
    return other


def scores(logits: Floats) -> dict[str, Floats]:
    """Return by name the scores [N] of logits [N, C], each high for what looks familiar."""
    highest = logits.max(axis=1)
    return {
        "msp": confidence.softmax(logits).max(axis=1),
        "max_logit": highest,
        "energy": highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1)),
    }


def separation(inside: Floats, outside: Floats) -> dict[str, Any]:
    """Return how well a score, high in distribution, tells [N] samples from [M] others.

    All are None, with the reason, for a score that is the same for every sample, such as the
    energy of logarithms of probabilities.
    """
    score = np.concatenate([inside, outside])
    out = np.arange(len(score)) >= len(inside)
    if np.ptp(score) < CONSTANT:
        measures = dict.fromkeys(("auroc", "aupr_in", "aupr_out"))
        reason = "the score is the same for all samples"
        return {**measures, "fpr95": {"first": None, "nearest": None}, "reason": reason}
    return {
        "auroc": confidence.auroc(-score, out),
        "aupr_in": confidence.aupr(score, ~out),
        "aupr_out": confidence.aupr(-score, out),
        "fpr95": confidence.fpr95(-score, out),
    }
