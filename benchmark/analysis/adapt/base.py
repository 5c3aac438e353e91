"""What evaluators share: a copy of the model to adapt, and one step of Adam per batch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.analysis.adapt.settings import Settings
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Features, Logits, Method
from methods.shared.averaging import copied

NO_FUSION_HEAD = "its prediction is not that of a fusion head: unimodal ones are combined"


class Adapted(NamedTuple):
    """The fused logits [B, C] of a batch before and after the update that it makes."""

    before: Tensor
    after: Tensor


class Evaluator(ABC):
    """Predicts the batches of a stream one after the other, and adapts to each.

    It changes a copy of the model, in evaluation mode: nothing is dropped out, and batch norm has
    the statistics of the training unless an evaluator says otherwise.
    """

    def __init__(self, method: Method, model: MultimodalModel, settings: Settings) -> None:
        self.method, self.settings = method, settings
        self.model = copied(model).eval()

    @classmethod
    def lacks(cls, method: Method, model: MultimodalModel) -> str:
        """Return why a trained model cannot be adapted so; "" where it can."""
        return ""

    @abstractmethod
    def adapt(self, features: Mapping[str, Features]) -> Adapted:
        """Return the predictions of the next batch, after adapting to it."""

    def facts(self) -> dict[str, Any]:
        """Return what else there is to say once the stream is at its end, as JSON values."""
        return {}

    def logits(self, features: Mapping[str, Features]) -> Logits:
        """Return what the method predicts of a batch with the adapted model."""
        return self.method.classify(self.model.embed(features), None, self.model)


class GradientEvaluator(Evaluator):
    """Makes one step of Adam per batch, on some of the trained tensors."""

    def __init__(self, method: Method, model: MultimodalModel, settings: Settings) -> None:
        super().__init__(method, model, settings)
        self.adapted = self.tensors(method, self.model)
        self.model.requires_grad_(False)
        for p in self.adapted:
            p.requires_grad_(True)
        self.optimizer = self.new_optimizer()

    @classmethod
    @abstractmethod
    def tensors(cls, method: Method, model: MultimodalModel) -> list[nn.Parameter]:
        """Return what is adapted of a model, which method's it is."""

    @abstractmethod
    def loss(self, logits: Logits) -> Tensor:
        """Return the scalar to minimise, from the predictions of a batch."""

    def facts(self) -> dict[str, Any]:
        """Return how many parameters are adapted."""
        return {"parameters": sum(p.numel() for p in self.adapted)}

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer as it is at the start of a stream."""
        return torch.optim.Adam(self.adapted, lr=self.settings.lr)

    def adapt(self, features: Mapping[str, Features]) -> Adapted:
        """Predict, make one step, and predict again."""
        before = self.logits(features)
        self.update(features, before)
        with torch.no_grad():
            after = self.logits(features)
        return Adapted(before[FUSED].detach(), after[FUSED])

    def update(self, features: Mapping[str, Features], logits: Logits) -> None:
        """Make one step, given the predictions before it."""
        self.optimizer.zero_grad()
        self.loss(logits).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def trained(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Return the trained parameters of some modules, each once."""
    found = {p: None for module in modules for p in module.parameters() if p.requires_grad}
    return list(found)


@torch.no_grad()
def outputs_fused(part: nn.Module, method: Method, model: MultimodalModel) -> bool:
    """Return whether what a part of the model puts out is the fused prediction itself."""
    like = next(model.parameters())
    embeddings = {k: like.new_zeros(1, dim) for k, dim in model.dims.items()}
    outputs: list[Tensor] = []
    handle = part.register_forward_hook(lambda _, __, output: outputs.append(output))
    try:
        fused = method.classify(embeddings, None, model)[FUSED]
    finally:
        handle.remove()
    return any(output is fused for output in outputs)


def marginal_entropy(probabilities: Tensor, double_softmax: bool) -> Tensor:
    """Return the entropy in nats of what a batch of probabilities [B, C] has in common.

    Of their mean; with `double_softmax` of the softmax of their sum, as the public code of READ
    and AEO has it: a distribution is taken for logits, so that the more samples a batch has, the
    further it is from uniform.
    """
    if double_softmax:
        common = probabilities.sum(dim=0).softmax(dim=0)
    else:
        common = probabilities.mean(dim=0)
    # Where a class underflows, the gradient of its term is infinite.
    common = common.clamp_min(torch.finfo(common.dtype).tiny)
    return -(common * common.log()).sum()
