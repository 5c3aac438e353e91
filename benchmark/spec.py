"""What identifies a run: a frozen `RunSpec`, its id, and the protocols."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from datasets.base import Recipe
from mmdg_common import UsageError, check_choices

NUMBERS_VERSION = 1
"""Raised with every "moves numbers" entry of the CHANGELOG: records before and after differ."""

PROTOCOL_CHOICES: Mapping[str, tuple[str, ...]] = {
    "neck": ("layernorm", "none"),
    "frozen_bn": ("eval", "train"),
}


@dataclass(frozen=True)
class Protocol:
    """The switches in which published code treats methods differently; the defaults are `fair`."""

    neck: str = "layernorm"
    """`layernorm`: one trained LayerNorm per modality before the heads; `none`."""
    frozen_bn: str = "eval"
    """Whether batch norm in frozen stages keeps its statistics (`eval`) or follows the batches."""
    embedding_dropout: float = 0.0
    """Dropout probability on every embedding."""
    ema_warmup: bool = True
    """Exponential averages ramp up, β_t = min(β, (1+t)/(10+t)); otherwise β is constant."""

    def __post_init__(self) -> None:
        check_choices(self, PROTOCOL_CHOICES)
        if not 0 <= self.embedding_dropout < 1:
            raise UsageError(
                f"--embedding-dropout {self.embedding_dropout}: give a probability below 1"
            )


@dataclass(frozen=True)
class RunSpec:
    """Everything that can move a number of one training run, defaults resolved.

    No path, device, thread or worker count, launcher or selection rule belongs here.
    """

    dataset: str
    options: Mapping[str, Any]
    """The dataset's own options."""
    data: str
    """The fingerprint of the data index."""
    fabricated: bool
    setting: str
    """`multi-source` or `single-source`."""
    sources: tuple[str, ...]
    target: str
    modalities: tuple[str, ...]
    seed: int
    method: str
    """The composition, e.g. `swad+mbcd`."""
    hyperparameters: Mapping[str, Mapping[str, Any]]
    """By component of the composition."""
    recipe: Recipe
    encoders: Mapping[str, str]
    """The encoder of each modality."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """By modality, what an encoder starts from: a file's SHA-256, or a released name."""
    protocol: Protocol = field(default_factory=Protocol)
    numbers_version: int = NUMBERS_VERSION

    @cached_property
    def id(self) -> str:
        """Return 12 hexadecimal digits that name this run and no other."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """Return a line that tells a reader which run this is."""
        return (
            f"{self.method} · {self.dataset} · {'+'.join(self.sources)} → {self.target} · "
            f"{'+'.join(self.modalities)} · seed {self.seed}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunSpec":
        """Return the spec that `to_json` wrote."""
        return cls(
            **{
                **values,
                "sources": tuple(values["sources"]),
                "modalities": tuple(values["modalities"]),
                "recipe": Recipe(**values["recipe"]),
                "protocol": Protocol(**values["protocol"]),
            }
        )
