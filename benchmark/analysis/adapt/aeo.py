"""AEO: entropies grow or shrink by where they stand, and modalities with them.

Dong, Chatzi and Fink, Towards Robust Multimodal Open-set Test-time Adaptation via Adaptive
Entropy-aware Optimization, ICLR 2025.
"""

import math
from itertools import combinations

import torch
from torch import Tensor, nn

from benchmark.analysis.adapt.base import (
    GradientEvaluator,
    marginal_entropy,
    outputs_fused,
    trained,
)
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Logits, Method
from methods.shared.losses import entropy

SLOPE, MIDDLE = 4.0, 0.8
AGREEMENT, BALANCE = 0.1, 0.1
"""The weights of the modalities' terms, and of the batch's entropy."""


class AEO(GradientEvaluator):
    """Known samples are made surer, unknown ones less so, together with their modalities.

        e = H(p) / ln C,   e_k = H(p_k) / ln C,   w = tanh(4 (e - 0.8))
        L = mean(-e w) + 0.1 [mean_{k<l} mean(-‖p_k - p_l‖₁ w) + mean_k mean(-e_k w)] - 0.1 H

    p is the fused and p_k the unimodal prediction. The paper has two modalities: its sums are the
    one pair, and a half of each modality's term. With one modality there is no pair. H is that of
    `marginal_entropy`, by default with the public code's second softmax. The gradient flows through
    the weights w.

    Adapted are the trained stages, the necks and the heads that the predictions come from.
    """

    @classmethod
    def lacks(cls, method: Method, model: MultimodalModel) -> str:
        """Return that unimodal predictions are missing, where they mean nothing."""
        return "" if method.trains_unimodal else "it trains no unimodal heads"

    @classmethod
    def tensors(cls, method: Method, model: MultimodalModel) -> list[nn.Parameter]:
        """Return what is trained, less a fusion head without a part in the predictions."""
        branches = [part for k in model.modalities for part in model.branch(k)]
        used = outputs_fused(model.fusion, method, model)
        return trained([*branches, *([model.fusion] if used else [])])

    def loss(self, logits: Logits) -> Tensor:
        """Return the loss of the fused and unimodal predictions."""
        fused = logits[FUSED]
        own = [logits[k] for k in self.model.modalities]
        most = math.log(fused.shape[1])
        e = entropy(fused) / most
        w = torch.tanh(SLOPE * (e - MIDDLE))
        modal = torch.stack([entropy(u) / most for u in own]).mean(dim=0)
        if len(own) > 1:
            p = [u.softmax(dim=1) for u in own]
            apart = [(a - b).abs().sum(dim=1) for a, b in combinations(p, 2)]
            modal = modal + torch.stack(apart).mean(dim=0)
        common = marginal_entropy(fused.softmax(dim=1), self.settings.double_softmax)
        return -(e * w).mean() - AGREEMENT * (modal * w).mean() - BALANCE * common
