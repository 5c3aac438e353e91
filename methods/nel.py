"""NEL: nonpolarized embedding learning.

Nonpolarized embedding learning, Neurocomputing 658 (2025) 131754.

    q_i = n([P_1(z_1,i); ...; P_M(z_M,i)])    one projection of length 1 a sample and view
    m_i = n(½ q_i + ½ mean_{j ∈ kNN(i)} q_j)   mean shift to the k nearest samples of the view
    L_UNC = symmetric InfoNCE between the m of two augmented views, temperature T_u
    L_C   = supervised contrastive loss over all q of both views, temperature T_s
    L_NEE = Σ_j λ_j log λ_j,   λ the eigenvalues of zᵀz / n, divided by their sum
    L = CE(f, y) + α L_UNC + (1-α) L_C + β/n L_NEE

n(·) is division by the length, n the number of samples in the batch, z the concatenated raw
embeddings. Minimising L_NEE spreads z over all directions. CE(f, y) and L_NEE are means over the
two views, each of which passes the encoders. Where a batch has no second view, or the dataset does
not augment, both views are the same, and L_UNC then only tells samples apart.

MMDG_Benchmark holds two different algorithms under this name. Ours is the one for HAC and EPIC;
that for HUST takes the two modalities for the two views and is not offered. Differences:
- λ comes from the n x n Gram matrix, which has the same spectrum but for zeros and no D x D
  decomposition. The HUST port turns a failed decomposition into a constant without gradient; here
  numbers that are not finite end the run with the usual message.
- A sample is no neighbour of itself, whatever its duplicates, and k is at most n-1.
- The whole z_k is projected; the port projects the first half, left over from SimMMDG's split.
- The sum of all terms is not halved, and L_C has no factor temperature / base temperature.
- Under `--protocol reference` the cosine decay acts at every step; the script's at every epoch.

No results of the paper were found to compare with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.published import PublishedScript
from methods.shared.losses import supervised_contrastive
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


@register("nel")
class NEL(Method):
    """Contrast of mean-shifted views, supervised contrast, and a spread-out spectrum."""

    family = "MMDG"
    paper = "Neurocomputing 2025"
    Hyperparameters = Hyperparameters
    two_views = True
    published = PublishedScript(
        settings={"nel": {"hidden": 2048}}, recipe={"epochs": 15, "decay": "cosine"}
    )

    def setup(self, model: Model, run: Run) -> None:
        """Make a projection of each modality."""
        super().setup(model, run)
        heads = {k: ProjectionHead(d, self.hp.hidden, self.hp.out) for k, d in model.dims.items()}
        self.projections = nn.ModuleDict(heads)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four terms of L."""
        features = (batch.features, batch.second or batch.features)
        views = [self.model.embed(view) for view in features]
        fused = [F.cross_entropy(self.model.fuse(z), batch.labels) for z in views]
        q = [self._project(z) for z in views]
        first, second = (mean_shift(x, self.hp.neighbours) for x in q)
        spectra = [negative_entropy_of_spectrum(torch.cat(list(z.values()), dim=1)) for z in views]
        alpha, beta = self.hp.alpha, self.hp.beta / len(batch.labels)
        contrast = supervised_contrastive(
            torch.stack(q, dim=1), batch.labels, self.hp.temperature_supervised
        )
        return {
            FUSED: torch.stack(fused).mean(),
            "mean_shift": alpha * symmetric_info_nce(first, second, self.hp.temperature_shift),
            "contrast": (1 - alpha) * contrast,
            "spectrum": beta * torch.stack(spectra).mean(),
        }

    def _project(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Return q [B, M·out]."""
        parts = [self.projections[k](z) for k, z in embeddings.items()]
        return F.normalize(torch.cat(parts, dim=1), dim=1)


def mean_shift(q: Tensor, neighbours: int) -> Tensor:
    """Return m [B, D]: every q of length 1 moved half-way to the mean of its nearest others."""
    count = min(neighbours, len(q) - 1)
    if count == 0:
        return q
    itself = torch.eye(len(q), dtype=torch.bool, device=q.device)
    nearest = (q @ q.T).masked_fill(itself, -torch.inf).topk(count, dim=1).indices
    return F.normalize((q + q[nearest].mean(dim=1)) / 2, dim=1)


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return how badly each of two views [B, D] finds a sample's other one among the batch."""
    similarity = (first @ second.T) / temperature
    same = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(similarity, same) + F.cross_entropy(similarity.T, same)) / 2


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
