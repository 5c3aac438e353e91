"""What tests of committed results share: a few real runs, a set of them, and ways to change one."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import results, run
from benchmark.records import provenance, verify
from benchmark.records.committed import CommittedSet
from benchmark.records.run_folder import RunFolder
from benchmark.records.scores import scores
from benchmark.records.store import Store

COMMIT = "c" * 40
ASKED = (
    *("--method", "erm", "swad", "unimodal", "--dataset", "synthetic", "--dataset-option"),
    *("domains=2", "classes=3", "samples_per_class=10", "modalities=2", "--all-splits"),
    *("--epochs", "3", "--batch-size", "8", "--seeds", "0", "1", "--threads", "1", "--no-reuse"),
)
RUNS = 12
PLACE = Path("synthetic/multi-source")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with twelve finished runs, and the set that was made of them.

    Tests work on copies.
    """
    root = tmp_path_factory.mktemp("committed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: COMMIT)
        assert run.main([*ASKED, "--results", str(root / "runs")]) == 0
    assert add(root / "set", root / "runs") == 0
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of the results folder."""
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


@pytest.fixture
def packed(trained: Path, tmp_path: Path) -> Path:
    """A copy of the set."""
    return Path(shutil.copytree(trained / "set", tmp_path / "home" / "set"))


def add(to: Path, *folders: Path, by: str = "Ada", options: tuple[str, ...] = ()) -> int:
    """Pack the runs of some folders into a set."""
    places = [str(folder) for folder in folders]
    return results.main(["add", "--results", *places, "--by", by, "--set", str(to), *options])


def wrong(root: Path) -> list[str]:
    """Return what is found to be wrong with a set."""
    return verify.check(CommittedSet(root)).problems


def contents(root: Path) -> dict[str, bytes]:
    """Return all files below a folder."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def folders(root: Path, method: str = "erm") -> list[RunFolder]:
    """Return the folders of the runs of a method."""
    return [folder for spec, folder in Store(root).all() if spec.method == method]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Change the object in a JSON file."""
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values))


def edit_line(root: Path, change: Callable[[Any], None], method: str = "erm") -> str:
    """Change the first run of a method in a set as `add` would write it, and return its id."""
    path = root / PLACE / f"{method}.jsonl"
    lines = path.read_text().splitlines()
    values = json.loads(lines[0])
    name = str(values["result"]["id"])
    change(values)
    lines[0] = json.dumps(values, separators=(",", ":"))
    path.write_text("".join(f"{line}\n" for line in lines))
    return name


def edit_arrays(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the arrays of a file."""
    with np.load(path) as found:
        arrays: dict[str, Any] = dict(found)
    change(arrays)
    np.savez_compressed(path, **arrays)


def in_ledger_again(root: Path) -> None:
    """Write what a set holds now into its ledger, as somebody who covers up would."""
    digests = verify.check(CommittedSet(root)).digests
    path = root / "ledger.csv"
    head, *lines = path.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    kept = [[run, digests[run], *rest] for run, _, *rest in cells if run in digests]
    path.write_text("".join(f"{','.join(line)}\n" for line in [[head], *kept]))


def predicts_otherwise(folder: RunFolder) -> None:
    """Let a run have predicted another class for one sample, with the scores that follow."""
    path = folder.path / "predictions.npz"

    def change(arrays: dict[str, Any]) -> None:
        for name in [name for name in arrays if name.endswith("target/predicted")]:
            arrays[name] = arrays[name].copy()
            labels = arrays[name.replace("predicted", "labels")]
            wrong_one = int(np.flatnonzero(arrays[name] == labels)[0])
            arrays[name][wrong_one] = (labels[wrong_one] + 1) % 3

    edit_arrays(path, change)
    arrays = dict(np.load(path))
    by_step: dict[int, float] = {}

    def rescored(values: Any) -> None:
        for rule, at in values["rules"].items():
            labels, found = (arrays[f"{rule}/target/{n}"] for n in ("labels", "predicted"))
            at["target"] |= vars(scores(labels, found.astype(np.int64), 3))
            by_step[at["step"]] = at["target"]["accuracy"]

    edit(folder.path / "result.json", rescored)
    records = folder.metrics()
    for record in records:
        accuracy = by_step.get(record["step"], 0.0)
        record["target"]["fused"]["accuracy"] = accuracy
    folder.write_metrics(records)


def git(folder: Path, *arguments: str) -> str:
    """Carry out git in a folder, as somebody."""
    who = {"NAME": "Ada", "EMAIL": "ada@example.org"}
    names = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    done = subprocess.run(
        ["git", "-c", "commit.gpgsign=false", *arguments],
        cwd=folder,
        env={**_without_git(os.environ), **names},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def commit(folder: Path, text: str = "More") -> None:
    """Commit everything in a folder, which becomes a repository unless it is one."""
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", text)


def _without_git(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if not k.startswith("GIT_")}


def arrays_in(root: Path) -> Iterator[tuple[str, Any]]:
    """Yield all arrays of all files of a set with their names."""
    for path in root.rglob("*.npz"):
        with np.load(path) as arrays:
            yield from arrays.items()
