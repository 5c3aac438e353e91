"""READ: confident predictions grow surer, and a batch is spread over the classes.

Yang, Li, Zhang, Hu and Peng, Test-time Adaptation against Multi-modal Reliability Bias, ICLR 2024.
"""

import torch
from torch import Tensor, nn

from benchmark.analysis.adapt.base import (
    NO_FUSION_HEAD,
    GradientEvaluator,
    marginal_entropy,
    outputs_fused,
    trained,
)
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Logits, Method


class READ(GradientEvaluator):
    """L = mean(-p ln p) - H, p the highest probability of each sample, H the batch's entropy.

    Adapted is the fusion head. The paper has a transformer, and adapts the attention with which
    its first joint block weighs the modalities; here the fusion head is what weighs them. H is that
    of `marginal_entropy`, by default with the public code's second softmax.
    """

    @classmethod
    def lacks(cls, method: Method, model: MultimodalModel) -> str:
        """Return that the fusion head has no part in the predictions, where it has none."""
        return "" if outputs_fused(model.fusion, method, model) else NO_FUSION_HEAD

    @classmethod
    def tensors(cls, method: Method, model: MultimodalModel) -> list[nn.Parameter]:
        """Return the parameters of the fusion head."""
        return trained([model.fusion])

    def loss(self, logits: Logits) -> Tensor:
        """Return the loss of the fused predictions."""
        p = logits[FUSED].softmax(dim=1)
        top = p.amax(dim=1)
        reliable = -(top * torch.log(top)).mean()
        return reliable - marginal_entropy(p, self.settings.double_softmax)
