"""NEL: nonpolarized embedding learning.

Nonpolarized embedding learning, Neurocomputing 658 (2025) 131754.

    both augmented views of the n samples pass the encoders as one batch of 2n;
    q_k,i = n(P_k(z_k,i))                        the projection of each modality
    m_k,i = n(½ q_k,i + ½ mean_{j ∈ kNN(i)} q_k,j)    mean shift to the nearest of the 2n samples
    L_UNC = one-way InfoNCE from the first view's n([m_1; ..; m_M]) to the second's, temperature T_u
    L_C   = supervised contrastive loss of the 2n samples, with the M modalities as views:
            SupCon({q_k}_k, y; T_s)
    L_NEE = Σ_j λ_j log λ_j,   λ the eigenvalues of zᵀz / 2n, divided by their sum
    L = CE(f, y) + α L_UNC + (1-α) L_C + β/n L_NEE

n(·) is division by the length, n the number of samples in the batch, z the concatenated raw
embeddings of the 2n. Minimising L_NEE spreads z over all directions. Where a batch has no second
view, or the dataset does not augment, both views are the same, and L_UNC then only tells samples
apart.

MMDG_Benchmark holds two different algorithms under this name. Ours is the one for HAC and EPIC;
that for HUST takes the two modalities for the two augmented views and is not offered. Differences:
- The port projects the first half of z_k, left over from SimMMDG's split, multiplies L_C by
  T_s / 0.07, and halves the sum of all terms. `as_ported` does all three, and `--protocol
  reference` sets it.
- λ comes from the 2n x 2n Gram matrix, which has the same spectrum but for zeros and no D x D
  decomposition. The HUST port turns a failed decomposition into a constant without gradient; here
  numbers that are not finite end the run with the usual message.
- A sample is no neighbour of itself, whatever its duplicates, and k is at most 2n-1.
- Under `--protocol reference` the cosine decay acts at every step; the script's at every epoch.

No results of the paper were found to compare with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Features, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.published import PublishedScript
from methods.shared.losses import half_size, halves, scaled_contrastive, supervised_contrastive
from methods.shared.projections import ProjectionHead

NEGLIGIBLE = 1e-6  # share of the spectrum below which an eigenvalue counts as 0


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        0.7,
        "share of the mean-shift term against the supervised contrastive one",
        search=Uniform(0.1, 0.9),
        low=0.0,
        high=1.0,
    )
    beta: float = hyper(
        1.0,
        "weight of the spectrum's entropy, divided by the batch's size",
        search=LogUniform(0.1, 10.0),
        low=0.0,
    )
    temperature_supervised: float = hyper(
        0.1,
        "temperature of the supervised contrastive term",
        search=LogUniform(0.05, 0.5),
        low=0.01,
    )
    temperature_shift: float = hyper(
        0.25, "temperature of the mean-shift term", search=LogUniform(0.05, 1.0), low=0.01
    )
    neighbours: int = hyper(
        8, "samples that the mean shift averages over", search=Choice((2, 4, 8)), low=1
    )
    hidden: int = hyper(
        512, "width of the projections' hidden layers", search=Choice((256, 512, 2048)), low=1
    )
    out: int = hyper(
        128, "size of each modality's projection", search=Choice((64, 128, 256)), low=1
    )
    as_ported: bool = hyper(
        False,
        "project the first half of embeddings, scale the contrast by temperature/0.07, halve L",
    )


@register("nel")
class NEL(Method):
    """Contrast of mean-shifted views, supervised contrast, and a spread-out spectrum."""

    family = "MMDG"
    paper = "Neurocomputing 2025"
    Hyperparameters = Hyperparameters
    two_views = True
    published = PublishedScript(
        settings={"nel": {"hidden": 2048, "as_ported": True}},
        recipe={"epochs": 15, "decay": "cosine"},
    )

    def setup(self, model: Model, run: Run) -> None:
        """Make a projection of each modality."""
        super().setup(model, run)
        sizes = {k: half_size(d) if self.hp.as_ported else d for k, d in model.dims.items()}
        heads = {k: ProjectionHead(d, self.hp.hidden, self.hp.out) for k, d in sizes.items()}
        self.projections = nn.ModuleDict(heads)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four terms of L."""
        second = batch.second or batch.features
        z = self.model.embed({k: joined(x, second[k]) for k, x in batch.features.items()})
        labels = batch.labels.repeat(2)
        q = self._project(z)
        alpha, beta = self.hp.alpha, self.hp.beta / len(batch.labels)
        terms = {
            FUSED: F.cross_entropy(self.model.fuse(z), labels),
            "mean_shift": alpha * self._mean_shift_contrast(q),
            "contrast": (1 - alpha) * self._supervised_contrast(q, labels),
            "spectrum": beta * negative_entropy_of_spectrum(torch.cat(list(z.values()), dim=1)),
        }
        return {name: term / 2 if self.hp.as_ported else term for name, term in terms.items()}

    def _project(self, embeddings: Mapping[str, Tensor]) -> list[Tensor]:
        """Return q_k [2n, out] of each modality."""
        return [
            self.projections[k](halves(z)[0] if self.hp.as_ported else z)
            for k, z in embeddings.items()
        ]

    def _mean_shift_contrast(self, q: list[Tensor]) -> Tensor:
        shifted = torch.cat([mean_shift(x, self.hp.neighbours) for x in q], dim=1)
        first, second = F.normalize(shifted, dim=1).chunk(2)
        return info_nce(first, second, self.hp.temperature_shift)

    def _supervised_contrast(self, q: list[Tensor], labels: Tensor) -> Tensor:
        contrast = scaled_contrastive if self.hp.as_ported else supervised_contrastive
        return contrast(torch.stack(q, dim=1), labels, self.hp.temperature_supervised)


def joined(first: Features, second: Features) -> Features:
    """Return the features of two views as those of one batch, the first view's before."""
    if isinstance(first, Tensor):
        assert isinstance(second, Tensor)
        return torch.cat([first, second])
    return tuple(torch.cat(pair) for pair in zip(first, second, strict=True))


def mean_shift(q: Tensor, neighbours: int) -> Tensor:
    """Return m [B, D]: every q of length 1 moved half-way to the mean of its nearest others."""
    count = min(neighbours, len(q) - 1)
    if count == 0:
        return q
    itself = torch.eye(len(q), dtype=torch.bool, device=q.device)
    nearest = (q @ q.T).masked_fill(itself, -torch.inf).topk(count, dim=1).indices
    return F.normalize((q + q[nearest].mean(dim=1)) / 2, dim=1)


def info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return how hard it is to find each sample's second view among those of the batch [B, D]."""
    similarity = (first @ second.T) / temperature
    return F.cross_entropy(similarity, torch.arange(len(first), device=first.device))


def negative_entropy_of_spectrum(z: Tensor) -> Tensor:
    """Return Σ λ log λ of embeddings [B, D]; between -log min(B, D) and 0."""
    gram = z @ z.T
    if not bool(torch.isfinite(gram).all()):
        return gram.sum()  # not finite, so that `total` names the step; the decomposition would not
    # The derivative of eigenvalues has no 1/(λ_i - λ_j), so that equal ones do no harm.
    eigenvalues = torch.linalg.eigvalsh(gram)
    shares = eigenvalues / eigenvalues.sum().clamp_min(torch.finfo(z.dtype).tiny)
    shares = shares[shares > NEGLIGIBLE]
    result: Tensor = (shares * shares.log()).sum()
    return result
