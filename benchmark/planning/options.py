"""The options of the commands that train: the tables they are declared in, and the parsers.

`flags` reads values by these tables, and writes them back as words; the keys of a grid file are the
names in them. Nothing here imports torch.
"""

import argparse
import math
import os
import sys
from dataclasses import dataclass
from typing import Any

from benchmark.planning.flag_kinds import (
    ByModality,
    Flag,
    FolderOrNone,
    Many,
    OnOff,
    Pairs,
    PairsAndRest,
    Pattern,
    Range,
    Switch,
    path,
)
from benchmark.records.spec import MULTI_SOURCE, SINGLE_SOURCE
from mmdg_common import Parser

EPILOG = """examples:
  python -m benchmark.run --method erm mbcd --dataset synthetic --all-splits --seeds 0 1 2
  python -m benchmark.run --method mbcd --dataset hac --all-splits
  python -m benchmark.run --method swad+mbcd --dataset utd_mhad --data-root DIR \\
      --sources s1s2 s3s4 s5s6 --target s7s8 --modalities skeleton+accelerometer
  python -m benchmark.run --method mbcd --set beta=0.99 --smoke

Every command is safe to repeat: done runs are skipped, interrupted ones resume.
exit codes: 0 done, 1 some runs failed, 2 wrong use
"""
CORES = os.cpu_count() or 1
# A job may run on a larger machine than the one it is planned on.
MOST_PROCESSES = max(256, 16 * CORES)
LARGEST = sys.float_info.max
SMALLEST = math.nextafter(0, 1)


@dataclass(frozen=True)
class _Setting(Flag):
    """A setting; `both` stands for multi-source and single-source."""

    def read(self, given: Any) -> Any:
        return (MULTI_SOURCE, SINGLE_SOURCE) if given == "both" else (given,)

    def words(self, value: Any) -> list[str]:
        return super().words("both" if len(value) > 1 else value[0])


def _whole(least: int, most: int, reason: str) -> Range:
    return Range(least, most, f"type a whole number from {least} to {most}; {reason}")


def _machine(what: str) -> Range:
    cores = f"this machine has {CORES} core{'s' * (CORES > 1)}"
    return _whole(0, MOST_PROCESSES, f"{cores}, and more {what} only slow it down")


_BY_MODALITY = "; one value, or MODALITY=VALUE for some modalities"

SEEDS = Many(
    "seeds",
    "seeds",
    "one run per seed (default: 0)",
    "N",
    kind=int,
    limit=Range(-(2**63), 2**63 - 1, "type a whole number of at most 18 digits"),
)
WHAT: tuple[Flag, ...] = (
    Many(
        "method",
        "methods",
        "methods, or compositions such as swad+mbcd; all: every registered method",
        "NAME",
    ),
    Flag("dataset", "dataset", metavar="NAME"),
    Pairs("dataset-option", "dataset_options", "the dataset's own options", "KEY=VALUE"),
    Flag(
        "on-bad-sample",
        "dataset_options.on_bad_sample",
        "skip leaves out recordings that cannot be read, and counts them in the record",
        choices=("error", "skip"),
    ),
    Switch("all-splits", "all_splits", "every domain in turn is the unseen target"),
    Many("sources", "sources", metavar="DOMAIN"),
    Flag("target", "target", metavar="DOMAIN"),
    _Setting(
        "setting",
        "settings",
        "which splits --all-splits covers (default: multi-source); upper-bound: train on the "
        "target's own train part, to see how much is left to gain; all-domains: train on every "
        "domain, without a target, and keep the weights for benchmark.predict",
        choices=("multi-source", "single-source", "both", "upper-bound", "all-domains"),
    ),
    Many("modalities", "modalities", "subsets of modalities (default: all of them)", "A+B"),
    Switch("all-modalities", "all_modalities", "every subset of two or more modalities"),
    Many(
        "subset-sizes",
        "subset_sizes",
        "every subset of so many modalities, e.g. 2 15",
        "N",
        kind=int,
        limit=Range(1, 100, "type a whole number from 1 to 100"),
    ),
    SEEDS,
)
"""The runs that are asked for: fields of a Request."""

HOW: tuple[Flag, ...] = (
    Many(
        "set",
        "set",
        "hyper-parameters: key=value for every method that has the key, method.key=value for one",
        "KEY=VALUE",
    ),
    Flag(
        "search",
        "search",
        "try N settings of every method: the default, and draws from its search ranges; source "
        "validation chooses, see benchmark.report --tuned",
        "N",
        kind=int,
        limit=_whole(0, 1_000, "every setting is a run of its own"),
    ),
    Flag(
        "search-seed",
        "search_seed",
        "the seed of these draws (default: 0)",
        "N",
        kind=int,
        limit=Range(0, 2**63 - 1, "type a whole number from 0 on, of at most 18 digits"),
    ),
    Flag("epochs", "recipe.epochs", kind=int, limit=_whole(1, 100_000, "more would take years")),
    Flag(
        "steps",
        "recipe.steps",
        "instead of epochs",
        kind=int,
        limit=_whole(0, 100_000_000, "more would take years, 0 leaves it to the epochs"),
    ),
    Flag(
        "lr",
        "recipe.lr",
        kind=float,
        limit=Range(SMALLEST, LARGEST, "type a finite number above 0, such as 1e-3"),
    ),
    Flag(
        "decay",
        "recipe.decay",
        "inverse: lr / (1 + 10 t/T)^0.75 at step t; cosine: half a period, from lr to 0.01 lr",
        choices=("none", "inverse", "cosine"),
    ),
    Flag(
        "batch-size",
        "recipe.batch_size",
        kind=int,
        limit=_whole(1, 1_000_000, "a batch has to fit into memory"),
    ),
    Flag(
        "weight-decay",
        "recipe.weight_decay",
        kind=float,
        limit=Range(0, LARGEST, "type a finite number of 0 or more"),
    ),
    Flag(
        "validate-every",
        "recipe.validate_every",
        "steps between validations; 0: after every epoch",
        "STEPS",
        kind=int,
        limit=_whole(0, 100_000_000, "no run has more steps"),
    ),
    Pairs("backbone", "backbones", "the encoder of a modality, by its name", "MODALITY=NAME"),
    Flag(
        "protocol",
        "protocol",
        "fair (default): the same for every method; reference: as the public scripts of each "
        "method do",
        choices=("fair", "reference"),
    ),
    Flag(
        "neck",
        "switches.neck",
        "the layer between embeddings and heads: layernorm, fixed-layernorm (not trained), none",
        "KIND",
    ),
    ByModality(
        "frozen-bn",
        "switches.frozen_bn",
        f"train: batch norm in frozen stages follows the batches; eval{_BY_MODALITY}",
        "MODE",
    ),
    ByModality(
        "tail-init",
        "switches.tail_init",
        "random: trained stages start from random weights in spite of a checkpoint; "
        f"pretrained{_BY_MODALITY}",
        "FROM",
    ),
    ByModality(
        "embedding-dropout",
        "switches.embedding_dropout",
        f"dropout probability on embeddings{_BY_MODALITY}",
        "P",
        is_number=True,
    ),
    OnOff("ema-warmup", "switches.ema_warmup", "whether exponential averages ramp up"),
    Flag(
        "average-bn",
        "switches.average_bn",
        "batch-norm statistics of running averages of weights: averaged, as the weights are, or "
        "copied from the trained model",
        "RULE",
    ),
    Flag(
        "views",
        "switches.views",
        "augmented views of each training sample, drawn once and the same for all methods and "
        "seeds, so that --feature-cache can keep them; 0 (default): a new one in every epoch",
        "K",
        kind=int,
        limit=_whole(0, 10_000, "no run has more epochs worth keeping"),
    ),
    Flag(
        "feature-dtype",
        "switches.feature_dtype",
        "what the output of frozen stages is rounded to: fp32 (default), fp16, bf16",
        "DTYPE",
    ),
    Flag(
        "precision",
        "switches.precision",
        "what encoders compute in: fp32 (default), or bf16 (mixed precision)",
        "DTYPE",
    ),
)
"""How the runs are trained: fields of a Request; recipe and protocol decide what is not given."""

WEIGHTS = PairsAndRest(
    "weights",
    "weights",
    "what encoders start from, if not from their official checkpoints in "
    "$MMDG_DATA/checkpoints, data/checkpoints or torch's hub folder: files, names such as "
    "KINETICS400_V1 that torchvision downloads, or none for random weights; none alone holds "
    "for every modality not named, and is the default on fabricated data",
    "MODALITY=FILE",
)

WHERE: tuple[Flag, ...] = (
    Flag("results", "results", "default: results", "DIR", kind=path),
    Flag(
        "device",
        "device",
        "cpu, cuda, cuda:1 (default: auto, a GPU where there is one)",
        limit=Pattern(
            r"auto|(cpu|cuda|mps|xpu|hpu)(:\d{1,3})?",
            "runs cannot compute there; try --device cpu, cuda, cuda:1 or auto",
        ),
        default="auto",
    ),
    Flag(
        "threads",
        "threads",
        "CPU threads (default: torch's own number; 1 in a sweep)",
        kind=int,
        limit=_machine("threads"),
    ),
    Flag(
        "workers",
        "workers",
        "loading processes (default: on a GPU, one for every core that is left where samples are "
        "decoded; else 0)",
        kind=int,
        limit=_machine("processes"),
    ),
    Flag(
        "kernels",
        "kernels",
        "fast: a GPU tries out which kernels are fastest, and two runs of one seed may differ "
        "in the last bits; repeatable: they give the same bits (default)",
        choices=("repeatable", "fast"),
    ),
    Flag(
        "keep-checkpoints",
        "keep_checkpoints",
        "keep the weights of the best validation, or of the last (default: none; with --setting "
        "all-domains: best)",
        choices=("none", "best", "last"),
    ),
    FolderOrNone(
        "reuse",
        "reuse",
        "take runs from committed results instead of training them again, unless their weights are "
        "to be kept or their gradients logged (default: the results that the suite carries)",
        "DIR",
        kind=path,
    ),
    OnOff(
        "log-gradients",
        "log_gradients",
        "log at every validation, by modality, how strongly the fused and the unimodal loss drive "
        "the encoder, and the cosine between both",
    ),
    Flag(
        "checkpoint-every",
        "checkpoint_every",
        "how often the state to resume from is saved (default: 30; less often where saving would "
        "take more than 2%% of the time); 0: after every step",
        "SECONDS",
        kind=float,
        limit=Range(0, LARGEST, "type a finite number of seconds, 0 or more"),
    ),
    Flag(
        "feature-cache",
        "feature_cache",
        "keep what frozen stages compute in a folder that all runs share; auto: in the results "
        "folder",
        "DIR",
        kind=path,
    ),
    WEIGHTS,
)
"""How the runs are carried out: fields of RunSettings; none of them moves a number."""

DATA_ROOT = Flag(
    "data-root",
    "data_roots",
    "the folder of your copy (default: $MMDG_DATA/NAME, else data/NAME)",
    "DIR",
    kind=path,
)
DATA_ROOTS = Many(
    "data-root",
    "data_roots",
    "the folders of your copies (default: $MMDG_DATA/DATASET, else data/DATASET); for one dataset "
    "its folder alone will do",
    "DATASET=DIR",
)
PROCESSES = Flag(
    "processes",
    "",
    "local: at a time (default: one per GPU, or as many as the cores hold)",
    "N",
    kind=int,
    limit=_machine("processes"),
    default=0,
)
RETRY = Switch("retry-failed", "retry", "run only what failed, from the start")


SMOKE = Switch("smoke", "", "one epoch on the synthetic dataset: does my method run at all?")
MODES = (
    Switch("dry-run", "", "print the plan"),
    Switch("status", "", "print the state of every run"),
    Switch("force", "", "run done runs again; the earlier record is kept aside"),
    RETRY,
)


def parser() -> Parser:
    """Return the parser of `benchmark.run`."""
    p = Parser(
        prog="python -m benchmark.run",
        description="Train methods on splits of a dataset, and keep the records.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_runs(p)
    DATA_ROOT.declare(add_where(p))
    SMOKE.declare(p)
    mode = p.add_argument_group("instead of running, or running again")
    one = mode.add_mutually_exclusive_group()
    for flag in MODES:
        flag.declare(one)
    return p


def add_runs(p: argparse.ArgumentParser) -> None:
    """Add the flags that say which runs are asked for, and how they are trained."""
    _add(p, "what to run", WHAT)
    _add(p, "how to train (defaults: the dataset's recipe, protocol fair)", HOW)


def add_where(p: argparse.ArgumentParser) -> "argparse._ArgumentGroup":
    """Add the flags that move no number, and return their group."""
    return _add(p, "where and when", WHERE)


def add_data_roots(where: "argparse._ArgumentGroup") -> None:
    """Add the flag for the folders of several datasets."""
    DATA_ROOTS.declare(where)


def _add(
    p: argparse.ArgumentParser, title: str, flags: tuple[Flag, ...]
) -> "argparse._ArgumentGroup":
    group = p.add_argument_group(title)
    for flag in flags:
        flag.declare(group)
    return group
