"""How runs are carried out: folders, device, threads, workers. Nothing here moves a number."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from mmdg_common import UsageError

if TYPE_CHECKING:
    import torch

    from datasets.base import MultimodalDataset


def no_root(dataset: str, option: str) -> UsageError:
    """Return the error for a dataset whose folder is not given; `option` is how to give it."""
    return UsageError(
        f"{dataset} is read from your own copy: add {option}. "
        f"`python -m datasets.prepare {dataset} --root DIR` says where to get one"
    )


@dataclass(frozen=True)
class RunSettings:
    """How runs are carried out: nothing here changes what a run is, or its id."""

    results: Path
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    """By dataset, where the user's copy is."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """By modality, the checkpoint that its encoder starts from: a file, or a released name."""
    device: str = "cpu"
    """As torch names it, or `auto`: a GPU where the run finds one."""
    threads: int = 0
    """CPU threads; 0 leaves torch's default."""
    workers: int = 0
    """Loading processes; the batches are the same for any number."""
    keep_checkpoints: str = "none"
    """`none`, or the weights at the `best` validation or at the `last` one."""
    checkpoint_every: float = 30.0
    """Seconds between two saves of the state to resume from."""
    _opened: "dict[str, MultimodalDataset]" = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def weights_by_content(self) -> dict[str, str]:
        """Return the SHA-256 of every checkpoint file, and released names as they are."""
        from benchmark.backbones.checkpoints import sha256

        return {k: sha256(w) if Path(w).is_file() else w for k, w in self.weights.items()}

    def torch_device(self) -> "torch.device":
        """Return what this process computes on."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def open_dataset(self, name: str, options: Mapping[str, Any]) -> "MultimodalDataset":
        """Open a dataset of this data root; a second call returns the same object.

        Raises:
            UsageError: no root is given where one is needed, or as `datasets.create`.
        """
        root = self.data_roots.get(name)
        if datasets.get(name).needs_root and root is None:
            raise no_root(name, "--data-root DIR")
        key = json.dumps([name, dict(options)], sort_keys=True)
        if key not in self._opened:
            cache = Store(self.results).cache
            dataset = datasets.create(name, root, cache, **options)
            # A spec names every option, a user only some: both find this object.
            resolved = json.dumps([name, vars(dataset.options)], sort_keys=True)
            self._opened[key] = self._opened.setdefault(resolved, dataset)
        return self._opened[key]

    def prepare(self, specs: Iterable[RunSpec]) -> None:
        """Make ready what the datasets of the runs keep in their cache.

        Raises:
            UsageError: a dataset is not what it should be, or too little of it can be read.
        """
        together: dict[tuple[Any, ...], list[RunSpec]] = {}
        for spec in specs:
            key = (spec.dataset, json.dumps(dict(spec.options)), spec.modalities)
            together.setdefault(key, []).append(spec)
        for alike in together.values():
            dataset = self.open_dataset(alike[0].dataset, alike[0].options)
            dataset.prepare(alike[0].modalities)
            for sources, target in dict.fromkeys((s.sources, s.target) for s in alike):
                dataset.parts(sources, target)
