"""DANN: embeddings from which a discriminator cannot tell the source domain.

Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016; over source domains as in
Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021.

    L = CE(f, y) + CE(D(R_λ[z_1; ..; z_M]), d)

R_λ is the identity; its gradient is multiplied by -λ. So the discriminator D minimises the domain
loss, at full strength whatever λ is, and the encoders maximise λ times it. Without two domains
that have two samples each in the batch the term is absent. Differences from public code
(facebookresearch/DomainBed):
- It has two Adams, β_1 = 0.5, that take turns on D and on the rest, with options for several
  turns of D and a penalty on its gradient. Here D and the rest share the recipe's optimizer, as
  in the paper; both have the same fixed points, and all methods the same optimizer.
- D has one hidden layer with batch norm, DomainBed's has two with dropout.
- λ is constant, as there; the paper's larger experiments raise it from 0 to 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import LogUniform, hyper
from methods.shared.discriminators import discriminator, reversed_gradient
from methods.shared.losses import by_domain


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    weight: float = hyper(
        1.0,
        "weight λ of the reversed gradient in the encoders",
        search=LogUniform(0.01, 100.0),
        low=0.0,
    )


@register("dann")
class DANN(Method):
    """ERM against a domain discriminator."""

    family = "domain generalization"
    paper = "Ganin et al., JMLR 2016"
    Hyperparameters = Hyperparameters

    def setup(self, model: Model, run: Run) -> None:
        """Make the discriminator."""
        super().setup(model, run)
        self.discriminator = discriminator(len(run.domains), sum(model.dims.values()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), and the discriminator's cross-entropy behind a reversed gradient."""
        embeddings = self.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
        if len(by_domain(batch.domains)) > 1:
            z = torch.cat(list(embeddings.values()), dim=1)
            guess = self.discriminator(reversed_gradient(z, self.hp.weight))
            terms["domain"] = F.cross_entropy(guess, batch.domains)
        return terms
