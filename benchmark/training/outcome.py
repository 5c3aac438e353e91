"""The outcome of a training run, handed to the room that writes it down."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from benchmark.training import evaluate
from benchmark.training.evaluate import Predictions
from benchmark.training.model import MultimodalModel
from benchmark.training.passes import Passes
from methods.base import Batch, Method
from methods.shared.averaging import copied

Batches = Callable[[MultimodalModel], Iterable[Batch]]
"""Yields a part of the data through the stem of a model."""


@dataclass(frozen=True)
class Outcome:
    """All that is kept of a finished run."""

    rules: Mapping[str, Any]
    """By selection rule: the epoch and step it chose, and the scores there."""
    predictions: Mapping[str, np.ndarray]
    """Arrays by `rule/part/name`: ids, groups, labels, domains and logits by head."""
    records: Sequence[Mapping[str, Any]]
    """One per validation."""
    weights: Mapping[str, Mapping[str, Tensor]]
    """By selection rule, the tensors that training can change, as they were at its validation."""
    state: Mapping[str, Any]
    """What the method predicts with beside them."""
    shapes: Mapping[str, Sequence[int]]
    """Of one sample, by modality."""
    summary: Mapping[str, Any]
    """The method's own summary of the run."""
    classes: Sequence[str]
    """Names, in the order of the logits."""
    left_out: Mapping[str, str]
    """Samples that cannot be read, by id, with the reason."""
    duplicates: Sequence[Sequence[Mapping[str, Any]]]
    """Groups of files that hold the same recording in several domains or parts."""
    parameters: int
    """Trained parameters of the model, without those that a method adds."""
    passes: Passes | None
    seconds: float
    """Wall time, that before the last resume included, and without filling the feature cache."""
    peak_memory_mb: float
    segments: Sequence[Mapping[str, Any]]
    """Who trained it: one for each start whose steps count, of `provenance.History`."""


def measured(
    chosen: Mapping[str, Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    measure: Callable[[Mapping[str, Any]], dict[str, Any]],
    groups: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the scores of every selection rule, and the predictions that they are of.

    Args:
        chosen: by rule: the number of the validation it chose, weights and predictions there.
        records: of all validations.
        measure: returns the scores of what a rule chose; called once per validation.
        groups: what each sample was recorded from, coarse to fine, by its id.
    """
    rules: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    scores: dict[int, dict[str, Any]] = {}
    for rule, kept in chosen.items():
        for part, state in kept["predictions"].items():
            predictions = Predictions(**state)
            arrays |= predictions.arrays(f"{rule}/{part}")
            arrays[f"{rule}/{part}/groups"] = np.array([groups[i] for i in predictions.ids])
        number = kept["record"]
        if number not in scores:
            scores[number] = measure(kept)
        at = records[min(number, len(records) - 1)]
        rules[rule] = {"epoch": at["epoch"], "step": at["step"], **scores[number]}
    return rules, arrays


def scores_of(
    kept: Mapping[str, Any],
    method: Method,
    model: MultimodalModel,
    train: Batches,
    target: Batches,
) -> dict[str, Any]:
    """Return the scores of each part, and on the target, if there is one, of each modality.

    Args:
        kept: weights and predictions at a validation.
        method: predicts.
        model: of the run; the weights are put into a copy of it.
        train: the train part, for linear probes.
        target: the target part.
    """
    parts = {part: Predictions(**state) for part, state in kept["predictions"].items()}
    scores = {part: evaluate.part_scores(predictions) for part, predictions in parts.items()}
    if "target" not in parts:
        return scores
    chosen = copied(model)
    chosen.load_state_dict(kept["weights"], strict=False)
    scores["target"]["modalities"] = evaluate.modality_scores(
        method, chosen, lambda: train(chosen), lambda: target(chosen), parts["target"].logits
    )
    return scores
