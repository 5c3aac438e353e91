"""From parsed options to what the engine takes: a `Request`, and an `RunSettings`."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
from benchmark.planning.plan import MULTI, SINGLE, Request
from benchmark.settings import RANDOM, RunSettings
from datasets.base import Recipe
from mmdg_common import UsageError, unknown

BY_MODALITY = {"frozen_bn", "tail_init", "embedding_dropout"}
"""The protocol switches that can differ between modalities."""


def request(args: argparse.Namespace) -> Request:
    """Return what `options.add_what` and `options.add_how` were given.

    Raises:
        UsageError: a value is malformed, or no dataset is named.
    """
    given: dict[str, dict[str, Any]] = {
        group: {name: value for name in wanted if (value := getattr(args, name)) is not None}
        for group, wanted in {
            "switches": ("neck", *BY_MODALITY, "ema_warmup"),
            "recipe": tuple(f.name for f in fields(Recipe)),
        }.items()
    }
    for name in BY_MODALITY & given["switches"].keys():
        given["switches"][name] = _by_modality(name, given["switches"][name])
    if args.dataset is None:
        raise UsageError(f"say which dataset: --dataset {'|'.join(datasets.names())}")
    for name in ("search", "search_seed"):
        _check_positive(args, name)
    return Request(
        methods=args.method,
        dataset=args.dataset,
        dataset_options=pairs("--dataset-option", args.dataset_option)
        | ({"on_bad_sample": args.on_bad_sample} if args.on_bad_sample else {}),
        all_splits=args.all_splits,
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
        backbones=pairs("--backbone", args.backbone),
        **given,
    )


def settings(
    args: argparse.Namespace,
    results: Path,
    homes: Sequence[Path],
    data_roots: Mapping[str, Path],
) -> RunSettings:
    """Return what `options.add_where` was given.

    Raises:
        UsageError: a value is out of range, or `--weights` malformed.
    """
    for name in ("threads", "workers", "checkpoint_every"):
        _check_positive(args, name)
    return RunSettings(
        results=results,
        homes=homes,
        data_roots=data_roots,
        **weights(args.weights),
        device=args.device,
        threads=args.threads,
        workers=args.workers,
        keep_checkpoints=args.keep_checkpoints,
        checkpoint_every=args.checkpoint_every,
    )


def weights(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings that `--weights` stands for: `none`, and files by modality.

    Raises:
        UsageError: a text is neither.
    """
    for text in texts:
        if text != RANDOM and "=" not in text:
            raise UsageError(f"--weights {text}: write MODALITY=FILE, or {RANDOM}")
    named = pairs("--weights", [text for text in texts if text != RANDOM])
    return {"weights": named, "random_weights": RANDOM in texts}


def data_roots(
    texts: Sequence[str], wanted: Iterable[str], homes: Sequence[Path]
) -> dict[str, Path]:
    """Return where the copy of each dataset is that the user gives a place for.

    Raises:
        UsageError: a dataset is not one of the grid's, a folder could be of several, or a dataset
            of the grid is neither given nor in one of the homes.
    """
    needing = [name for name in sorted(set(wanted)) if datasets.get(name).needs_root]
    roots = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if equals and name in datasets.names():
            roots[name] = Path(folder)
        elif len(needing) == 1 and not equals:
            roots[needing[0]] = Path(text)
        elif equals and not Path(text).exists():
            raise unknown("dataset in --data-root", name, needing)
        else:
            raise UsageError(
                f"--data-root {text}: say of which dataset, such as {(*needing, 'hac')[0]}=DIR; "
                f"the grid needs the folders of {', '.join(needing) or 'none'}"
            )
    for name in needing:
        if name not in roots and not datasets.place(name, homes).is_dir():
            raise datasets.not_found(name, homes, f"--data-root {name}=DIR")
    return roots


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Return `key=value` texts as a mapping.

    Raises:
        UsageError: one of them has no key or no equals sign.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {text}: write key=value")
        found[key] = value
    return found


def _check_positive(args: argparse.Namespace, name: str) -> None:
    if getattr(args, name) < 0:
        raise UsageError(f"--{name.replace('_', '-')} must not be negative")


def _by_modality(name: str, texts: Sequence[str]) -> str | float | dict[str, str | float]:
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
    return {modality: value(text) for modality, text in pairs(flag, texts).items()}
