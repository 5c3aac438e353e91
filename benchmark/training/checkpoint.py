"""The state to resume from: written as a whole or not at all."""

import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from mmdg_common import causes, written_atomically

SHARE = 0.02
"""Of a run's time that saving may take."""


class UnreadableCheckpointError(Exception):
    """A checkpoint is damaged, or not of this run."""


class Checkpoints:
    """Where and how often a run saves its state.

    Args:
        path: returns the file; called before every save, so that it can refuse one.
        every: seconds between two saves; more after one that took so long that saving would take
            more than `SHARE` of the time. 0: save after every step, whatever that takes.
    """

    def __init__(self, path: Callable[[], Path], every: float) -> None:
        self._path, self._every = path, every
        self._interval = every
        self._saved = time.monotonic()
        self._parts: set[int] = set()

    @property
    def due(self) -> bool:
        """Whether it is time for another save."""
        return time.monotonic() - self._saved >= self._interval

    def save(self, state: dict[str, Any], parts: Mapping[int, dict[str, Any]]) -> None:
        """Write a state; see `save`.

        Args:
            state: what changes from step to step.
            parts: by number, what never changes once it is there: each is written once, to a file
                of its own, and removed when a later state is without it.
        """
        began = time.monotonic()
        for number in parts.keys() - self._parts:
            save(self._part(number), parts[number])
            self._parts.add(number)
        save(self._path(), {**state, "parts": sorted(parts)})
        for number in self._parts - parts.keys():
            self._part(number).unlink(missing_ok=True)
            self._parts.discard(number)
        self._saved = time.monotonic()
        if self._every:
            # Each save is paid for before the next, so the share holds however much they differ.
            self._interval = max(self._every, (self._saved - began) * (1 / SHARE - 1))

    def _part(self, number: int) -> Path:
        path = self._path()
        return path.with_name(f"{path.stem}-{number}{path.suffix}")

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the saved state with its tensors on `device`; None where there is none.

        Its `parts` are those that were saved with it, on the CPU.

        Raises:
            UnreadableCheckpointError: the file is damaged.
        """
        path = self._path()
        if not path.exists():
            return None
        state = load(path, device)
        if "parts" not in state:
            raise UnreadableCheckpointError(f"{path.name} is not a checkpoint of this version")
        self._parts = set(state["parts"])
        lost = [part.name for n in self._parts if not (part := self._part(n)).exists()]
        if lost:
            raise UnreadableCheckpointError(f"{path.name} is without {', '.join(lost)}")
        cpu = torch.device("cpu")
        state["parts"] = {number: load(self._part(number), cpu) for number in self._parts}
        return state


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, texts and containers of them.

    Raises:
        OSError: the file cannot be written; an earlier one is still there.
    """
    try:
        with written_atomically(path) as file:
            torch.save(state, file)
    except RuntimeError as error:
        # After a write that failed, torch complains about positions in its file instead.
        cause = next((one for one in causes(error) if isinstance(one, OSError)), None)
        raise OSError(f"{path.name} cannot be saved: {cause or error}") from error


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the state that `save` wrote, with its tensors on `device`.

    Raises:
        UnreadableCheckpointError: the file is damaged.
    """
    try:
        # Torch loads flipped bits without a word; the file's own checksums tell.
        if bad := zipfile.ZipFile(path).testzip():
            raise UnreadableCheckpointError(f"{path.name} is damaged: {bad}")
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, MemoryError, torch.OutOfMemoryError, UnreadableCheckpointError):
        raise  # of the first three the machine is at fault, not the file
    except Exception as error:  # torch raises many kinds on files that it did not write
        raise UnreadableCheckpointError(f"{path.name} cannot be read: {error}") from error
    return state


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global random streams."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put torch's global random streams back to where `random_state` found them."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
