"""Checks through the engine: whole runs on a tiny synthetic dataset."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from benchmark.contract.case import TINY, Case, TinyRun, outcome, result_of
from benchmark.contract.toys import assert_same, expect, tensors
from benchmark.training import kept
from benchmark.training.model import MultimodalModel
from benchmark.training.watcher import Silent
from datasets.base import Role, Sample
from datasets.synthetic import Synthetic
from methods.base import FUSED
from mmdg_common import UsageError

SHORT = {"recipe": {"epochs": 1}}


class _Interrupted(Silent):
    def __init__(self, after: int) -> None:
        self.after = after

    def step(self, step: int, total: int) -> None:
        if step == self.after:
            raise KeyboardInterrupt


def resumes(case: Case) -> None:
    """A run that was interrupted twice and resumed has the numbers of one that was not."""
    for after in (3, 8):  # in the first epoch, and in the second
        training = case.training("interrupted", checkpoint_every=0)
        with contextlib.suppress(KeyboardInterrupt):
            training.run(_Interrupted(after))
    if training.folder.result() is None:
        case.finished("interrupted")
    assert_same(outcome(training.folder), outcome(case.whole.folder), "resumed run")


def takes_any_number_of_modalities(case: Case) -> None:
    """Any number of modalities within the declared limits trains; others are refused."""
    for count in (1, 2, 3, 4):
        options = TINY | {"modalities": str(count), "samples_per_class": "5"}
        options["domains"] = str(max(2, case.least_domains) + 1)
        changes: dict[str, Any] = {"dataset_options": options, "modalities": (), **SHORT}
        if count == len(case.whole.spec.modalities):
            _has_scores(case.whole, count)
        elif case.least_modalities <= count <= case.most_modalities:
            with _saying(f"with {count} modalities"):
                _has_scores(case.finished(f"{count} modalities", **changes), count)
        else:
            try:
                case.training(f"{count} modalities", **changes)
            except UsageError:
                continue
            raise AssertionError(f"{count} modalities are outside of the limits, yet planned")


def takes_one_and_three_sources(case: Case) -> None:
    """One and three source domains train, where the declared limit allows."""
    options = TINY | {"domains": "4", "modalities": str(max(case.least_modalities, 2))}
    options["samples_per_class"] = "5"
    for sources in (("d1",), ("d1", "d2", "d4")):
        changes: dict[str, Any] = {"dataset_options": options, "sources": sources, **SHORT}
        if len(sources) >= case.least_domains:
            with _saying(f"with {len(sources)} source domains"):
                training = case.finished(f"{len(sources)} sources", target="d3", **changes)
                _has_scores(training, len(training.spec.modalities))


def _has_scores(training: TinyRun, modalities: int) -> None:
    for rule, scores in result_of(training.folder)["rules"].items():
        expect(0 <= scores["target"]["accuracy"] <= 1, f"{rule}: no accuracy")
        expect(len(scores["target"]["modalities"]) == modalities, f"{rule}: modalities are missing")


@contextlib.contextmanager
def _saying(where: str) -> Iterator[None]:
    """Name the place in what is raised."""
    try:
        yield
    except Exception as error:
        error.args = (f"{where}: {error}",)
        raise


def scores_are_of_the_stored_predictions(case: Case) -> None:
    """The scores are those of the chosen validation and of the stored predictions."""
    folder = case.whole.folder
    arrays, records = np.load(folder.path / "predictions.npz"), folder.metrics()
    rules = result_of(folder)["rules"]
    expected = {"best-val", "last", "oracle", "reference"}
    expected |= {"own"} if case.declares("own_rule") else set()
    expect(set(rules) == expected, f"selection rules {sorted(rules)} are not {sorted(expected)}")
    best = max(records, key=lambda r: (r["val"][FUSED]["accuracy"], -r["val"][FUSED]["loss"]))
    later = max(records, key=lambda r: (r["val"][FUSED]["accuracy"], r["epoch"]))
    reference = records[-1] if case.classes[-1].published.reports == "last" else later
    for rule, record in (("best-val", best), ("last", records[-1]), ("reference", reference)):
        expect(rules[rule]["epoch"] == record["epoch"], f"{rule} chose another validation")
    for rule, part in itertools.product(rules, ("val", "target")):
        predicted, labels = arrays[f"{rule}/{part}/predicted"], arrays[f"{rule}/{part}/labels"]
        accuracy = float((predicted == labels).mean())
        scores, record = rules[rule][part], records[rules[rule]["epoch"]]
        expect(scores["n"] == len(labels), f"{rule}/{part}: samples are missing")
        off = abs(scores["accuracy"] - accuracy)
        expect(off <= 1e-9, f"{rule}/{part}: {scores['accuracy']} is not {accuracy}")
        if rule != "own":
            same = scores["accuracy"] == record[part][FUSED]["accuracy"]
            expect(same, f"{rule}/{part}: not the accuracy of its validation")


def kept_weights_predict_what_is_stored(case: Case) -> None:
    """A method built anew from what is kept gives the predictions that are stored."""
    training = case.whole
    rule = "own" if case.declares("own_rule") else "best-val"
    arrays = np.load(training.folder.path / "predictions.npz")
    spec, how = training.spec, training.settings
    path = kept.file(training.folder.path, "best")
    dataset = how.open_dataset(spec.dataset, spec.options)
    for part, batches in (("val", training.val_part), ("target", training.target_part)):
        predicted = kept.predict(spec, dataset, how, path, batches.samples)
        for head, logits in predicted.logits.items():
            stored = arrays[f"{rule}/{part}/{head}"]
            same = np.array_equal(logits.half().numpy(), stored)
            expect(same, f"{rule}/{part}/{head}: other predictions")


class _Mislabelled(Synthetic):
    """The synthetic dataset with every label of the target wrong."""

    def samples(self, domain: str, role: Role) -> tuple[Sample, ...]:
        samples = super().samples(domain, role)
        if role != "target":
            return tuple(samples)
        classes = len(self.card.classes)
        wrong = [(s.label + 1 + i % 2) % classes for i, s in enumerate(samples)]
        return tuple(Sample(s.id, y, s.domain) for s, y in zip(samples, wrong, strict=True))


def never_sees_the_targets_labels(case: Case) -> None:
    """The target domain's labels never reach the method."""
    poisoned = _Mislabelled(None, None, case.whole.spec.options)
    training = case.finished("poisoned", dataset=poisoned)
    true, false = outcome(case.whole.folder), outcome(training.folder)
    labels = [o["predictions"]["last/target/labels"] for o in (true, false)]
    expect(not any(a == b for a, b in zip(*labels, strict=True)), "nothing was poisoned")
    seen = [[{**record, "target": None} for record in o["records"]] for o in (true, false)]
    assert_same(seen[1], seen[0], "metrics")
    assert_same(false["method"], true["method"], "summary")
    for rule in set(true["rules"]) - {"oracle"}:
        for key in ("epoch", "step", "val"):
            assert_same(false["rules"][rule][key], true["rules"][rule][key], f"{rule}/{key}")
        for part, head in itertools.product(("val", "target"), (FUSED, *training.spec.modalities)):
            at = f"{rule}/{part}/{head}"
            assert_same(false["predictions"].get(at), true["predictions"].get(at), at)


def starts_as_erm_does(case: Case) -> None:
    """It starts from the weights of ERM, but for heads it replaces, and sees the same batches."""
    starts, orders = [], []
    for name in ("erm", case.composition):
        with _replaced_heads() as replaced:
            training = case.training(f"start of {name}", composition=name)
        starts.append(tensors(training.model))
        epochs = (training.train_part.training_epoch(epoch) for epoch in (0, 1))
        orders.append([inputs.ids for epoch in epochs for inputs in epoch])
    kept = [
        {name: x for name, x in start.items() if not name.startswith(tuple(replaced))}
        for start in starts
    ]
    assert_same(kept[1], kept[0], "initial weights")
    assert_same(orders[1], orders[0], "batches")


@contextlib.contextmanager
def _replaced_heads() -> Iterator[set[str]]:
    """Note which heads are replaced while the block lasts, as prefixes of names."""
    replaced: set[str] = set()
    replace = MultimodalModel.replace_heads

    def note(model, fusion=None, unimodal=None):  # type: ignore[no-untyped-def]
        replaced.update(["fusion."] if fusion is not None else [])
        replaced.update(f"heads.{k}." for k in unimodal or ())
        replace(model, fusion, unimodal)

    with mock.patch.object(MultimodalModel, "replace_heads", note):
        yield replaced


CHECKS = (
    resumes,
    takes_any_number_of_modalities,
    takes_one_and_three_sources,
    scores_are_of_the_stored_predictions,
    kept_weights_predict_what_is_stored,
    never_sees_the_targets_labels,
    starts_as_erm_does,
)
