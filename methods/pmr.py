"""PMR: prototypical modal rebalance.

Fan, Xu, Wang, Wang and Guo, PMR: Prototypical Modal Rebalance for Multimodal Learning, CVPR 2023.

    c_{k,y} = mean of the train part's z_k with label y, from epoch to epoch
              c ← (1-ε) new + ε old
    L_k = CE(-‖z_k - c_{k,·}‖, y)         a_k = mean_i softmax(-‖z_k,i - c_{k,·}‖)[y_i]
    L = CE(f, y) + α Σ_k w_k L_k,         w_k = min(max_j a_j / a_k - 1, 1)

The weaker a modality's embeddings tell the classes apart, the more its own prototypes pull on them;
the strongest modality has w = 0. The embeddings are those before the neck. For two modalities w_k
is the paper's; with more, each one is compared with the strongest. With one modality PMR is ERM.

Differences from the public code (fanyunfeng-bit/Modal-Imbalance-PMR, main_Prototype_grad.py):
- w_k is graded, as in the paper. `weights=constant` is the code's w_k = 1 for every modality but
  the strongest.
- Prototypes are means over the whole train part in eval mode, recomputed when an epoch starts. The
  code takes the first tenth of its shuffled batches, whichever they are.
- A class that the train part lacks has no prototype and is left out of the softmax, as are batch
  samples of it; in the code its prototype is 0/0.
- The paper's second part, an entropy term that holds the dominant modality back in the first
  epochs, is not in that script and not here.
- BalanceBenchmark's port drops the prototypes for three modalities and scales gradients instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.shared.imbalance import confidence, evaluating


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        1.0, "weight of the prototype losses", search=LogUniform(0.1, 5.0), low=0.0
    )
    momentum: float = hyper(
        0.2, "share ε of an epoch's old prototypes", search=Uniform(0.0, 0.8), low=0.0, high=1.0
    )
    weights: str = hyper(
        "graded",
        "whether weaker modalities count by how weak they are, or all alike",
        search=Choice(("graded", "constant")),
    )


@register("pmr")
class PMR(Method):
    """ERM whose weaker modalities are also drawn to their class prototypes."""

    family = "balancing"
    paper = "Fan et al., CVPR 2023"
    Hyperparameters = Hyperparameters
    known: Tensor

    def setup(self, model: Model, run: Run) -> None:
        """Create empty prototypes."""
        super().setup(model, run)
        for k, dim in model.dims.items():
            self.register_buffer(f"prototypes_{k}", torch.zeros(run.classes, dim))
        self.register_buffer("known", torch.zeros(run.classes, dtype=torch.bool))

    @torch.no_grad()
    def epoch_start(self) -> None:
        """Move every prototype towards the mean of its class."""
        sums = {k: torch.zeros_like(self.prototypes(k)) for k in self.run.modalities}
        counts = torch.zeros_like(self.known, dtype=torch.int64)
        with evaluating(self.model):
            for batch in self.run.train_loader():
                counts += F.one_hot(batch.labels, self.run.classes).sum(0)
                for k, z in self.model.embed(batch.features).items():
                    sums[k] += class_sums(z, batch.labels, self.run.classes)
        found = counts > 0
        for k, total in sums.items():
            mean = total / counts.clamp_min(1).unsqueeze(1)
            kept = (self.hp.momentum * self.known.to(mean)).unsqueeze(1)
            moved = kept * self.prototypes(k) + (1 - kept) * mean
            self.prototypes(k).copy_(torch.where(found.unsqueeze(1), moved, self.prototypes(k)))
        self.known.logical_or_(found)

    def prototypes(self, modality: str) -> Tensor:
        """Return c_k [C, D_k]; rows of classes that are not known yet mean nothing."""
        return self.get_buffer(f"prototypes_{modality}")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), and α w_k L_k where it is not zero."""
        embeddings = self.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
        usable = self.known[batch.labels]
        if not usable.any():
            return terms
        labels = batch.labels[usable]
        logits = {k: self._similarities(k, z[usable]) for k, z in embeddings.items()}
        scores = {k: confidence(s, labels) for k, s in logits.items()}
        for k, weight in weights(scores, graded=self.hp.weights == "graded").items():
            self.log(f"weight/{k}", weight)
            if self.hp.alpha * weight > 0:
                terms[f"prototypes/{k}"] = (
                    self.hp.alpha * weight * F.cross_entropy(logits[k], labels)
                )
        return terms

    def _similarities(self, k: str, z: Tensor) -> Tensor:
        """Return -‖z - c_k‖ [B, C], and no similarity at all to an unknown class."""
        distances: Tensor = torch.linalg.vector_norm(z.unsqueeze(1) - self.prototypes(k), dim=2)
        return -distances.masked_fill(~self.known, torch.inf)


def class_sums(z: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the sums [C, D] of the rows of z [B, D] that have each label."""
    return F.one_hot(labels, classes).to(z).T @ z


def weights(scores: Mapping[str, float], graded: bool) -> dict[str, float]:
    """Return w_k from the scores a_k; 0 for the strongest modality."""
    best = max(scores.values())
    ahead = {k: max(best, 1e-12) / max(score, 1e-12) - 1 for k, score in scores.items()}
    return {k: min(lead, 1.0) if graded else float(lead > 0) for k, lead in ahead.items()}
