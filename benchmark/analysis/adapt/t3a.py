"""T3A: the last linear layer gives way to templates, the means of confident features.

Iwasawa and Matsuo, Test-Time Classifier Adjustment Module for Model-Agnostic Domain Generalization,
NeurIPS 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.analysis.adapt.base import NO_FUSION_HEAD, Adapted, Evaluator, outputs_fused
from benchmark.analysis.adapt.settings import Settings
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Features, Method
from methods.shared.losses import entropy


class T3A(Evaluator):
    """f_c = z · ω_c / ‖ω_c‖,   ω_c = Σ of the normalised supports of class c.

    z are the features before the last linear layer of the fusion head. Supports are at first the
    layer's weights; every batch adds its features, each to the class that the layer itself
    predicts. Of each class the `filter_k` with the lowest entropy stay. A batch is in the templates
    that it is predicted with; before the update it is predicted with those of earlier batches. No
    trained tensor changes.
    """

    def __init__(self, method: Method, model: MultimodalModel, settings: Settings) -> None:
        super().__init__(method, model, settings)
        layer = last_linear(self.model)
        assert layer is not None
        layer.register_forward_pre_hook(self._see)
        with torch.no_grad():
            self._logits = layer(layer.weight)
        self._features = self._seen.detach()
        self._keep()

    @classmethod
    def lacks(cls, method: Method, model: MultimodalModel) -> str:
        """Return that no linear layer gives the fused prediction, where none does."""
        layer = last_linear(model)
        if layer is not None and outputs_fused(layer, method, model):
            return ""
        if outputs_fused(model.fusion, method, model):
            return "its fusion head does not end in a linear layer"
        return NO_FUSION_HEAD

    @torch.no_grad()
    def adapt(self, features: Mapping[str, Features]) -> Adapted:
        """Predict with the templates before and after the batch is among the supports."""
        logits = self.logits(features)[FUSED]
        z = self._seen
        before = z @ self.templates()
        self._features = torch.cat([self._features, z])
        self._logits = torch.cat([self._logits, logits])
        self._keep()
        return Adapted(before, z @ self.templates())

    def templates(self) -> Tensor:
        """Return the columns ω_c / ‖ω_c‖ [D, C]; zeros for a class without supports."""
        classes = F.one_hot(self._logits.argmax(dim=1), self._logits.shape[1])
        sums = F.normalize(self._features, dim=1).T @ classes.to(self._features)
        return F.normalize(sums, dim=0)

    def _see(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        (self._seen,) = inputs

    def _keep(self) -> None:
        """Keep the surest supports of each class."""
        order = entropy(self._logits).argsort(stable=True)
        classes = F.one_hot(self._logits.argmax(dim=1), self._logits.shape[1])[order]
        rank = (classes.cumsum(dim=0) * classes).sum(dim=1)
        kept = order[rank <= self.settings.filter_k]
        self._features, self._logits = self._features[kept], self._logits[kept]


def last_linear(model: MultimodalModel) -> nn.Linear | None:
    """Return the last linear layer of the fusion head, None where it has none."""
    layers = [m for m in model.fusion.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers else None
