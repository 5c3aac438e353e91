"""The options of `python -m benchmark.run`; nothing here waits for torch."""

import argparse
from pathlib import Path

EPILOG = """examples:
  python -m benchmark.run --method erm mbcd --dataset synthetic --all-splits --seeds 0 1 2
  python -m benchmark.run --method mbcd --dataset hac --all-splits
  python -m benchmark.run --method swad+mbcd --dataset utd_mhad --data-root DIR \\
      --sources s1s2 s3s4 s5s6 --target s7s8 --modalities skeleton+accelerometer
  python -m benchmark.run --method mbcd --set beta=0.99 --smoke

Every command is safe to repeat: done runs are skipped, interrupted ones resume.
exit codes: 0 done, 1 some runs failed, 2 wrong use
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmark.run",
        description="Train methods on splits of a dataset, and keep the records.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_what(p, method_required=True)
    add_how(p)
    where = add_where(p)
    where.add_argument(
        "--data-root",
        type=Path,
        metavar="DIR",
        help="where your copy of the dataset is (default: $MMDG_DATA/NAME, else data/NAME)",
    )
    p.add_argument(
        "--smoke",
        action="store_true",
        help="one epoch on the synthetic dataset: does my method run at all?",
    )
    mode = p.add_argument_group(
        "instead of running, or running again"
    ).add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print the plan")
    mode.add_argument("--status", action="store_true", help="print the state of every run")
    mode.add_argument(
        "--force", action="store_true", help="run done runs again; the earlier record is kept aside"
    )
    mode.add_argument("--retry-failed", action="store_true", help="run only what failed, anew")
    return p


def add_what(p: argparse.ArgumentParser, method_required: bool) -> None:
    """Add the options that say which runs are asked for."""
    what = p.add_argument_group("what to run")
    what.add_argument(
        "--method",
        nargs="+",
        required=method_required,
        metavar="NAME",
        help="methods, or compositions such as swad+mbcd; all: every one there is",
    )
    what.add_argument("--dataset", metavar="NAME")
    what.add_argument(
        "--dataset-option",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="the dataset's own options",
    )
    what.add_argument(
        "--on-bad-sample",
        choices=("error", "skip"),
        help="skip leaves out recordings that cannot be read, and counts them in the record",
    )
    what.add_argument(
        "--all-splits", action="store_true", help="every domain in turn is the unseen target"
    )
    what.add_argument("--sources", nargs="+", default=[], metavar="DOMAIN")
    what.add_argument("--target", metavar="DOMAIN")
    what.add_argument(
        "--setting",
        choices=("multi-source", "single-source", "both", "upper-bound"),
        default="multi-source",
        help="which splits --all-splits covers; upper-bound: train on the target's own train part, "
        "to see how much is left to gain",
    )
    what.add_argument(
        "--modalities",
        nargs="+",
        default=[],
        metavar="A+B",
        help="subsets of modalities (default: one subset, all of them)",
    )
    what.add_argument(
        "--all-modalities", action="store_true", help="every subset of two or more modalities"
    )
    what.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")


def add_how(p: argparse.ArgumentParser) -> None:
    """Add the options of training; what is not given is left to recipe and protocol."""
    how = p.add_argument_group("how to train (defaults: the dataset's recipe, protocol fair)")
    how.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="hyper-parameters: key=value for every method that has the key, "
        "method.key=value for one",
    )
    how.add_argument(
        "--search",
        type=int,
        default=0,
        metavar="N",
        help="try N settings of every method: the default, and draws from its search ranges; "
        "source validation chooses, see benchmark.report --tuned",
    )
    how.add_argument(
        "--search-seed", type=int, default=0, metavar="N", help="what the settings are drawn with"
    )
    how.add_argument("--epochs", type=int)
    how.add_argument("--steps", type=int, help="instead of epochs")
    how.add_argument("--lr", type=float)
    how.add_argument(
        "--decay",
        choices=("none", "inverse", "cosine"),
        help="inverse: lr / (1 + 10 t/T)^0.75 at step t; cosine: half a period, from lr to 0.01 lr",
    )
    how.add_argument("--batch-size", type=int)
    how.add_argument("--weight-decay", type=float)
    how.add_argument(
        "--validate-every",
        type=int,
        metavar="STEPS",
        help="steps between validations; 0: once an epoch",
    )
    how.add_argument("--backbone", nargs="+", default=[], metavar="MODALITY=NAME")
    how.add_argument(
        "--protocol",
        choices=("fair", "reference"),
        default="fair",
        help="fair: the same for every method; reference: as the public scripts of each method do",
    )
    how.add_argument(
        "--neck",
        metavar="KIND",
        help="what stands between embeddings and heads: layernorm, fixed-layernorm (not trained), "
        "none",
    )
    by_modality = "; one value, or MODALITY=VALUE for some modalities"
    how.add_argument(
        "--frozen-bn",
        nargs="+",
        metavar="MODE",
        help=f"train: batch norm in frozen stages follows the batches; eval{by_modality}",
    )
    how.add_argument(
        "--tail-init",
        nargs="+",
        metavar="FROM",
        help="random: trained stages start from random weights in spite of a checkpoint; "
        f"pretrained{by_modality}",
    )
    how.add_argument(
        "--embedding-dropout",
        nargs="+",
        metavar="P",
        help=f"dropout probability on embeddings{by_modality}",
    )
    how.add_argument(
        "--ema-warmup",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether exponential averages ramp up",
    )


def add_where(p: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add the options that move no number, and return their group."""
    where = p.add_argument_group("where and when")
    where.add_argument("--results", type=Path, metavar="DIR", help="default: results")
    where.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 (default: auto)")
    where.add_argument(
        "--threads", type=int, default=0, help="CPU threads (default: torch's; of a sweep: 1)"
    )
    where.add_argument("--workers", type=int, default=0, help="loading processes (default: 0)")
    where.add_argument(
        "--keep-checkpoints",
        choices=("none", "best", "last"),
        default="none",
        help="keep the weights at the best validation, or the last",
    )
    where.add_argument(
        "--checkpoint-every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how often the state to resume from is saved (default: 30)",
    )
    where.add_argument(
        "--weights",
        nargs="+",
        default=[],
        metavar="MODALITY=FILE",
        help="what encoders start from, if not from their official checkpoints in "
        "$MMDG_DATA/checkpoints, data/checkpoints or torch's hub folder: files, names such as "
        "KINETICS400_V1 that torchvision downloads, or none for random weights; none alone holds "
        "for every modality not named, and is the default on fabricated data",
    )
    return where


def add_data_roots(where: "argparse._ArgumentGroup") -> None:
    """Add the option that says where the copies of several datasets are."""
    where.add_argument(
        "--data-root",
        nargs="+",
        default=[],
        metavar="DATASET=DIR",
        help="where your copies are (default: $MMDG_DATA/DATASET, else data/DATASET); for one "
        "dataset its folder alone will do",
    )
