"""What a dataset states about itself: its card, its modalities and how it is trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmdg_common import AVERAGE, UsageError, unknown

if TYPE_CHECKING:  # reading records must not wait for torch
    from torch import Tensor

RESERVED = ("ids", "groups", "labels", "domains", "fused", "predicted")
"""What stands beside the modalities in a run's predictions."""
LONGEST_NAME = 100
"""Characters in the name of a domain or modality, which folders and tables repeat."""


@dataclass(frozen=True)
class ByteScale:
    """How bytes become what an encoder reads: (x - mean) / std, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def of(self, x: "Tensor") -> "Tensor":
        """Return bytes [B, C, ...] as float32, on the device they are on."""
        values = x.float()
        mean, std = (
            values.new_tensor(numbers).view(-1, *[1] * (x.ndim - 2))
            for numbers in (self.mean, self.std)
        )
        return values.sub_(mean).div_(std)


KINDS: Mapping[str, str] = {
    "video": "RGB frames [3, T, H, W], loaded as bytes",
    "flow": "optical flow [2, T, H, W]",
    "audio": "the log spectrogram that `datasets.media.audio` makes of what `waveform` returns",
    "depth": "depth images [channels, T, H, W], 0 where nothing is measured",
    "skeleton": "joints [3, T, joints] around the origin: x, y upwards, z",
    "inertial": "accelerometers, gyroscopes, magnetometers [3 n, T], each a triad x, y, z",
    "signal": "any other sensor over time [channels, T]",
    "": "anything else",
}
"""What a modality is, which decides what can go wrong with it, and how its tensor is laid out."""


@dataclass(frozen=True)
class ModalitySpec:
    """One modality: its name, the shape of one sample's tensor, and what reads it by default."""

    name: str
    shape: tuple[int, ...]
    encoder: str
    description: str = ""
    scale: ByteScale | None = None
    """Given where samples are loaded as bytes, of which a GPU gets four times as many in the same
    time. They are scaled where the encoder computes. None: samples are float32."""
    kind: str = ""
    """One of `KINDS`; no run depends on it."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown(
                f"kind of modality {self.name}", self.kind, [kind for kind in KINDS if kind]
            )


@dataclass(frozen=True)
class Recipe:
    """How a dataset is trained on, the same for every method: Adam, and for how long."""

    epochs: int
    lr: float
    batch_size: int
    weight_decay: float = 0.0
    steps: int = 0
    """Total steps, for a recipe that counts them; 0 lets the epochs decide."""
    decay: str = "none"
    """The learning rate at step t of T: `none` keeps it, `inverse` is lr / (1 + 10 t/T)^0.75,
    `cosine` is lr (0.01 + 0.99 (1 + cos(π t/T)) / 2)."""
    validate_every: int = 0
    """Steps between validations; 0 validates at the end of each epoch."""


@dataclass(frozen=True)
class Card:
    """The facts about a dataset that do not depend on where its files are.

    The order of `modalities` and of `domains` is the only one the suite uses.
    """

    name: str
    modalities: tuple[ModalitySpec, ...]
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    recipe: Recipe
    source: str
    """Where to get the data, in words a user can act on."""
    citation: str = ""


@dataclass(frozen=True)
class PublishedPipeline:
    """What the field's public scripts do with a dataset; `--protocol reference` follows it."""

    options: Mapping[str, str | int]
    """Values of the dataset's own options."""
    switches: Mapping[str, Any]
    """Protocol switches, each one value or values by modality."""


def check_names(card: Card) -> None:
    """Raise UsageError for a domain or modality whose name a table or folder cannot bear."""
    modalities = [modality.name for modality in card.modalities]
    for kind, names in (("domain", card.domains), ("modality", modalities)):
        for name in names:
            if name == AVERAGE:
                reason = "tables call their last column so"
            elif kind == "modality" and name in RESERVED:
                reason = "predictions.npz calls something else so"
            elif len(name) > LONGEST_NAME:
                reason = f"it is longer than {LONGEST_NAME} characters"
            elif not name or not name.isprintable() or {"/", "\\"} & set(name):
                reason = "it must be the name of a folder"
            elif names.count(name) > 1:
                reason = "there are two of that name"
            else:
                continue
            shown = name if len(name) <= LONGEST_NAME else f"{name[:20]}..."
            raise UsageError(
                f"{card.name}: a {kind} cannot be named {shown!r}: {reason}; rename it"
            )
