"""Helpers of the method tests beside the toys of the contract."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from benchmark.contract import toys
from benchmark.contract.toys import (
    CLASSES,
    SHAPES,
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    grads,
    make_batch,
    make_batches,
    registered_encoder,
    signal_encoder,
    tensors,
    through_a_file,
    tiny_encoder,
    tiny_model,
    validate,
    vector_encoder,
)
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Batch, HeadStats, Method, Model, Validation

__all__ = [
    "CLASSES",
    "SHAPES",
    "VECTORS",
    "WITH_BATCH_NORM",
    "adam",
    "assert_close",
    "assert_same",
    "gradients_of",
    "grads",
    "make_batch",
    "make_batches",
    "registered_encoder",
    "signal_encoder",
    "tensors",
    "through_a_file",
    "tiny_encoder",
    "tiny_model",
    "validate",
    "vector_encoder",
]


def without_dropout(model: Model) -> Model:
    """Turn every dropout of a model off, so that train mode draws nothing."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def smooth(model: MultimodalModel) -> MultimodalModel:
    """Make the loss twice differentiable: no dropout, tanh for ReLU in the heads."""
    for head in (*model.heads.values(), model.fusion):
        for i, layer in enumerate(head):
            if isinstance(layer, nn.ReLU):
                head[i] = nn.Tanh()
    without_dropout(model)
    return model


class LinearModel(Model):
    """A model whose predictions are linear in its weights; embeddings are the features."""

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({k: nn.Linear(d, classes) for k, d in dims.items()})
        self.fusion = nn.Linear(sum(dims.values()), classes, bias=False)
        self.double()

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.heads)

    @property
    def dims(self):
        raise NotImplementedError

    def replace_heads(self, fusion=None, unimodal=None):
        raise NotImplementedError

    def embed(self, features, parameters=None):
        return dict(features)

    def tail_parameters(self, modality):
        return {}

    def branch(self, modality):
        return (self.heads[modality],)

    def features_edited(self, edit):
        raise NotImplementedError("a linear model has no feature maps")

    def unimodal(self, embeddings):
        return {k: head(embeddings[k]) for k, head in self.heads.items()}

    def fuse(self, embeddings, mask=None):
        return self.fusion(torch.cat([embeddings[k] for k in self.modalities], dim=1))


def make_method(
    composition: str,
    model: Model,
    ema_warmup: bool = False,
    batches: Sequence[Batch] = (),
    **hyperparameters: object,
) -> Method:
    """Set up a method; its `run.refreshed` notes what had its batch norm refreshed."""
    method = toys.make_method(composition, model, ema_warmup, batches, **hyperparameters)
    method.run.refreshed = []
    method.run.refresh_bn = lambda m: method.run.refreshed.append((m, tensors(m)))
    return method


def train(method: Method, batches: Iterable[Batch], optimizer: torch.optim.Optimizer) -> None:
    """Make one training step per batch, as the engine does."""
    toys.train(method, batches, lambda: optimizer)


def trajectory(
    composition: str, model: Model, batches: Iterable[Batch], **hyperparameters: object
) -> list[dict[str, Tensor]]:
    """Train with seeded dropout and return the student's weights after every step."""
    method = make_method(composition, model, **hyperparameters)
    optimizer = adam(method)
    torch.manual_seed(11)
    weights = []
    for batch in batches:
        train(method, [batch], optimizer)
        weights.append(tensors(method.model))
    return weights


def fused_loss(loss: float) -> Validation:
    """Return a validation in which the student's fused loss is `loss`, the average's another."""
    return Validation({FUSED: HeadStats(loss, 0.5)}, {FUSED: HeadStats(-loss, 0.5)})
