"""The training method: the hooks that the engine calls, and what it hands to them.

A method is an `nn.Module` around a model it is given. The engine calls the hooks in the order
in which they stand in `Method` and never looks at a method's name. Methods see features (the
output of the frozen stages), never raw inputs, and never anything of the target domain.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.hyperparameters import NoHyperparameters
from methods.logs import Logs
from methods.published import PublishedScript

Features = Tensor | tuple[Tensor, ...]
"""The output of one encoder's frozen stages for a batch."""

Mask = Mapping[str, Tensor]
"""By modality, [B]: bool, whether a sample keeps it, or factors on it; unnamed ones are kept."""

Logits = dict[str, Tensor]
"""`fused` [B, C], and [B, C] under each modality's name where it has a trained prediction."""

FUSED = "fused"


@dataclass(frozen=True)
class Batch:
    """B samples: features by modality, labels [B], domains [B] (0..S-1), and the sample ids."""

    features: dict[str, Features]
    labels: Tensor
    domains: Tensor
    ids: tuple[str, ...]
    second: dict[str, Features] | None = None
    """Features of the same samples under other augmentation, for methods with `two_views`."""


class Model(nn.Module, ABC):
    """The model as methods see it; its parts and initial weights are the same for all of them."""

    @property
    @abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """The modalities in the dataset's order."""

    @property
    @abstractmethod
    def dims(self) -> dict[str, int]:
        """The size D_k of each modality's embedding."""

    @abstractmethod
    def replace_heads(
        self, fusion: nn.Module | None = None, unimodal: Mapping[str, nn.Module] | None = None
    ) -> None:
        """Put other heads in the place of the model's, for methods whose paper has its own.

        Args:
            fusion: turns the concatenated, masked embeddings [B, Σ_k D_k] into [B, C].
            unimodal: by modality, turns the embedding [B, D_k] after the neck into [B, C].
        """

    @abstractmethod
    def embed(
        self,
        features: Mapping[str, Features],
        parameters: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Return the pooled embeddings [B, D_k].

        `parameters` stands in, by modality, for tensors that `tail_parameters` names; batch
        norm of every modality then runs on throw-away copies of its statistics.
        """

    @abstractmethod
    def tail_parameters(self, modality: str) -> dict[str, Tensor]:
        """Return the trained tensors of one encoder, by the names `embed` takes."""

    @abstractmethod
    def branch(self, modality: str) -> tuple[nn.Module, ...]:
        """Return everything that only this modality uses: encoder, neck and unimodal head."""

    def frozen_stages(self) -> tuple[nn.Module, ...]:
        """Return the modules that nothing changes, statistics included; copies share them."""
        return ()

    @abstractmethod
    def features_edited(self, edit: Callable[[Features], Features]) -> AbstractContextManager[None]:
        """Pass every encoder's feature maps through `edit` while the context lasts.

        These are what the frozen stages hand over and what is about to be pooled; the embedding
        where an encoder has no maps. A tuple of tensors is edited in one call.
        """

    @abstractmethod
    def unimodal(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's own prediction [B, C]."""

    @abstractmethod
    def fuse(self, embeddings: Mapping[str, Tensor], mask: Mask | None = None) -> Tensor:
        """Return the fused prediction [B, C]; the mask zeroes modalities after the neck."""


@dataclass(frozen=True)
class HeadStats:
    """The mean cross-entropy and the accuracy (0..1) of one prediction."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Validation:
    """Source-validation figures by head (`fused`, and modalities where trained)."""

    student: dict[str, HeadStats]
    evaluated: dict[str, HeadStats]


@dataclass
class Run:
    """The run as a method sees it; it never holds target data."""

    modalities: tuple[str, ...]
    domains: tuple[str, ...]
    classes: int
    total_steps: int
    ema_warmup: bool
    """Whether averages ramp up: β_t = min(β, (1+t)/(10+t))."""
    generator: torch.Generator
    """The method's own random stream, on the CPU, part of every checkpoint."""
    train_loader: Callable[[], Iterable[Batch]]
    """The train part in a fixed order, with evaluation transforms."""
    val_loader: Callable[[], Iterable[Batch]]
    """The source-validation part."""
    refresh_bn: Callable[[Model], None]
    """Recompute the batch-norm statistics of a model's trained stages on the train part."""
    reset_optimizer: Callable[[], None]
    average_bn: str = "averaged"
    """Whether running averages of weights average floating buffers too, or hold those of the
    student (`copied`)."""
    step: int = 0
    epoch: int = 0
    logs: Logs = field(default_factory=Logs)


FAMILIES = (
    *("baseline", "weight averaging", "sharpness", "domain generalization", "MMDG", "balancing"),
    "own",
)


class Method(nn.Module, ABC):
    """One training method: the hooks of a run, in the order in which they are called."""

    name: ClassVar[str]
    """Set by `register`."""
    family: ClassVar[str] = "own"
    """The kind of method, for lists; one of `FAMILIES`."""
    paper: ClassVar[str] = ""
    """First author, venue and year."""
    Hyperparameters: ClassVar[type] = NoHyperparameters

    min_modalities: ClassVar[int] = 1
    max_modalities: ClassVar[int | None] = None
    min_domains: ClassVar[int] = 1
    two_views: ClassVar[bool] = False
    """Whether training batches hold a second view of every sample."""
    several_updates: ClassVar[bool] = False
    """Whether a batch takes more than one update, so that no wrapper can compute its gradients."""
    trains_unimodal: bool = False
    """Whether the unimodal heads are trained, so that their predictions mean something."""
    own_rule: ClassVar[bool] = False
    """Whether the reported weights exist only after `finalize`."""
    evaluates_average: ClassVar[bool] = False
    """Whether `eval_model` is already an average of the trained weights."""
    is_wrapper: ClassVar[bool] = False
    published: ClassVar[PublishedScript] = PublishedScript()
    """The changes that `--protocol reference` makes for this method."""

    model: Model
    run: Run

    def __init__(self, hyperparameters: Any = None) -> None:
        super().__init__()
        self.hp = self.Hyperparameters() if hyperparameters is None else hyperparameters

    def setup(self, model: Model, run: Run) -> None:
        """Keep the model and the run; create extra modules, teachers, prototypes."""
        self.model = model
        self.run = run

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups: by default all that requires a gradient.

        A group may have an `lr_factor` on the recipe's learning rate, and a `weight_decay`.
        """
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def epoch_start(self) -> None:
        """Prepare an epoch: prototypes, probes, schedules."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the named scalar terms whose sum is minimised."""

    def compute_grads(self, batch: Batch) -> None:
        """Leave the gradient of the loss in the parameters; advance no other state."""
        self.zero_grad(set_to_none=True)
        self.total(self.loss(batch)).backward()  # type: ignore[no-untyped-call]

    def step(self, batch: Batch, update: Callable[[], None]) -> None:
        """Make one update of the weights; override only to make several updates per batch."""
        self.compute_grads(batch)
        update()

    def after_step(self) -> None:
        """Follow the weights after they changed: averages, segments, counters."""

    def epoch_end(self) -> None:
        """End an epoch: samples of the weights, schedules."""

    def validated(self, stats: Validation) -> bool:
        """Take in a source validation; return True to stop training."""
        return False

    def finalize(self) -> None:
        """Install the weights to be tested, once, after training."""

    def eval_model(self) -> Model:
        """Return the model that is validated, selected and tested: one and the same."""
        return self.model

    @torch.no_grad()
    def predict(
        self,
        features: Mapping[str, Features],
        present: Mask | None = None,
        model: Model | None = None,
    ) -> Logits:
        """Return the logits that are scored, under `fused`, and those of trained unimodal heads.

        Args:
            features: one batch.
            present: which samples have a modality at all; None where nothing is missing.
            model: predict with this model's weights instead of `eval_model()`.
        """
        model = self.eval_model() if model is None else model
        return self.classify(model.embed(features), present, model)

    def classify(
        self, embeddings: Mapping[str, Tensor], present: Mask | None, model: Model
    ) -> Logits:
        """Return what `predict` does, from the embeddings [B, D_k] that `model` gave.

        It can be differentiated, so that the loss of what is reported has a gradient.
        """
        own = model.unimodal(embeddings) if self.trains_unimodal else {}
        fused = self.combined(own, present)
        return {FUSED: model.fuse(embeddings, present) if fused is None else fused, **own}

    def combined(self, own: Mapping[str, Tensor], present: Mask | None) -> Tensor | None:
        """Return the fused prediction [B, C] made of the unimodal ones; None: the fusion head's.

        Args:
            own: the logits [B, C] of each trained unimodal head.
            present: as in `predict`.
        """
        return None

    def prediction_state(self) -> dict[str, Any]:
        """Return what `classify` needs beside the model's weights, and is kept with them."""
        return {}

    def set_prediction_state(self, state: dict[str, Any]) -> None:
        """Restore what `prediction_state` returned."""

    def summary(self) -> dict[str, Any]:
        """Return facts about the finished run for its record, as JSON values."""
        return {}

    # Below: helpers for the hooks above, not called by the engine.

    def log(self, name: str, value: float | Tensor) -> None:
        """Record a value, averaged until the next validation."""
        self.run.logs.add(name, value)

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Log every term and return their sum.

        A term that is NaN or infinite ends the run when the logs are next read: at the latest at
        the next validation, and before anything is saved.
        """
        self.run.logs.add_losses(self.run.step, terms)
        return torch.stack(list(terms.values())).sum()
