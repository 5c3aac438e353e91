"""`python -m benchmark.run`: train methods on splits of a dataset, and keep the records."""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.options import parser
from mmdg_common import UsageError

if TYPE_CHECKING:
    from benchmark.execution import Execution
    from benchmark.plan import Plan, Request
    from benchmark.spec import RunSpec

BY_MODALITY = {"frozen_bn", "tail_init", "embedding_dropout"}
"""The protocol switches that can differ between modalities."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="mmdg-smoke-") as scratch:
            results = args.results or Path(scratch if args.smoke else "results")
            return _run(args, results)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace, results: Path) -> int:
    from benchmark import plan

    execution = _execution(args, results)
    planned = plan.make(_request(args), execution)
    for reason in planned.skipped:
        print(f"skipped: {reason}")
    if args.dry_run or args.status:
        _print_states(planned.specs, execution, each=True)
        return 0
    pending = _pending(planned, execution, force=args.force, retry=args.retry_failed)
    if pending:
        try:
            results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--results {results} cannot be used: {error.strerror}") from None
        _launch(pending, planned, execution)
    if args.search:
        _write_searches(planned, results, args.search_seed)
    code = _summary(planned.specs, execution)
    if code == 0 and not args.smoke:
        where = f" --results {results}" if args.results else ""
        print(f"see the table: python -m benchmark.report{where}")
    return code


def _execution(args: argparse.Namespace, results: Path) -> "Execution":
    import torch

    from benchmark.execution import Execution

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device} cannot be used ({reason}); try --device cpu") from None
    for name in ("threads", "workers", "checkpoint_every", "search", "search_seed"):
        if getattr(args, name) < 0:
            raise UsageError(f"--{name.replace('_', '-')} must not be negative")
    return Execution(
        results=results,
        data_root=args.data_root,
        weights=_pairs("--weights", args.weights),
        device=device,
        threads=args.threads,
        workers=args.workers,
        keep_checkpoints=args.keep_checkpoints,
        checkpoint_every=args.checkpoint_every,
    )


def _request(args: argparse.Namespace) -> "Request":
    from dataclasses import fields

    from benchmark.plan import MULTI, SINGLE, Request
    from datasets.base import Recipe

    given = {
        group: {name: value for name in names if (value := getattr(args, name)) is not None}
        for group, names in {
            "switches": ("neck", *BY_MODALITY, "ema_warmup"),
            "recipe": tuple(f.name for f in fields(Recipe)),
        }.items()
    }
    for name in BY_MODALITY & given["switches"].keys():
        given["switches"][name] = _by_modality(name, given["switches"][name])
    dataset, all_splits = args.dataset, args.all_splits
    if args.smoke:
        if dataset not in (None, "synthetic"):
            raise UsageError("--smoke runs on the synthetic dataset; leave --dataset out")
        dataset, given["recipe"]["epochs"] = "synthetic", 1
        all_splits = all_splits or not args.target
    if dataset is None:
        from datasets import names

        raise UsageError(f"say which dataset: --dataset {'|'.join(names())}")
    return Request(
        methods=args.method,
        dataset=dataset,
        dataset_options=_pairs("--dataset-option", args.dataset_option)
        | ({"on_bad_sample": args.on_bad_sample} if args.on_bad_sample else {}),
        all_splits=all_splits,
        sources=args.sources,
        target=args.target,
        settings=(MULTI, SINGLE) if args.setting == "both" else (args.setting,),
        modalities=args.modalities,
        all_modalities=args.all_modalities,
        seeds=args.seeds,
        set=args.set,
        search=args.search,
        search_seed=args.search_seed,
        protocol=args.protocol,
        backbones=_pairs("--backbone", args.backbone),
        **given,
    )


def _by_modality(name: str, texts: Sequence[str]) -> "str | float | dict[str, str | float]":
    """Return the one value of a switch, or its values by modality."""
    flag = f"--{name.replace('_', '-')}"

    def value(text: str) -> str | float:
        if name != "embedding_dropout":
            return text
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{flag} {text}: give a probability below 1") from None

    if len(texts) == 1 and "=" not in texts[0]:
        return value(texts[0])
    return {modality: value(text) for modality, text in _pairs(flag, texts).items()}


def _pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {text}: write key=value")
        pairs[key] = value
    return pairs


def _pending(
    planned: "Plan", execution: "Execution", *, force: bool, retry: bool
) -> "list[RunSpec]":
    """Return what is to be run now; with `force`, put earlier records aside."""
    from benchmark import store

    pending = []
    for spec in planned.specs:
        folder = store.Store(execution.results).folder(spec)
        state = folder.status()["state"]
        if folder.runs_elsewhere():
            print(f"running elsewhere, left alone: {spec.title}")
        elif force:
            folder.set_aside()
            pending.append(spec)
        elif state == store.FAILED if retry else state not in (store.DONE, store.FAILED):
            pending.append(spec)
    return pending


def _launch(pending: "list[RunSpec]", planned: "Plan", execution: "Execution") -> None:
    from rich.console import Console

    from benchmark.launch import inline
    from benchmark.progress import board

    for modalities in dict.fromkeys(spec.modalities for spec in pending):
        planned.dataset.prepare(modalities)
    with board(len(pending), Console()) as shown:
        inline.launch(pending, execution, shown)


def _write_searches(planned: "Plan", results: Path, seed: int) -> None:
    from benchmark import search

    written = search.write(planned.specs, results, seed)
    print(f"what {len(written)} searches tried and chose: {results / 'searches'}")


def _print_states(specs: "list[RunSpec]", execution: "Execution", each: bool) -> Counter[str]:
    from benchmark.store import Store

    states: Counter[str] = Counter()
    for spec in specs:
        status = Store(execution.results).folder(spec).status()
        states[status["state"]] += 1
        if each:
            error = f" · {status['error']}" if "error" in status else ""
            print(f"{status['state']:11} {spec.id} {spec.title}{error}")
    print(f"{len(specs)} runs: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    return states


def _summary(specs: "list[RunSpec]", execution: "Execution") -> int:
    from benchmark.store import FAILED, Store

    states = _print_states(specs, execution, each=False)
    for spec in specs:
        folder = Store(execution.results).folder(spec)
        status = folder.status()
        if status["state"] == FAILED:
            print(
                f"failed: {spec.title}: {status['error']}\n  {folder.path / 'log.txt'}",
                file=sys.stderr,
            )
    if states[FAILED]:
        print("run the same command with --retry-failed to try them anew", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
