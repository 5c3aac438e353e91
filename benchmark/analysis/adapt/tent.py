"""Tent: the entropy of the predictions is minimised through normalisation layers.

Wang, Shelhamer, Liu, Olshausen and Darrell, Tent: Fully Test-Time Adaptation by Entropy
Minimization, ICLR 2021.
"""

from torch import Tensor, nn

from benchmark.analysis.adapt.base import GradientEvaluator, trained
from benchmark.analysis.adapt.settings import Settings
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Logits, Method
from methods.shared.losses import entropy

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Tent(GradientEvaluator):
    """L = mean H(softmax f) of the fused logits f.

    Adapted are the trained scales and shifts of the normalisation layers: those in the trained
    stages of the encoders, and the necks. Batch norm in the trained stages normalises by the
    statistics of the test batch; frozen stages stay as they are.
    """

    def __init__(self, method: Method, model: MultimodalModel, settings: Settings) -> None:
        super().__init__(method, model, settings)
        for norm in self.model.trained_batch_norms():
            norm.train()
            norm.momentum = 0.0  # a vector that comes alone is normalised as in training

    @classmethod
    def lacks(cls, method: Method, model: MultimodalModel) -> str:
        """Return that there is nothing to adapt where no normalisation layer was trained."""
        return "" if cls.tensors(method, model) else "no normalisation layer was trained"

    @classmethod
    def tensors(cls, method: Method, model: MultimodalModel) -> list[nn.Parameter]:
        """Return scales and shifts of normalisation layers in trained stages and necks."""
        parts = [part for k in model.modalities for part in (model.encoder(k).tail, model.necks[k])]
        return trained([m for part in parts for m in part.modules() if isinstance(m, NORMS)])

    def loss(self, logits: Logits) -> Tensor:
        """Return the mean entropy."""
        return entropy(logits[FUSED]).mean()
