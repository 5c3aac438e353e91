"""CMRF: cross-modal representation flattening.

Fan, Xu, Wang and Guo, Cross-modal Representation Flattening for Multi-modal Domain Generalization,
NeurIPS 2024.

    θ̄ is the simple moving average of the weights from step t_0 on (see `sma`);
    q_k = P_k(z_k) of the student, q̄_k = P̄_k(z̄_k) of the average, both of length 1
    t_k = λ_k q̄_a + (1-λ_k) q̄_b for each member k of a pair (a, b), without gradient,
          λ_a > ½ > λ_b from Beta(α, α) per sample: t_k stays closer to its own modality
    L = CE(f, y) + c_m Σ_k CE(u_k, y) + α_c τ/0.07 SupCon({q_k}_k, y; τ)
      + c_d mean_{pairs} Σ_{k ∈ pair} ‖n(t_k) - q_k‖₂                  from t_0 on

The average is what is validated and tested. Ours against the public code
(fanyunfeng-bit/Cross-modal-Representation-Flattening-for-MMDG, and its ports in MMDG_Benchmark):
- It reports the student, the average, and the average's summed heads; the ports test the student.
  The paper's flat minimum is the average's, and ours is its fused prediction.
- The projections P_k are averaged with the model, batch norm included, and checkpoints hold them.
- It weighs audio's unimodal and distillation terms by ½ and every other modality's by 1, by name.
  Here all have weight 1.
- It sums distillation over pairs, so that its weight grows with the number of modalities; the mean
  is the same for two, and a third for three.
- No distance between halves (SimMMDG's), which the port for HUST motor adds. Its option of SAM is
  `sam+cmrf`.
- Every part is on, as by the flags of its own README; the runner of MMDG_Benchmark passes none of
  them and so trains SimMMDG's loss under this name. The README starts averaging at step 100 for HAC
  and 400 for EPIC-Kitchens; the latter is `--set cmrf.start=400`.
- With one modality there is nothing to contrast or to mix: `joint`, weighted by c_m, with the SMA.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.published import PublishedScript
from methods.shared.averaging import SimpleAverage
from methods.shared.losses import scaled_contrastive, unimodal_cross_entropy
from methods.shared.projections import ProjectionHead
from methods.shared.sampling import beta


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    start: int = hyper(
        100,
        "t_0, the step from which weights are averaged and distilled",
        search=Choice((50, 100, 400)),
        low=1,
    )
    unimodal: float = hyper(
        2.0, "weight of each unimodal cross-entropy", search=Uniform(0.5, 4.0), low=0.0
    )
    contrast: float = hyper(
        3.0,
        "weight of the supervised contrast, which has the factor temperature/0.07",
        search=LogUniform(0.3, 10.0),
        low=0.0,
    )
    temperature: float = hyper(
        0.1, "temperature of the contrast", search=LogUniform(0.05, 0.5), low=0.001
    )
    distill: float = hyper(
        3.0, "weight of distillation from mixed targets", search=LogUniform(0.3, 10.0), low=0.0
    )
    alpha: float = hyper(
        0.1,
        "concentration of the mixing weights; near 0: nothing is mixed",
        search=LogUniform(0.05, 1.0),
        low=0.01,
    )
    hidden: int = hyper(
        0,
        "width of projections; 0: that of the widest embedding",
        search=Choice((0, 256, 2048)),
        low=0,
    )
    out: int = hyper(
        128, "size of what is contrasted and distilled", search=Choice((32, 64, 128)), low=1
    )


@register("cmrf")
class CMRF(Method):
    """Unimodal heads, contrast, and distillation from an average's mixed projections."""

    family = "MMDG"
    paper = "Fan et al., NeurIPS 2024"
    Hyperparameters = Hyperparameters
    trains_unimodal = True
    evaluates_average = True
    published = PublishedScript(settings={"cmrf": {"hidden": 2048}})

    def setup(self, model: Model, run: Run) -> None:
        """Create the projections, and start the averages at the initial weights."""
        super().setup(model, run)
        hidden = self.hp.hidden or max(model.dims.values())
        self.projections = nn.ModuleDict(
            {k: ProjectionHead(dim, hidden, self.hp.out) for k, dim in model.dims.items()}
            if len(model.dims) > 1
            else {}
        )
        self.teacher = SimpleAverage(model, self.hp.start, run.average_bn)
        # An average asks for parameters and buffers, which projections have too.
        self.teacher_projections = SimpleAverage(
            cast(Model, self.projections), self.hp.start, run.average_bn
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropies, the contrast, and from t_0 on distillation."""
        embeddings = self.model.embed(batch.features)
        own = unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)
        terms = {k: self.hp.unimodal * loss for k, loss in own.items()}
        terms[FUSED] = F.cross_entropy(self.model.fuse(embeddings), batch.labels)
        if not self.projections:
            return terms
        projected = {k: self.projections[k](z) for k, z in embeddings.items()}
        if self.hp.contrast:
            views = torch.stack(list(projected.values()), dim=1)
            contrast = scaled_contrastive(views, batch.labels, self.hp.temperature)
            terms["contrast"] = self.hp.contrast * contrast
        if self.hp.distill and self.teacher.averaging:
            terms["distill"] = self.hp.distill * self._distillation(batch, projected)
        return terms

    def _distillation(self, batch: Batch, projected: Mapping[str, Tensor]) -> Tensor:
        teacher = self._taught(batch)
        distances = []
        for a, b in combinations(projected, 2):
            shares = mixing_shares(len(batch.labels), self.hp.alpha, self.run.generator)
            for k, share in zip((a, b), shares, strict=True):
                target = torch.lerp(teacher[b], teacher[a], share.to(teacher[a]).unsqueeze(1))
                error = F.normalize(target, dim=1) - projected[k]
                distances.append(torch.linalg.vector_norm(error, dim=1).mean())
        return 2 * torch.stack(distances).mean()

    @torch.no_grad()
    def _taught(self, batch: Batch) -> dict[str, Tensor]:
        """Return q̄_k."""
        heads = cast(nn.ModuleDict, self.teacher_projections.model)
        embeddings = self.teacher.model.embed(batch.features)
        return {k: heads[k](z) for k, z in embeddings.items()}

    def after_step(self) -> None:
        """Let the averages follow."""
        self.teacher.update(self.model)
        self.teacher_projections.update(cast(Model, self.projections))

    def eval_model(self) -> Model:
        """Return the average."""
        return self.teacher.model


def mixing_shares(size: int, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw λ_a > ½ and λ_b < ½, each [size], from the halves of Beta(α, α).

    The distribution is symmetric, so a draw beyond ½ is turned round instead of rejected.
    """
    first, second = beta(alpha, 2 * size, generator).chunk(2)
    return torch.maximum(first, 1 - first), torch.minimum(second, 1 - second)
