"""What runs compute on, as far as it is known before they start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.launch.profile import Profile
from benchmark.settings import RunSettings


@dataclass(frozen=True)
class Device:
    """A kind of device, such that a run takes about as long on any of it."""

    name: str
    """`cpu`, or a GPU as records name it; empty: whichever GPU a cluster gives."""
    threads: int | None = None
    """Of a CPU; None: not known."""
    gpus: int = 0
    """That each run takes on a cluster."""

    @classmethod
    def here(cls, settings: RunSettings) -> "Device":
        """Return what runs of this process and its children compute on."""
        import torch

        from benchmark.records import provenance

        found = settings.torch_device()
        if found.type == "cpu":
            return cls("cpu", settings.threads or torch.get_num_threads())
        return cls(provenance.device_name(found))

    @classmethod
    def on_nodes(cls, settings: RunSettings, profile: Profile) -> "Device":
        """Return what the jobs of a profile compute on."""
        gpus = profile.gpus_per_job
        if settings.device == "cpu" or (settings.device == "auto" and not gpus):
            return cls("cpu", settings.threads or None)
        return cls("", gpus=gpus)

    def made(self, of: Mapping[str, Any]) -> bool:
        """Return whether the provenance of a result names this device."""
        name = str(of.get("device", ""))
        if self.name == "cpu":
            return name.startswith("cpu") and self.threads in (None, of.get("threads"))
        return name == self.name or (not self.name and not name.startswith("cpu"))

    def __str__(self) -> str:
        threads = f" with {self.threads} thread{'s' * (self.threads != 1)}" if self.threads else ""
        return (self.name or "a GPU") + threads
