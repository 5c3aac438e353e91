"""MLA: alternating unimodal adaptation with a shared head that does not forget.

Zhang, Yoon, Bansal and Yao, Multimodal Representation Learning by Alternating Unimodal Adaptation,
CVPR 2024.

    for every modality k of a batch, one after the other, one update with ∇CE(u_k, y), in which
        ∇_W ← ∇_W P                                   for the weight W of the shared head
    and after it, with h the mean input of the shared head,
        P ← P - P h hᵀ P / (α + hᵀ P h)
    prediction: Σ_k w_k u_k,    w = softmax_k(-H(softmax u_k))    per sample

P starts as the identity, so that the very first update is plain. It keeps an update of W from
changing what W makes of the mean inputs seen before (orthogonal weight modification; Zeng et al.,
Nature Machine Intelligence 2019). The unimodal heads are the model's, except that they share the
last layer. A batch is M updates, but one pass through every encoder: no encoder depends on an
update that another modality makes.

Public code read: Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation (utils.py,
main.py). It differs:
- It divides by the matrix α + P h hᵀ, entry by entry, instead of the scalar; its P projects
  nothing out.
- It takes in h before the update that h belongs to. A modality is then kept from learning on its
  own mean input, where what the paper protects is what other updates have learned.
- It divides P by its Frobenius norm, which slows the head by the root of its width. Here the mean
  square of P's eigenvalues stays 1. Without any such scale P only ever shrinks, and with it the
  head's learning, until weight decay alone moves it.
- α falls from 0.1 to 0.01 within every epoch; here it is constant.
- Its entropy weights are a softmax over the test batch; here a sample's weights are its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import Batch, Mask, Method, Model, Run
from methods.hyperparameters import LogUniform, hyper
from methods.shared import masks
from methods.shared.losses import entropy, unimodal_cross_entropy


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        0.1, "how weakly P protects earlier inputs", search=LogUniform(0.01, 1.0), low=1e-6
    )


@register("mla")
class MLA(Method):
    """One update per modality, with a shared head whose gradient avoids earlier inputs."""

    family = "balancing"
    paper = "Zhang et al., CVPR 2024"
    Hyperparameters = Hyperparameters
    several_updates = True
    trains_unimodal = True

    projector: Tensor

    def setup(self, model: Model, run: Run) -> None:
        """Let the unimodal heads share their last layer, that of the first modality."""
        super().setup(model, run)
        shared = self._head(run.modalities[0])[-1]
        heads = {k: nn.Sequential(*list(self._head(k))[:-1], shared) for k in run.modalities}
        model.replace_heads(unimodal=heads)
        # In float64, so that hundreds of updates leave no eigenvalue below 0.
        width = cast(nn.Linear, shared).in_features
        self.register_buffer("projector", torch.eye(width, dtype=torch.float64))

    def _head(self, modality: str) -> nn.Sequential:
        return cast(nn.Sequential, self.model.branch(modality)[-1])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(u_k, y), which `step` takes in turn."""
        embeddings = self.model.embed(batch.features)
        return unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)

    def step(self, batch: Batch, update: Callable[[], None]) -> None:
        """Make one update for each modality."""
        embeddings = self.model.embed(batch.features)
        for k, z in embeddings.items():
            _, neck, _ = self.model.branch(k)
            *layers, shared = self._head(k)
            self.zero_grad(set_to_none=True)
            inputs = nn.Sequential(neck, *layers)(z)
            terms = {k: F.cross_entropy(shared(inputs), batch.labels)}
            self.total(terms).backward()  # type: ignore[no-untyped-call]
            gradient = cast(nn.Linear, shared).weight.grad
            assert gradient is not None
            gradient.copy_(gradient @ self.projector.to(gradient))
            self._mean_input = inputs.detach().mean(dim=0)
            update()

    def after_step(self) -> None:
        """Protect what the update has learned."""
        self.projector.copy_(narrowed(self.projector, self._mean_input, self.hp.alpha))

    def combined(self, own: Mapping[str, Tensor], present: Mask | None) -> Tensor:
        """Return the logits weighted by their certainty, over the modalities that a sample has."""
        logits = torch.stack(list(own.values()))
        certainty = torch.stack([-entropy(u) for u in own.values()]).exp().unsqueeze(2)
        certainty = certainty * masks.presence(present, own)
        # A certainty is at least 1/C: only where nothing is present is the sum 0.
        weights = certainty / certainty.sum(dim=0).clamp_min(torch.finfo(logits.dtype).tiny)
        return (weights * logits).sum(dim=0)


def narrowed(projector: Tensor, direction: Tensor, alpha: float) -> Tensor:
    """Return the projector [D, D] with one more direction [D] projected out, scaled back."""
    h = direction.to(projector)
    ph = projector @ h
    narrow = projector - torch.outer(ph, ph) / (alpha + (h @ ph).clamp_min(0))
    scaled: Tensor = narrow * (len(h) ** 0.5 / torch.linalg.matrix_norm(narrow))
    return scaled
