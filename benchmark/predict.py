"""`python -m benchmark.predict`: classify new recordings with the weights that a run kept."""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.planning import flags
from benchmark.planning.flag_kinds import path
from benchmark.planning.options import DATA_ROOT, WHAT, WHERE
from mmdg_common import Parser, UsageError, exit_code, homes, written_atomically

if TYPE_CHECKING:
    from benchmark.records.read import Record
    from benchmark.settings import RunSettings
    from benchmark.training.evaluate import Predictions
    from datasets.base import MultimodalDataset

EPILOG = """example:
  python -m benchmark.run --method joint --dataset folder --data-root my_data --setting all-domains
  python -m benchmark.predict RUN_FOLDER --data-root new_data --output predictions.csv

The first command prints RUN_FOLDER. new_data needs no labels: of its samples.csv only the columns
of the run's modalities count, and id. Other datasets are read in their usual layout, whose labels
are ignored.
exit codes: 0 done, 2 wrong use
"""
SKIP = next(flag for flag in WHAT if flag.name == "on-bad-sample")
USED = ("device", "threads", "workers", "weights")
HOW = tuple(flag for flag in WHERE if flag.name in USED)


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.predict",
        description="Classify new recordings with the weights that a run kept, into a CSV file: "
        "id, predicted class, its probability, and the probability of every class.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("run", type=path, metavar="RUN_FOLDER", help="the folder of a run")
    DATA_ROOT.declare(p)
    p.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        default=Path("predictions.csv"),
        help="default: predictions.csv",
    )
    for flag in (SKIP, *HOW):
        flag.declare(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: _main(argv), "stopped; nothing was written")


def _main(argv: Sequence[str] | None) -> int:
    from benchmark.records import read
    from benchmark.records.spec import NUMBERS_VERSION
    from benchmark.training.setup import configure

    args = parser().parse_args(argv)
    record = read.run(args.run)
    if record.spec.numbers_version != NUMBERS_VERSION:
        print(
            f"note: this run is of numbers version {record.spec.numbers_version}, and the suite at "
            f"{NUMBERS_VERSION}; it may read or compute samples in another way now",
            file=sys.stderr,
        )
    weights = _weights(record)
    settings = _settings(args, record)
    dataset = _opened(record, settings, args.on_bad_sample)
    configure(settings)
    predictions = _predicted(record, dataset, settings, weights)
    _write(args.output, predictions, dataset.card.classes)
    for name, reason in dataset.skipped.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    count = len(predictions.ids)
    print(f"{count} recording{'s' * (count > 1)}: {args.output}")
    return 0


def _weights(record: "Record") -> Path:
    """Return the file of the weights; raise UsageError, with the command that keeps some."""
    from benchmark.training import kept

    assert record.folder is not None and record.result is not None
    weights = kept.find(record.folder)
    if weights is None:
        raise UsageError(f"{record.folder} keeps no weights. This keeps them: {_again(record)}")
    if not record.result.get("classes"):
        raise UsageError(f"{record.folder} names no classes. Train again: {_again(record)}")
    return weights


def _settings(args: argparse.Namespace, record: "Record") -> "RunSettings":
    from benchmark.planning.request import starts
    from benchmark.settings import RunSettings

    given = flags.read(args, HOW)
    roots = {} if args.data_root is None else {record.spec.dataset: args.data_root}
    how = {**given, **starts(given.get("weights", {})), "homes": homes(), "data_roots": roots}
    return RunSettings(results=args.run, **how)  # where nothing is written


def _opened(
    record: "Record", settings: "RunSettings", on_bad_sample: str | None
) -> "MultimodalDataset":
    """Return the recordings, after checking that the run can read them."""
    import datasets

    spec = record.spec
    assert record.result is not None
    cls = datasets.get(spec.dataset)
    if spec.dataset in settings.data_roots and not cls.reads_root:
        raise UsageError(f"{spec.dataset} is made in memory; leave --data-root out")
    options = dict(spec.options)
    if on_bad_sample:
        if "on_bad_sample" not in options:
            raise UsageError(f"{spec.dataset} leaves no recordings out; leave --on-bad-sample out")
        options["on_bad_sample"] = on_bad_sample
    root = settings.data_root(spec.dataset)
    classes = record.result["classes"]
    dataset = datasets.to_predict(spec.dataset, root, options, spec.modalities, classes)
    _check_fit(record.result, spec.modalities, dataset)
    dataset.prepare(spec.modalities)
    return dataset


def _check_fit(
    result: Mapping[str, Any], modalities: Sequence[str], dataset: "MultimodalDataset"
) -> None:
    """Raise UsageError unless classes, modalities and shapes are those that the run trained on."""
    if dataset.card.classes != tuple(result["classes"]):
        raise UsageError(f"{dataset.card.name} has other classes than when the run was trained")
    there = {m.name: list(m.shape) for m in dataset.card.modalities}
    for k, shape in result.get("shapes", {}).items():
        if there.get(k, shape) != shape:
            raise UsageError(
                f"{dataset.root}: {k} has the shape {there[k]}, and the run was trained on "
                f"{shape}; give recordings that are made as those were"
            )
    if lacking := [k for k in modalities if k not in there]:
        raise UsageError(f"{dataset.card.name} has no {', '.join(lacking)} with these options")


def _predicted(
    record: "Record", dataset: "MultimodalDataset", settings: "RunSettings", weights: Path
) -> "Predictions":
    from benchmark.training import kept, setup
    from benchmark.training.checkpoint import UnreadableCheckpointError

    spec = record.spec
    setup.check_starts(spec, settings)
    samples = dataset.recordings()
    if not samples:
        raise UsageError(f"{dataset.root} holds no recording that can be used")
    print(f"predicting {len(samples)} recordings with {spec.title} ...", file=sys.stderr)
    try:
        return kept.predict(spec, dataset, settings, weights, samples)
    except (kept.UnfitWeightsError, UnreadableCheckpointError) as error:
        raise UsageError(f"{error}. Train again: {_again(record)}") from error


def _again(record: "Record") -> str:
    """Return the command that trains a run anew and keeps its weights."""
    from benchmark.records.store import Store

    assert record.folder is not None and record.result is not None
    store, usual = Store.of(record.folder), Path("results")
    told = record.result["provenance"]
    root = told.get("data_root") if told.get("data_root_given", True) else None
    return flags.keeping(
        record.spec, root, str(store.root) if store and store.root != usual else None
    )


def _write(file: Path, predictions: "Predictions", classes: Sequence[str]) -> None:
    """Write a row for each recording: id, predicted class, its probability, those of all."""
    from methods.base import FUSED

    logits = predictions.logits[FUSED]
    shares, chosen = logits.double().softmax(dim=1).tolist(), logits.argmax(dim=1).tolist()
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "predicted", "probability", *(f"p_{name}" for name in classes)])
    for name, row, best in zip(predictions.ids, shares, chosen, strict=True):
        rows.writerow([name, classes[best], f"{row[best]:.6f}", *(f"{p:.6f}" for p in row)])
    try:
        with written_atomically(file) as out:
            out.write(text.getvalue().encode())
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
