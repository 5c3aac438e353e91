"""The identity of a run: a frozen `RunSpec`, its id, and the protocol switches."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

from benchmark.records import shape
from benchmark.records.shape import UnreadableError
from datasets.base import Recipe
from mmdg_common import UsageError, check_choices

NUMBERS_VERSION = 3
"""Raised with every "moves numbers" entry of the CHANGELOG: records before and after differ."""

PROTOCOL_CHOICES: Mapping[str, tuple[str, ...]] = {
    "neck": ("layernorm", "fixed-layernorm", "none"),
    "frozen_bn": ("eval", "train"),
    "tail_init": ("pretrained", "random"),
    "average_bn": ("averaged", "copied"),
    "feature_dtype": ("fp32", "fp16", "bf16"),
    "precision": ("fp32", "bf16"),
}

LATER_SWITCHES: Mapping[str, Any] = {
    "average_bn": "averaged",
    "views": 0,
    "feature_dtype": "fp32",
    "precision": "fp32",
}
"""Switches that are younger than stored runs, with the value that all of those had. At this value
they are no part of an id, so that ids stay what they were."""

MULTI_SOURCE, SINGLE_SOURCE, UPPER_BOUND = WITH_TARGET = (
    "multi-source",
    "single-source",
    "upper-bound",
)
ALL_DOMAINS = "all-domains"
SETTINGS = (*WITH_TARGET, ALL_DOMAINS)

_SORTED = json.JSONEncoder(sort_keys=True)

V = TypeVar("V")
ByModality: TypeAlias = V | Mapping[str, V]
"""One value for all modalities, or one for each."""


@dataclass(frozen=True)
class Protocol:
    """The switches that published code sets differently per method; the defaults are `fair`."""

    neck: str = "layernorm"
    """`layernorm`: one trained LayerNorm per modality before the heads; `fixed-layernorm`: the
    same, never trained; `none`."""
    frozen_bn: ByModality[str] = "eval"
    """Whether batch norm in frozen stages keeps its statistics (`eval`) or follows the batches
    (`train`)."""
    tail_init: ByModality[str] = "pretrained"
    """Whether the trained stages start from the encoder's checkpoint (`pretrained`) or from
    `random` weights."""
    embedding_dropout: ByModality[float] = 0.0
    """Dropout probability on the embeddings."""
    ema_warmup: bool = True
    """Exponential averages ramp up, β_t = min(β, (1+t)/(10+t)); otherwise β is constant."""
    average_bn: str = "averaged"
    """Whether running averages of weights average the batch-norm statistics too (`averaged`), or
    copy those of the trained model after every step (`copied`)."""
    views: int = 0
    """How many augmented views a training sample has, drawn once and the same for all methods and
    seeds; every K epochs show each of K views once. 0: a new view in every epoch."""
    feature_dtype: str = "fp32"
    """What the output of frozen stages is rounded to."""
    precision: str = "fp32"
    """What encoders compute in; embeddings, heads, losses and weights are float32 in any case."""

    def __post_init__(self) -> None:
        check_choices(self, PROTOCOL_CHOICES)
        if self.views < 0:
            raise UsageError(f"--views {self.views}: give a number of 0 or more")
        for rate in switch_values(self.embedding_dropout):
            if not 0 <= rate < 1:
                raise UsageError(f"--embedding-dropout {rate}: give a probability below 1")

    def of(self, switch: str, modality: str) -> Any:
        """Return the value of a switch for one modality."""
        value = getattr(self, switch)
        return value[modality] if isinstance(value, Mapping) else value

    def on(self, modalities: Sequence[str], weights: Collection[str] = ()) -> "Protocol":
        """Return the same protocol in its canonical form for these modalities.

        Args:
            modalities: of the run.
            weights: the modalities that start from a checkpoint. For the others both values of
                `tail_init` mean the same, and `pretrained` stands for both.
        """
        values = {
            name: {k: self.of(name, k) for k in modalities}
            for name in ("frozen_bn", "tail_init", "embedding_dropout")
        }
        values["tail_init"] |= {k: "pretrained" for k in modalities if k not in weights}
        return replace(self, **{name: _compact(by) for name, by in values.items()})


FAIR = "fair"


def switches(protocol: Protocol) -> str:
    """Return `fair`, or the switches that differ from it, such as `neck=none ema_warmup=False`."""
    usual = vars(Protocol())
    told = []
    for name, value in vars(protocol).items():
        if value != usual[name]:
            by = isinstance(value, Mapping)
            told.append(f"{name}={','.join(f'{k}:{v}' for k, v in value.items()) if by else value}")
    return " ".join(told) or FAIR


def switch_values(value: Any) -> list[Any]:
    """Return the values that a switch has, for all modalities or for each."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _compact(by_modality: Mapping[str, Any]) -> Any:
    """Return the one value that all modalities share, or the mapping."""
    values = list(by_modality.values())
    return values[0] if all(v == values[0] for v in values) else dict(by_modality)


@dataclass(frozen=True)
class Asked:
    """The words of `benchmark.run` by which a run differs from the defaults.

    The defaults are those of its method, its dataset's card and the fair protocol. The words say
    how to ask for the run, and are no part of what it is.
    """

    set: tuple[str, ...] = ()
    """Hyper-parameters, `component.key=value`."""
    others: tuple[str, ...] = ()
    """Every other word, but for method, dataset, split, modalities and seed."""

    @classmethod
    def from_json(cls, values: Mapping[str, Sequence[str]]) -> "Asked":
        """Return the words that were written as lists."""
        return cls(tuple(values["set"]), tuple(values["others"]))


@dataclass(frozen=True)
class RunSpec:
    """Everything that can move a number of one training run, with all defaults resolved.

    No path, device, thread or worker count, launcher or selection rule belongs here.
    """

    dataset: str
    options: Mapping[str, Any]
    """The dataset's own options."""
    data: str
    """The fingerprint of the data index."""
    fabricated: bool
    setting: str
    """`multi-source`, `single-source`, `upper-bound`: trained on the target itself, or
    `all-domains`: trained on everything there is, to be used."""
    sources: tuple[str, ...]
    target: str
    """Empty where there is none: with `all-domains`, and never otherwise."""
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
    asked: Asked | None = field(default=None, compare=False, repr=False)
    """Not part of the id; None for a record that was written without it."""

    @cached_property
    def id(self) -> str:
        """Return 12 hexadecimal digits that name this run and no other."""
        switches = vars(self.protocol).items()
        told = {k: v for k, v in switches if k not in LATER_SWITCHES or v != LATER_SWITCHES[k]}
        text = _SORTED.encode({**self._values(), "protocol": told})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """The run in one line: method, dataset, split, modalities and seed."""
        split = f"{'+'.join(self.sources)} → {self.target}" if self.target else "all domains"
        return (
            f"{self.method} · {self.dataset} · {split} · {'+'.join(self.modalities)} · "
            f"seed {self.seed}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        asked = {"asked": vars(self.asked)} if self.asked else {}
        return dict(json.loads(json.dumps({**self._values(), **asked})))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunSpec":
        """Return the spec that `to_json` wrote.

        Raises:
            UsageError: something else did, or another version of the suite.
        """
        try:
            shape.require(values, cls)
        except UnreadableError as error:
            raise _no_spec(str(error)) from None
        asked = values.get("asked")
        if asked is not None and asked.keys() != {"set", "others"}:
            raise _no_spec("asked is missing or wrong")
        spec = cls(
            **{
                **values,
                "sources": tuple(values["sources"]),
                "modalities": tuple(values["modalities"]),
                "recipe": Recipe(**values["recipe"]),
                "protocol": Protocol(**values.get("protocol", {})),
                "asked": None if asked is None else Asked.from_json(asked),
            }
        )
        if spec.setting not in SETTINGS or not spec.sources or not spec.modalities:
            raise _no_spec("setting, sources or modalities")
        if (spec.target == "") != (spec.setting == ALL_DOMAINS):
            raise _no_spec("target")
        switches = [value for value in vars(spec.protocol).values() if isinstance(value, Mapping)]
        if any(set(spec.modalities) - values.keys() for values in (spec.encoders, *switches)):
            raise _no_spec("encoders or switches lack a modality")
        return spec

    def _values(self) -> dict[str, Any]:
        """Return what the id is made of by name, not copied: `asdict` takes ten times as long."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        return {**values, "recipe": vars(self.recipe), "protocol": vars(self.protocol)}


def flat(hyperparameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return hyper-parameters under `component.name`."""
    return {f"{c}.{k}": v for c, values in hyperparameters.items() for k, v in values.items()}


def _no_spec(reason: str) -> UsageError:
    return UsageError(f"no spec of this version of the suite: {reason}")
