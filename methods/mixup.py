"""Mixup between domains: training on blends of two samples of different source domains.

Zhang, Cisse, Dauphin and Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018; between
domains as in Yan et al., arXiv 2001.00677, 2020, and Xu et al., AAAI 2020.

    z̃_k,i = λ_i z_k,i + (1 - λ_i) z_k,j     for every modality k, λ_i ~ Beta(α, α)
    L = mean_i [ λ_i CE(f(z̃_i), y_i) + (1 - λ_i) CE(f(z̃_i), y_j) ]

The partner j of sample i is drawn from the batch's samples of other domains, or from all samples
where the batch has one domain. All modalities of a sample have the same λ_i and the same partner,
so that a blend stays a blend of two recordings. Differences from public code:
- Methods here see features, not inputs, so the raw embeddings are mixed; facebookresearch/DomainBed
  mixes inputs. MMDG-Bench (qszhan) mixes embeddings too, with α = 1, and adds the loss of the
  blends to that of the samples; here, as in the paper, it stands in its place.
- DomainBed has one λ for each pair of domains; here, as in the paper, each pair of samples has
  its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import LogUniform, hyper
from methods.shared.sampling import beta


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        0.2,
        "both parameters α of the Beta distribution of λ; blends are more even for larger ones",
        search=LogUniform(0.1, 10.0),
        low=0.01,
    )


@register("mixup")
class Mixup(Method):
    """ERM on blends of samples of different domains."""

    family = "domain generalization"
    paper = "Zhang et al., ICLR 2018"
    Hyperparameters = Hyperparameters

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the blends with both labels, weighted as they are mixed."""
        embeddings = self.model.embed(batch.features)
        partner = partners(batch.domains, self.run.generator)
        like = next(iter(embeddings.values()))
        share = beta(self.hp.alpha, len(like), self.run.generator).to(like)
        mixed = {
            k: share.unsqueeze(1) * z + (1 - share.unsqueeze(1)) * z[partner]
            for k, z in embeddings.items()
        }
        fused = self.model.fuse(mixed)
        own, other = (
            F.cross_entropy(fused, labels, reduction="none")
            for labels in (batch.labels, batch.labels[partner])
        )
        return {FUSED: (share * own + (1 - share) * other).mean()}


def partners(domains: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the index [B] of a sample of another domain for each sample, where there is one."""
    on_cpu = domains.cpu()
    allowed = on_cpu.unsqueeze(0) != on_cpu.unsqueeze(1)
    if not allowed.any():
        allowed = torch.ones_like(allowed)
    drawn = torch.multinomial(allowed.double(), 1, generator=generator)
    return drawn.squeeze(1).to(domains.device)
