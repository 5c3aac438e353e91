"""MBCD: modality-balanced collaborative distillation.

Modality-Balanced Collaborative Distillation for multi-modal domain generalization, AAAI 2026
(arXiv 2511.20258), equations 2-9.

    (2) s_k = Σ_i max softmax(u_k)_i          (3) r_k = 1/(M-1) Σ_{j≠k} s_k / s_j
    (4) modality k of a sample is dropped with probability tanh(max(r_k - 1, 0))
    (5) θ'_k = θ_k - α ∇_{θ_k} CE(u_k, y)
    (7) Θ̄_t = β Θ̄_{t-1} + (1-β) Θ_t
    (8) L_dis = KL(p̄_f ‖ p_f) + Σ_k KL(p̄_f ‖ p_k)
    (9) L = CE(f(θ'), y) + Σ_k CE(u_k, y) + λ L_dis

The average of equation 7 teaches and is what is validated and tested. The repository that the
authors name, xiaohanwang01/MBCD, could not be read; MMDG_Benchmark holds two ports. Ours against
them:
- Every term of equation 9 is computed in one `loss`: u_k and its distillation at θ, the fused
  logits and their distillation at θ' and after the mask, as in the port for HAC and EPIC. (The
  HUST port takes the unimodal logits of distillation at θ'.)
- `consistency=first` treats the inner gradient as a constant, as both ports do. It evaluates
  ∇L_mm at θ', that is ∇L_mm - α H_mm g_u to first order in α: only one of the two terms of the
  gradient of equation 6, whose other one is -α H_u g_mm. `consistency=second` keeps the whole
  gradient of equation 5 and so both terms; it costs a second-order backward.
- The inner step moves the trained encoder tensors with the cross-entropy alone, and the batch
  norm of the second pass uses throw-away statistics: one update per batch, not two. Both passes
  see the same dropout.
- Dropout is on at its published strength; the HUST port turns it off unless a base rate is set.
- `dropout_scale` and `dropout_threshold`, ours, make adaptive dropout stronger, weaker or later.
- Dropout at a fixed rate p is read in two ways. `dropout=fixed` draws samples that lost all M
  modalities again, so that the effective rate is (p - p^M) / (1 - p^M): at p = 0.5, .333 for two
  modalities and .429 for three. `dropout=fixed-literal` drops every modality independently, so that
  the rate is p itself; a sample may lose all, a quarter of them at p = 0.5 and M = 2, and its fused
  input is then zero, from which the fused term trains nothing but the fusion head. Under both, a
  run of one modality drops none. The share that is dropped is logged as
  `effective_drop_rate`. The `fix dropout (p=0.5)` of the paper's Table 5 may be either.
- No DSU feature noise, which the HAC port adds to MBCD alone and the paper never mentions;
  `dsu+mbcd` adds it, and `--protocol reference` does so.
- LayerNorm is trained, and the average covers neck and unimodal heads too. Its batch-norm
  statistics are averaged, as in the port for HAC and EPIC; the HUST port copies the student's, as
  does `--average-bn copied`: without warm-up, averaged ones hold the initial statistics for long.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.published import PublishedScript
from methods.shared import masks
from methods.shared.averaging import ExponentialAverage
from methods.shared.gradients import RandomState
from methods.shared.losses import kl_from, unimodal_cross_entropy

LITERAL = "fixed-literal"


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    beta: float = hyper(
        0.999,
        "decay of the teacher's average per step",
        search=Choice((0.9, 0.99, 0.999, 0.9999)),
        low=0.0,
        high=1.0,
    )
    alpha: float = hyper(
        1e-3, "step size of the look-ahead", search=LogUniform(1e-4, 1e-1), low=0.0
    )
    dropout: str = hyper(
        "adaptive",
        "modality dropout; fixed draws samples that lost all modalities again, fixed-literal "
        "does not, and no search draws it",
        search=Choice(("adaptive", "fixed", "none"), also=(LITERAL,)),
    )
    dropout_scale: float = hyper(
        1.0, "factor inside the tanh of adaptive dropout", low=0.0, younger=True
    )
    dropout_threshold: float = hyper(
        1.0, "relative speed above which adaptive dropout drops", low=1.0, younger=True
    )
    dropout_rate: float = hyper(
        0.5, "drop probability of fixed dropout", search=Uniform(0.1, 0.5), low=0.0, high=0.95
    )
    consistency: str = hyper(
        "first", "gradient of the look-ahead", search=Choice(("first", "second", "none"))
    )
    distill_fused: float = hyper(
        1.0, "weight of distillation into the fused logits", search=Uniform(0.1, 2.0), low=0.0
    )
    distill_unimodal: float = hyper(
        1.0, "weight of distillation into each unimodal head", search=Uniform(0.1, 2.0), low=0.0
    )


@register("mbcd")
class MBCD(Method):
    """Adaptive modality dropout, gradient consistency and distillation from an EMA teacher."""

    family = "MMDG"
    paper = "AAAI 2026"
    Hyperparameters = Hyperparameters
    trains_unimodal = True
    evaluates_average = True
    published = PublishedScript(
        composition="dsu+mbcd",
        settings={"mbcd": {"alpha": 1e-4}},
        switches={
            "neck": "fixed-layernorm",
            "frozen_bn": "train",
            "tail_init": "pretrained",
            "embedding_dropout": 0.0,
        },
        reports="last",
    )

    def setup(self, model: Model, run: Run) -> None:
        """Start the teacher at the initial weights."""
        super().setup(model, run)
        self.teacher = ExponentialAverage(model, self.hp.beta, run.ema_warmup, run.average_bn)
        self._first_of_epoch = False

    def epoch_start(self) -> None:
        """Measure the effect of the look-ahead on the first batch of each epoch."""
        self._first_of_epoch = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of equation 9."""
        before_embedding = RandomState.now(batch.labels)
        embeddings = self.model.embed(batch.features)
        unimodal = self.model.unimodal(embeddings)
        own = unimodal_cross_entropy(unimodal, batch.labels)
        mask = self._mask(unimodal, batch.labels)
        ahead = embeddings
        if self.hp.consistency != "none":
            parameters = self._look_ahead(own)
            with before_embedding.replayed():
                ahead = self.model.embed(batch.features, parameters)
        before_fusion = RandomState.now(batch.labels)
        fused = self.model.fuse(ahead, mask)
        if self._first_of_epoch and ahead is not embeddings:
            with before_fusion.replayed():
                plain = self.model.fuse(embeddings, mask)
            self._log_change(plain, fused, batch.labels)
        terms = {FUSED: F.cross_entropy(fused, batch.labels), **own}
        return terms | self._distillation(batch, fused, unimodal)

    def _mask(self, unimodal: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor] | None:
        """Draw which samples keep which modality (equations 2-4)."""
        speeds = relative_speeds(unimodal)
        for k, speed in speeds.items():
            self.log(f"speed/{k}", speed)
        if self.hp.dropout == "none" or not speeds:
            return None
        rates = drop_rates(speeds, self.hp.dropout_scale, self.hp.dropout_threshold)
        if self.hp.dropout in ("fixed", LITERAL):
            rates = {k: torch.full_like(rate, self.hp.dropout_rate) for k, rate in rates.items()}
        for k, rate in rates.items():
            self.log(f"drop_rate/{k}", rate)
        draw = masks.draw_literally if self.hp.dropout == LITERAL else masks.draw
        mask = draw(rates, like, self.run.generator)
        for k, share in masks.dropped(mask).items():
            self.log(f"effective_drop_rate/{k}", share)
        return mask

    def _look_ahead(self, own: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return θ'_k of equation 5 for every encoder."""
        second = self.hp.consistency == "second"
        ahead = {}
        for k, loss in own.items():
            theta = self.model.tail_parameters(k)
            if not theta:  # an encoder may be frozen throughout
                continue
            gradients = torch.autograd.grad(
                loss, list(theta.values()), create_graph=second, retain_graph=True
            )
            ahead[k] = {
                name: p - self.hp.alpha * g
                for (name, p), g in zip(theta.items(), gradients, strict=True)
            }
        return ahead

    def _distillation(
        self, batch: Batch, fused: Tensor, unimodal: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the terms of equation 8 whose weight is not zero."""
        terms: dict[str, Tensor] = {}
        if not (self.hp.distill_fused or self.hp.distill_unimodal):
            return terms
        with torch.no_grad():
            teacher = self.teacher.model.fuse(self.teacher.model.embed(batch.features))
        if self.hp.distill_fused:
            terms["distill"] = self.hp.distill_fused * kl_from(teacher, fused)
        if self.hp.distill_unimodal:
            for k, logits in unimodal.items():
                terms[f"distill/{k}"] = self.hp.distill_unimodal * kl_from(teacher, logits)
        return terms

    def _log_change(self, plain: Tensor, ahead: Tensor, labels: Tensor) -> None:
        """Log how far the look-ahead turns the encoders' gradient of the fused loss."""
        theta = [p for k in self.run.modalities for p in self.model.tail_parameters(k).values()]
        before, after = (
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(
                        F.cross_entropy(logits, labels), theta, retain_graph=True
                    )
                ]
            )
            for logits in (plain, ahead)
        )
        self.log("look_ahead/relative_change", (after - before).norm() / before.norm())

    def after_step(self) -> None:
        """Let the teacher follow (equation 7)."""
        self._first_of_epoch = False
        self.teacher.update(self.model)

    def eval_model(self) -> Model:
        """Return the teacher."""
        return self.teacher.model


@torch.no_grad()
def relative_speeds(unimodal: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return r_k of equations 2 and 3 from unimodal logits [B, C]; nothing for one modality."""
    if len(unimodal) < 2:
        return {}
    scores = torch.stack([u.softmax(dim=1).amax(dim=1).sum() for u in unimodal.values()]).double()
    ratios = scores[:, None] / scores  # s_k / s_j, 1 where j = k
    speeds = (ratios.sum(dim=1) - 1) / (len(scores) - 1)
    return dict(zip(unimodal, speeds.unbind(), strict=True))


def drop_rates(
    speeds: Mapping[str, Tensor], scale: float = 1.0, threshold: float = 1.0
) -> dict[str, Tensor]:
    """Return tanh(scale max(r_k - threshold, 0)): equation 4 with 1 for both.

    From a threshold of 1 on, the slowest modality is never dropped.
    """
    return {k: (scale * (r - threshold).clamp_min(0)).tanh() for k, r in speeds.items()}
