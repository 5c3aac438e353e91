"""Hyper-parameter search: the setting of a method that is best on source validation.

A search is a set of runs that differ in hyper-parameters alone. Every method gets the same number
of settings, or fewer where its ranges have no more. Each split, set of modalities and seed is a
search of its own, and the target has no part in the choice.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.records import selection
from benchmark.records.run_folder import RunFolder, write_atomically
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store

Result = Mapping[str, Any]


def groups(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
    """Return the runs in groups that differ in hyper-parameters alone, in their order."""
    found: dict[str, list[RunSpec]] = {}
    for spec in specs:
        found.setdefault(replace(spec, hyperparameters={}).id, []).append(spec)
    return list(found.values())


def best(results: Sequence[Result | None], rule: str = "best-val") -> int | None:
    """Return the index of the highest source-validation accuracy, the first among equals.

    Args:
        results: of runs that differ in hyper-parameters alone; None where one is not done.
        rule: the selection rule whose validation counts, except for methods with their own.
    """
    found = {i: val_accuracy(r, rule) for i, r in enumerate(results)}
    accuracies = {i: accuracy for i, accuracy in found.items() if accuracy is not None}
    return max(accuracies, key=lambda i: (accuracies[i], -i)) if accuracies else None


def val_accuracy(result: Result | None, rule: str = "best-val") -> float | None:
    """Return the source-validation accuracy that counts in a search; None for a run not done."""
    if result is None:
        return None
    return float(result["rules"][selection.rule_of(result, rule)]["val"]["accuracy"])


def chosen(specs: Iterable[RunSpec], results: Path) -> list[RunFolder]:
    """Return the folder of the best run of every search; a run without others is one by itself.

    Args:
        specs: the runs, all of them done.
        results: the results folder.
    """
    store, found = Store(results), []
    for group in groups(specs):
        folders = [store.folder(spec) for spec in group]
        found.append(folders[best([folder.result() for folder in folders]) or 0])
    return found


def write(specs: Iterable[RunSpec], results: Path, seed: int) -> list[Path]:
    """Write the settings, accuracies and choice of every search.

    Args:
        specs: the runs of the searches.
        results: the results folder; the files go to `searches/` in it.
        seed: of the draws.

    Returns:
        One file per search.
    """
    store = Store(results)
    return [_write(group, store, seed) for group in groups(specs)]


def _write(group: Sequence[RunSpec], store: Store, seed: int) -> Path:
    first = group[0]
    folders = [store.folder(spec) for spec in group]
    found = [folder.result() for folder in folders]
    chosen = best(found)
    tried = [
        {
            "id": spec.id,
            "hyperparameters": spec.to_json()["hyperparameters"],
            "state": folder.status().state,
            "val_accuracy": val_accuracy(result),
        }
        for spec, folder, result in zip(group, folders, found, strict=True)
    ]
    content = {
        "search_seed": seed,
        "seed": first.seed,
        "selection": "highest source-validation accuracy, the first among equals",
        "tried": tried,
        "chosen": None if chosen is None else group[chosen].id,
    }
    ids = "".join(spec.id for spec in group)
    name = hashlib.sha256(ids.encode()).hexdigest()[:12]
    place = folders[0].path.parent.relative_to(store.runs)
    path = store.root / "searches" / place / f"{name}.json"
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return path
