"""The record of a finished run: scores and predictions at every selection rule's validation."""

import copy
import time
from typing import TYPE_CHECKING, Any

import methods
from benchmark.records import provenance, selection
from benchmark.records.spec import RunSpec
from benchmark.training import checkpoint, evaluate
from benchmark.training.evaluate import Predictions
from datasets.base import MultimodalDataset
from methods.shared.averaging import trained

if TYPE_CHECKING:
    from benchmark.training.train import Training


def write(run: "Training") -> None:
    """Finalize the method, measure what every rule chose, and write the files of the record."""
    run.method.finalize()
    if any(cls.own_rule for cls in methods.components(run.spec.method)):
        _choose_own(run)
    arrays = {}
    rules: dict[str, Any] = {}
    measured: dict[int, dict[str, Any]] = {}
    for rule, kept in run.chosen.items():
        parts = {part: Predictions(**p) for part, p in kept["predictions"].items()}
        for part, predictions in parts.items():
            arrays.update(predictions.arrays(f"{rule}/{part}"))
        number = kept["record"]
        if number not in measured:
            measured[number] = _measure(run, kept["weights"], parts)
        at = run.records[min(number, len(run.records) - 1)]
        rules[rule] = {"epoch": at["epoch"], "step": at["step"], **measured[number]}
    run.folder.write_predictions(arrays)
    run.folder.write_metrics(run.records)
    _keep_weights(run)
    passes = run.passes.mean()
    run.folder.write_result(
        {
            "id": run.spec.id,
            "rules": rules,
            "classes": list(run.classes),
            "left_out": run.left_out,
            "method": run.method.summary(),
            "parameters": sum(p.numel() for p in trained(run.model).values()),
            # A mean over the steps of this process alone: of none, if all were made before.
            "passes": None if passes is None else vars(passes),
            "provenance": _provenance(run),
        }
    )
    run.folder.remove_checkpoints()


def left_out(dataset: MultimodalDataset, spec: RunSpec) -> dict[str, str]:
    """Return the samples of a run that cannot be read and are left out, with the reasons."""
    parts = dataset.parts(spec.sources, spec.target, listed=True)
    ids = [s.id for role in ("target", "train", "val") for s in parts[role]]
    return {name: dataset.skipped[name] for name in ids if name in dataset.skipped}


def _choose_own(run: "Training") -> None:
    """Validate and test, once, the weights that exist only now."""
    models = {selection.OWN: run.method.eval_model()}
    parts = {
        part: evaluate.predict(run.method, run.evaluation(loader), models)[selection.OWN].state()
        for part, loader in (("val", run.val_part), ("target", run.target_part))
    }
    run.chosen[selection.OWN] = {
        "record": len(run.records),
        "weights": run.weights(),
        "predictions": parts,
    }


def _measure(
    run: "Training", weights: dict[str, Any], parts: dict[str, Predictions]
) -> dict[str, Any]:
    chosen = copy.deepcopy(run.model)
    chosen.load_state_dict(weights, strict=False)
    scores = {part: evaluate.part_scores(predictions) for part, predictions in parts.items()}
    scores["target"]["modalities"] = evaluate.modality_scores(
        run.method,
        chosen,
        lambda: run.evaluation(run.train_part, chosen),
        lambda: run.evaluation(run.target_part, chosen),
        parts["target"].logits,
    )
    return scores


def _provenance(run: "Training") -> dict[str, Any]:
    root = run.settings.data_roots.get(run.spec.dataset)
    return {
        **provenance.collect(run.device),
        "data_root": None if root is None else str(root),
        "wall_s": run.seconds + time.monotonic() - run.started,
        "peak_memory_mb": provenance.peak_memory_mb(run.device),
    }


def _keep_weights(run: "Training") -> None:
    """Keep the reported weights if asked to."""
    keep = run.settings.keep_checkpoints
    if keep != "none":
        kept = run.chosen[{"best": "best-val", "last": "last"}[keep]]
        kept = run.chosen.get(selection.OWN, kept)
        checkpoint.save(run.folder.to_write(f"weights-{keep}.pt"), kept["weights"])
