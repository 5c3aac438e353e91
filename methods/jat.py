"""JAT: three adversaries, and unimodal losses weighted by how stable a modality is.

Li et al., ACM Multimedia 2025.

    L = CE(f, y) + λ_c Σ_k w_k CE(u_k, y)
        + λ_g CE(D_g(R_b[z_1; ..; z_M]), d)
        + λ_l mean_k CE(D_l(P^d_k(R_b z_k)), d)
        + λ_m mean_k CE(D_m(P^m_k(R_a z_k)), k)
    w = softmax_k(H̄_k / T),   H̄_k = mean entropy of the prediction of D_l from modality k

R_a reverses the gradient and multiplies it with a, P are projections, D discriminators: D_g and
D_l guess the domain d, D_m the modality. A modality whose domain is hard to guess weighs more.

Without two domains that have two samples each in the batch the domain terms are absent and w is
uniform; with one modality D_m is absent. Differences from MMDG_Benchmark's two ports:
- The weights are constants within a step. In the ports a gradient flows into them: the class losses
  then train D_l to be sure about modalities whose class loss is high, and through the reversal
  the encoders to the contrary.
- With one source domain the HUST port takes the entropies of a discriminator with one class,
  which is uniform too; the other one weights by the entropy of the class prediction.
- D_m sees all modalities in one batch, as otherwise its batch norm would take out what tells
  them apart. Its labels follow the batch's size.
- Projections are 128 wide; one of the ports has 512.
- Unimodal heads are those of every method here, not one linear layer.
- The authors' README adds DSU feature noise, which is `dsu+jat` here.

No results of the paper were found to compare with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import LogUniform, hyper
from methods.published import PublishedScript
from methods.shared.discriminators import discriminator, projection, reversed_gradient
from methods.shared.losses import by_domain, entropy, unimodal_cross_entropy


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    unimodal: float = hyper(
        3.0, "weight λ_c of the unimodal losses", search=LogUniform(0.3, 10.0), low=0.0
    )
    global_domain: float = hyper(
        0.5, "weight λ_g of the joint domain adversary", search=LogUniform(0.05, 2.0), low=0.0
    )
    local_domain: float = hyper(
        0.5, "weight λ_l of each modality's domain adversary", search=LogUniform(0.05, 2.0), low=0.0
    )
    modal: float = hyper(
        0.1, "weight λ_m of the modality adversary", search=LogUniform(0.01, 1.0), low=0.0
    )
    reverse_domain: float = hyper(
        0.3, "reversal strength b of the domain adversaries", search=LogUniform(0.03, 1.0), low=0.0
    )
    reverse_modal: float = hyper(
        0.1, "reversal strength a of the modality adversary", search=LogUniform(0.01, 1.0), low=0.0
    )
    temperature: float = hyper(
        1.0, "temperature T of the modality weights", search=LogUniform(0.1, 10.0), low=1e-3
    )


@register("jat")
class JAT(Method):
    """Modality and domain adversaries, and unimodal losses weighted by domain entropy."""

    family = "MMDG"
    paper = "Li et al., ACM MM 2025"
    Hyperparameters = Hyperparameters
    trains_unimodal = True
    published = PublishedScript(recipe={"epochs": 15, "weight_decay": 0.0}, reports="last")

    def __init__(self, hyperparameters: Any = None) -> None:
        super().__init__(hyperparameters)
        self.trains_unimodal = self.hp.unimodal > 0

    def setup(self, model: Model, run: Run) -> None:
        """Make projections and discriminators."""
        super().setup(model, run)
        dims, domains = model.dims, len(run.domains)
        self.modal_projections = nn.ModuleDict({k: projection(d) for k, d in dims.items()})
        self.domain_projections = nn.ModuleDict({k: projection(d) for k, d in dims.items()})
        self.modal_discriminator = discriminator(len(dims))
        self.local_discriminator = discriminator(domains)
        self.global_discriminator = discriminator(domains, sum(dims.values()))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of L."""
        z = self.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(z), batch.labels)}
        own = unimodal_cross_entropy(self.model.unimodal(z), batch.labels)
        weights = {k: 1 / len(z) for k in z}
        if len(by_domain(batch.domains)) > 1:
            local, joint = self._domain_logits(z)
            weights = stability_weights(local, self.hp.temperature)
            losses = [F.cross_entropy(logits, batch.domains) for logits in local.values()]
            terms["domain/local"] = self.hp.local_domain * torch.stack(losses).mean()
            terms["domain/global"] = self.hp.global_domain * F.cross_entropy(joint, batch.domains)
        if len(z) > 1:
            terms["modal"] = self.hp.modal * self._modal_loss(z)
        for k, weight in weights.items():
            self.log(f"weight/{k}", weight)
            terms[k] = self.hp.unimodal * weight * own[k]
        return terms

    def _domain_logits(self, z: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the guesses [B, S] of D_l by modality, and of D_g."""
        turned = {k: reversed_gradient(x, self.hp.reverse_domain) for k, x in z.items()}
        local = {
            k: self.local_discriminator(self.domain_projections[k](x)) for k, x in turned.items()
        }
        joint: Tensor = self.global_discriminator(torch.cat(list(turned.values()), dim=1))
        return local, joint

    def _modal_loss(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy of D_m over all modalities of all samples."""
        projected = [
            self.modal_projections[k](reversed_gradient(x, self.hp.reverse_modal))
            for k, x in z.items()
        ]
        labels = [torch.full((len(x),), i, device=x.device) for i, x in enumerate(projected)]
        return F.cross_entropy(self.modal_discriminator(torch.cat(projected)), torch.cat(labels))


@torch.no_grad()
def stability_weights(domain_logits: Mapping[str, Tensor], temperature: float) -> dict[str, float]:
    """Return w_k from the domain logits [B, S] of each modality."""
    mean = torch.stack([entropy(logits).mean() for logits in domain_logits.values()])
    weights = torch.softmax(mean / temperature, dim=0)
    return {k: float(w) for k, w in zip(domain_logits, weights, strict=True)}
