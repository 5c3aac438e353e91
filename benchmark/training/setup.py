"""A run before its first step: its process, batches and model, and the samples left out."""

import faulthandler
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

import methods
from benchmark import backbones
from benchmark.cores import available_cores
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from benchmark.training.loader import Feed, Loader
from benchmark.training.model import MultimodalModel, build
from datasets import duplicates as copies
from datasets.base import ROLES, ByteScale, MultimodalDataset, Role, Sample
from mmdg_common import UsageError

SHARED_MEMORY = "/dev/shm"
BATCHES_AHEAD = 3
"""Batches of a loading process in shared memory: two wait, and one is in use."""
Parts = Mapping[Role, Sequence[Sample]]
"""What a run trains on, validates on and tests, as `MultimodalDataset.parts` returns it."""


def configure(settings: RunSettings) -> None:
    """Set this process's threads and a GPU's choice of kernels, and make signals harmless."""
    # oneDNN's kernels for CPUs keep data where the stack pointer points: a signal that was handled
    # amid a convolution (Ctrl-C, SLURM's SIGTERM) overwrote memory in one start of ten.
    # faulthandler gives signals a stack of their own, and says where a crash was.
    if not faulthandler.is_enabled():
        faulthandler.enable(2)  # the standard error stream, wherever sys.stderr leads
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()  # the peak is of this run, not of earlier ones
    fast = settings.kernels == "fast"
    torch.backends.cudnn.deterministic = not fast
    torch.backends.cudnn.benchmark = fast


def loaders(spec: RunSpec, feed: Feed, parts: Parts) -> tuple[Loader, Loader, Loader]:
    """Return the train, validation and target parts of a run as batches of inputs.

    Raises:
        UsageError: a method that compares two views of a sample would get one view twice.
    """
    two_views = any(cls.two_views for cls in methods.components(spec.method))
    if two_views and spec.protocol.views == 1:
        raise UsageError(f"{spec.method} compares two views of a sample: give --views 2 or more")
    train, val, target = (
        Loader(
            feed,
            parts[role],
            spec.recipe.batch_size,
            spec.seed,
            two_views=two_views,
            views=spec.protocol.views,
        )
        for role in ROLES
    )
    return train, val, target


def shapes(spec: RunSpec, dataset: MultimodalDataset) -> dict[str, tuple[int, ...]]:
    """Return the shape of one sample by modality of the run."""
    known = {m.name: m.shape for m in dataset.card.modalities}
    return {k: known[k] for k in spec.modalities}


def scales(dataset: MultimodalDataset) -> dict[str, ByteScale]:
    """Return how bytes are scaled, by modality; samples of the others are float32."""
    return {m.name: m.scale for m in dataset.card.modalities if m.scale}


def workers(spec: RunSpec, dataset: MultimodalDataset, settings: RunSettings) -> int:
    """Return how many loading processes a run has.

    Unless the user says: where samples are decoded for a GPU, one for every core that is left, as
    long as shared memory holds the batches that are under way. On a CPU they would only take cores
    from the training.
    """
    if settings.workers is not None:
        return settings.workers
    if not dataset.decodes or settings.torch_device().type == "cpu":
        return 0
    sizes = {m.name: math.prod(m.shape) * (1 if m.scale else 4) for m in dataset.card.modalities}
    batch = spec.recipe.batch_size * sum(sizes[k] for k in spec.modalities)
    room = shutil.disk_usage(SHARED_MEMORY).free // (BATCHES_AHEAD * batch)
    cores = available_cores() // settings.processes - max(settings.threads, 1)
    return max(0, min(cores, room))


def duplicates(
    spec: RunSpec, dataset: MultimodalDataset, parts: Parts
) -> list[list[dict[str, Any]]]:
    """Return the files of a run that hold the same recording in several domains or parts."""
    groups = copies.between(dataset, spec.modalities, parts, dataset.cache)
    return [[asdict(use) for use in group] for group in groups]


def check_starts(spec: RunSpec, settings: RunSettings) -> None:
    """Raise UsageError unless encoders would start from what the run was planned with."""
    starts = {k: settings.start(k, spec.encoders[k]) for k in spec.weights}
    content = {k: settings.content(start) for k, start in starts.items() if start}
    if content != spec.weights:
        raise UsageError(
            f"this run starts from other checkpoints than the ones given; its own are "
            f"{dict(spec.weights)}: name their files with --weights MODALITY=FILE"
        )


def model(spec: RunSpec, dataset: MultimodalDataset, settings: RunSettings) -> MultimodalModel:
    """Return the model of a run with its initial weights, on the CPU."""
    encoders = {
        k: partial(
            backbones.create,
            spec.encoders[k],
            shape,
            settings.start(k, spec.encoders[k]) if k in spec.weights else None,
            random_tail=spec.protocol.of("tail_init", k) == "random",
        )
        for k, shape in shapes(spec, dataset).items()
    }
    built = build(encoders, len(dataset.card.classes), spec.protocol, spec.seed)
    if settings.kernels == "fast":
        _channels_last(built)
    return built


def _channels_last(module: torch.nn.Module) -> None:
    """Lay out the weights of convolutions as a GPU's fastest kernels read them.

    Inputs and feature maps follow. Values and shapes stay.
    """
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    for p in module.parameters():
        if p.ndim in layouts:
            p.data = p.data.contiguous(memory_format=layouts[p.ndim])


def left_out(spec: RunSpec, dataset: MultimodalDataset) -> dict[str, str]:
    """Return the samples of a run that cannot be read and are left out, with the reasons."""
    parts = dataset.parts(spec.sources, spec.target, listed=True)
    ids = [s.id for role in ("target", "train", "val") for s in parts[role]]
    return {name: dataset.skipped[name] for name in ids if name in dataset.skipped}
