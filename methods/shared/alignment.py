"""The base of CORAL and MMD: a distance between the source domains' embeddings in a batch."""

from abc import abstractmethod
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import FUSED, Batch, Method
from methods.shared.losses import by_domain


class Alignment(Method):
    """ERM that also pulls the distributions of the source domains together.

        L = CE(f, y) + γ mean_{d<d'} distance(Z_d, Z_d')

    Z_d [n_d, Σ_k D_k] are the concatenated raw embeddings [z_1; ..; z_M] of the batch's samples of
    domain d. Domains with fewer than two samples in the batch do not count; without two domains
    left the term is absent.
    """

    family = "domain generalization"

    @abstractmethod
    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return how far apart the samples [n, D] and [m, D] of two domains lie."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), and the weighted mean distance over all pairs of domains."""
        embeddings = self.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
        z = torch.cat(list(embeddings.values()), dim=1)
        pairs = combinations(by_domain(batch.domains), 2)
        if distances := [self.distance(z[a], z[b]) for a, b in pairs]:
            terms[self.name] = self.hp.weight * torch.stack(distances).mean()
        return terms
