"""The official checkpoints of encoders: what they are called, and where they are looked for."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = "checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """The file of weights that the authors of an encoder distribute."""

    url: str
    used_as: str = ""
    """Its name in public code, where that is not the distributed one; either name is found."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that the file may have; it is saved under the first."""
        return tuple(filter(None, (self.used_as, self.url.rpartition("/")[2])))

    @property
    def file(self) -> str:
        """Return the name under which the file is saved."""
        return self.names[0]

    @property
    def digest(self) -> str:
        """The beginning of the file's SHA-256, with which many names end; empty for the others."""
        match = re.search(r"-([0-9a-f]{8,64})\.\w+$", self.file)
        return match[1] if match else ""

    def __str__(self) -> str:
        return " or ".join(self.names)


def find(checkpoint: Checkpoint, homes: Iterable[Path]) -> Path | None:
    """Return where a checkpoint is, None if it is in none of the `folders`."""
    places = (folder / name for folder in folders(homes) for name in checkpoint.names)
    return next((place for place in places if place.is_file()), None)


def folders(homes: Iterable[Path]) -> Sequence[Path]:
    """Return the folders of checkpoints: one in each home, and the one of `torch.hub`."""
    import torch

    return [*(home / FOLDER for home in homes), Path(torch.hub.get_dir()) / FOLDER]
