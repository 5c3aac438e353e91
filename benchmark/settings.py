"""How runs are carried out: folders, device, threads, workers. Nothing here moves a number."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from benchmark.records.result import GIVEN, OFFICIAL, UNTRAINED
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from mmdg_common import UsageError

if TYPE_CHECKING:
    import torch

    from datasets.base import MultimodalDataset


RANDOM = "none"
"""In place of a checkpoint: random weights."""


@dataclass(frozen=True)
class RunSettings:
    """How runs are carried out: nothing here changes what a run is, or its id."""

    results: Path
    homes: Sequence[Path] = (Path("data"),)
    """Folders that hold datasets and checkpoints by name, for all that is not given below."""
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    """By dataset, the folder of the user's copy, or an archive of it."""
    stage: Mapping[str, str] = field(default_factory=dict)
    """By dataset, where this machine keeps a copy on its own disk, which is read in place of the
    user's; under "" the folder of the places of all others. Variables are this machine's."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """By modality, what its encoder starts from: a file, a released name, or `none`."""
    random_weights: bool = False
    """Whether the encoders of all other modalities start from random weights, rather than from
    their official checkpoints."""
    device: str = "cpu"
    """As torch names it, or `auto`: a GPU where the run finds one."""
    threads: int = 0
    """CPU threads; 0 leaves torch's default."""
    workers: int | None = None
    """Loading processes; the batches are the same for any number. None: as many as pay."""
    processes: int = 1
    """Processes that carry out runs beside each other and share the cores."""
    confirm_failures: bool = False
    """Whether a run counts as failed only when two machines have found so."""
    kernels: str = "repeatable"
    """`fast` lets a GPU choose kernels whose results differ in the last bits from run to run."""
    keep_checkpoints: str = "none"
    """`none`, or the weights at the `best` validation or at the `last` one."""
    log_gradients: bool = False
    """Whether every validation logs the gradients of the encoders."""
    checkpoint_every: float = 30.0
    """Seconds between two saves of the state to resume from; more where a save takes long. 0: save
    after every step."""
    feature_cache: Path | None = None
    """The folder of features that runs share; `auto`: one in the results folder; None: none."""
    reuse: Path | None = None
    """Committed results, a set or the folder that `CURRENT` is in, that runs are taken from; None:
    everything is trained."""
    modules: Sequence[str] = ()
    """Modules that register methods of the user's own, for processes that do not know them yet."""
    _opened: "dict[str, MultimodalDataset]" = field(default_factory=dict, init=False, repr=False)
    _contents: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _near: dict[str, tuple[Path, str]] = field(default_factory=dict, init=False, repr=False)

    @property
    def features(self) -> Path | None:
        """The folder of the feature cache; None where features are not kept."""
        auto = self.feature_cache == Path("auto")
        return Store(self.results).cache / "features" if auto else self.feature_cache

    def chosen(self, modality: str) -> bool:
        """Return whether the user says what the encoder of a modality starts from."""
        return self.random_weights or modality in self.weights

    def start(self, modality: str, encoder: str) -> str | None:
        """Return the file or released name that an encoder starts from; None: random weights.

        Where the user does not say, it is the encoder's official checkpoint, if it is found.
        """
        from benchmark import backbones
        from benchmark.backbones import official

        if self.chosen(modality):
            given = self.weights.get(modality, RANDOM)
            return None if given == RANDOM else given
        checkpoint = backbones.checkpoint(encoder)
        found = checkpoint and official.find(checkpoint, self.homes)
        return str(found) if found else None

    def origins(self, spec: RunSpec) -> dict[str, str]:
        """Return by modality where the weights come from of encoders that may start from some.

        They are GIVEN, OFFICIAL or UNTRAINED, as the record's provenance holds them.
        """
        from benchmark import backbones

        origins = {}
        for k, encoder in spec.encoders.items():
            if k in spec.weights:
                origins[k] = GIVEN if k in self.weights else OFFICIAL
            elif backbones.checkpoint(encoder):
                origins[k] = UNTRAINED
        return origins

    def content(self, start: str) -> str:
        """Return the SHA-256 of a checkpoint file, computed once; a released name as it is."""
        from benchmark.backbones.checkpoints import sha256

        if start not in self._contents:
            self._contents[start] = sha256(start) if Path(start).is_file() else start
        return self._contents[start]

    def torch_device(self) -> "torch.device":
        """Return what this process computes on."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def data_root(self, name: str) -> Path | None:
        """Return the user's copy of a dataset, None for one that is made in memory.

        Raises:
            UsageError: it is not given, and in none of the homes.
        """
        if name in self.data_roots:
            return self.data_roots[name]
        if not datasets.get(name).needs_root:
            return None
        folder = datasets.place(name, self.homes)
        if not folder.is_dir():
            raise datasets.not_found(name, self.homes, "--data-root DIR")
        return folder

    def read_at(self, name: str) -> tuple[Path | None, str]:
        """Return the folder that a dataset is read from, and what a log is to say of it.

        It is the user's, or a copy near by, which is made now unless there is one.

        Raises:
            UsageError: as `data_root`, or of an archive that nobody unpacks or can unpack.
            OSError: this machine has no room for what is in an archive.
        """
        from datasets import archives, staging

        origin = self.data_root(name)
        place = staging.place_of(self.stage, name)
        if origin is None or not place:
            if origin is not None and archives.is_archive(origin):
                raise UsageError(
                    f"{name}: {origin} is an archive. Unpack it, and name the folder with "
                    "--data-root; or name a profile for SLURM whose `stage:` says where it is to "
                    "be unpacked: --profile my_site.yaml"
                )
            return origin, ""
        if name not in self._near:
            self._near[name] = staging.near(name, origin, place)
        return self._near[name]

    def open_dataset(self, name: str, options: Mapping[str, Any]) -> "MultimodalDataset":
        """Open a dataset; a second call returns the same object.

        Raises:
            UsageError: as `read_at`, or as `datasets.create`.
            OSError: as `read_at`.
        """
        key = json.dumps([name, dict(options)], sort_keys=True)
        if key not in self._opened:
            cache = Store(self.results).cache
            root, _ = self.read_at(name)
            dataset = datasets.create(name, root, cache, **options)
            # A spec names every option, a user only some: both find this object.
            resolved = json.dumps([name, vars(dataset.options)], sort_keys=True)
            self._opened[key] = self._opened.setdefault(resolved, dataset)
        return self._opened[key]

    def check_features(self, specs: Iterable[RunSpec]) -> None:
        """Raise UsageError where features are to be kept of a run whose frozen stages change."""
        for spec in specs if self.features else ():
            for k in spec.modalities:
                if spec.protocol.of("frozen_bn", k) == "train":
                    raise UsageError(
                        f"--feature-cache: batch norm in the frozen stages of {k} follows the "
                        "batches (--frozen-bn train, as --protocol reference has it), so what they "
                        "compute changes from step to step and cannot be kept; leave "
                        "--feature-cache or the switch out"
                    )

    def prepare(self, specs: Iterable[RunSpec]) -> None:
        """Make ready what the datasets of the runs keep in their cache.

        Raises:
            UsageError: a dataset is not what it should be, too little of it can be read, or
                features cannot be kept.
        """
        specs = list(specs)
        self.check_features(specs)
        together: dict[tuple[Any, ...], list[RunSpec]] = {}
        for spec in specs:
            key = (spec.dataset, json.dumps(dict(spec.options)), spec.modalities)
            together.setdefault(key, []).append(spec)
        for alike in together.values():
            dataset = self.open_dataset(alike[0].dataset, alike[0].options)
            dataset.prepare(alike[0].modalities)
            for sources, target in dict.fromkeys((s.sources, s.target) for s in alike):
                dataset.parts(sources, target)
