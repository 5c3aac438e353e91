"""OPM: on-the-fly prediction modulation.

Wei, Hu, Du and Wen, On-the-fly Modulation for Balanced Multimodal Learning, TPAMI 2024: the
feed-forward counterpart of OGM, which weakens a dominant modality's features instead of its
gradient.

    s_k = mean_i softmax(u_k)[i, y_i]        ρ_k = s_k / mean_{j≠k} s_j
    q_k = min(q_b (1 + λ tanh(ρ_k - 1)), 1) if ρ_k > 1 else 0
    in a share p of the batches:  z_k ← m_k z_k / (1 - θ),   m_k ~ Bernoulli(1 - q_k) per sample,
                                  θ = Σ_k D_k q_k / Σ_k D_k
    L = CE(f, y);   prediction: all modalities

1/(1-θ) keeps the expected size of the concatenated features. The weakest modality has ρ ≤ 1 and is
never dropped, so no sample loses everything. With one modality q = 0, and OPM is ERM.

Differences from the public code (GeWu-Lab/BML_TPAMI2024, code/models/Classifier.py):
- The published u_k splits a linear fusion head; here it is the fused prediction with every other
  modality masked, in eval mode and without gradient. Masks and factor act after the neck: layer
  norm would undo the factor.
- The paper has two modalities; ρ_k compares with the mean of the others. BalanceBenchmark divides
  by their sum, so that with three modalities hardly any ρ exceeds 1, and changes the scores in
  place between the first ratio and the second.
- The warm-up lasts one epoch by default, in which the scores become more than chance: our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import Uniform, hyper
from methods.shared.imbalance import confidence, fused_logits, relative


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    base: float = hyper(
        0.5,
        "drop rate q_b of a barely dominant modality",
        search=Uniform(0.2, 0.7),
        low=0.0,
        high=1.0,
    )
    slope: float = hyper(
        0.5, "how much λ the drop rate grows with dominance", search=Uniform(0.0, 1.0), low=0.0
    )
    share: float = hyper(
        0.7,
        "share p of the batches that are modulated",
        search=Uniform(0.3, 1.0),
        low=0.0,
        high=1.0,
    )
    warmup: int = hyper(1, "epochs before the modulation starts", low=0)


@register("opm")
class OPM(Method):
    """ERM on features from which the dominant modality is sometimes dropped."""

    family = "balancing"
    paper = "Wei et al., TPAMI 2024"
    Hyperparameters = Hyperparameters

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y) of the modulated features."""
        embeddings = self.model.embed(batch.features)
        mask = None if self.run.epoch < self.hp.warmup else self._mask(embeddings, batch.labels)
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings, mask), batch.labels)}

    def _mask(self, z: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor] | None:
        """Return m_k / (1 - θ), or None for a batch that is left alone."""
        alone = fused_logits(self.model, z, [(k,) for k in z])
        scores = {k: confidence(u, labels) for k, u in zip(z, alone, strict=True)}
        rates = drop_rates(scores, self.hp.base, self.hp.slope)
        for k, rate in rates.items():
            self.log(f"drop_rate/{k}", rate)
        if not torch.rand((), generator=self.run.generator, dtype=torch.float64) < self.hp.share:
            return None
        return modulation(rates, {k: x.shape[1] for k, x in z.items()}, labels, self.run.generator)


def drop_rates(scores: Mapping[str, float], base: float, slope: float) -> dict[str, float]:
    """Return q_k from the scores s_k; 0 for the weakest modality and for a single one."""
    rates = {}
    for k, ratio in relative(scores).items():
        ahead = torch.tensor(ratio - 1, dtype=torch.float64)
        rates[k] = min(base * (1 + slope * float(ahead.tanh())), 1.0) if ratio > 1 else 0.0
    return rates


def modulation(
    rates: Mapping[str, float], dims: Mapping[str, int], like: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw m_k / (1 - θ) for the features of every modality; `like` is [B, ...]."""
    theta = sum(dims[k] * q for k, q in rates.items()) / sum(dims.values())
    uniform = torch.rand(len(like), len(rates), generator=generator, dtype=torch.float64)
    kept = uniform >= torch.tensor(list(rates.values()), dtype=torch.float64)
    factors = (kept.double() / (1 - theta)).to(like.device)
    return {k: factors[:, i] for i, k in enumerate(rates)}
