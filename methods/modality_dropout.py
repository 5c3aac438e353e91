"""Modality dropout with a fixed rate.

Neverova, Wolf, Taylor and Nebout, ModDrop: Adaptive Multi-Modal Gesture Recognition, TPAMI 2016.

    m_k ~ Bernoulli(1 - p) per sample,    L = CE(f(m ⊙ z), y)

Choices that the paper leaves open: samples that would lose all M modalities are drawn again, and
what is kept is not rescaled (MBCD does the same, so the two can be compared). The effective rate is
then (p - p^M) / (1 - p^M): at the default of 0.3, .231 for two modalities and .281 for three. The
share that is dropped is logged as `effective_drop_rate`. Prediction uses all modalities.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import Uniform, hyper
from methods.shared import masks


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    rate: float = hyper(
        0.3, "probability of dropping a modality", search=Uniform(0.1, 0.5), low=0.0, high=0.95
    )


@register("modality_dropout")
class ModalityDropout(Method):
    """Cross-entropy of the fused prediction from the modalities that are left."""

    family = "baseline"
    paper = "Neverova et al., TPAMI 2016"
    Hyperparameters = Hyperparameters

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f(m ⊙ z), y)."""
        rates = {k: self.hp.rate for k in self.run.modalities}
        mask = masks.draw(rates, batch.labels, self.run.generator)
        for k, share in masks.dropped(mask).items():
            self.log(f"effective_drop_rate/{k}", share)
        fused = self.model.fuse(self.model.embed(batch.features), mask)
        return {FUSED: F.cross_entropy(fused, batch.labels)}
