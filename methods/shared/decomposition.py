"""SimMMDG's and MOOSA's terms on embeddings with a modality-shared and a modality-specific half."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.hyperparameters import Choice, LogUniform, hyper
from methods.shared.losses import explore, half_size, halves, scaled_contrastive
from methods.shared.projections import ProjectionHead, translator


@dataclass(frozen=True)
class Hyperparameters:
    """Those of the terms and their networks."""

    translation: float = hyper(
        0.1, "weight of cross-modal translation", search=LogUniform(0.01, 1.0), low=0.0
    )
    contrast: float = hyper(
        3.0,
        "weight of supervised contrast of the shared halves, which has the factor temperature/0.07",
        search=LogUniform(0.3, 10.0),
        low=0.0,
    )
    temperature: float = hyper(
        0.1, "temperature of the contrast", search=LogUniform(0.05, 0.5), low=0.001
    )
    explore: float = hyper(
        0.7, "weight of the distance between the halves", search=LogUniform(0.07, 7.0), low=0.0
    )
    explore_halves: str = hyper(
        "normalized",
        "halves of which the distance is taken; raw has no bound",
        search=Choice(("normalized", "raw")),
    )
    hidden: int = hyper(
        0,
        "width of projections and translators; 0: that of the widest embedding",
        search=Choice((0, 256, 2048)),
        low=0,
    )
    out: int = hyper(128, "size of what is contrasted", search=Choice((32, 64, 128)), low=1)


class Decomposition(nn.Module):
    """Projections of the shared halves, translators between modalities, and the terms of both.

    With one modality there is nothing to share, and no term.
    """

    def __init__(self, dims: Mapping[str, int], hp: Hyperparameters) -> None:
        """Make the networks for embeddings of the sizes D_k, by modality."""
        super().__init__()
        self.hp = hp
        self.projections = nn.ModuleDict()
        self.translators = nn.ModuleDict()
        hidden = hp.hidden or max(dims.values())
        if len(dims) > 1:
            for k, dim in dims.items():
                self.projections[k] = ProjectionHead(half_size(dim), hidden, hp.out)
            for a, b in permutations(dims, 2):
                self.translators[_key(a, b)] = translator(dims[a], hidden, dims[b])

    def terms(
        self,
        embeddings: Mapping[str, Tensor],
        labels: Tensor,
        shown: Callable[[Tensor], Tensor] = lambda z: z,
    ) -> dict[str, Tensor]:
        """Return the terms whose weight is not zero, each times its weight.

        Args:
            embeddings: [B, D_k] by modality.
            labels: [B].
            shown: the part of an embedding that a translator is shown.
        """
        terms: dict[str, Tensor] = {}
        if len(embeddings) < 2:
            return terms
        if self.hp.translation:
            terms["translation"] = self.hp.translation * self._translation(embeddings, shown)
        if self.hp.contrast:
            terms["contrast"] = self.hp.contrast * self._contrast(embeddings, labels)
        if self.hp.explore:
            normalized = self.hp.explore_halves == "normalized"
            distances = [explore(z, normalized) for z in embeddings.values()]
            terms["explore"] = self.hp.explore * torch.stack(distances).mean()
        return terms

    def _translation(
        self, embeddings: Mapping[str, Tensor], shown: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return mean_{a≠b} ‖n(T_ab z_a) - n(z_b)‖₂."""
        errors = []
        for a, b in permutations(embeddings, 2):
            guess = self.translators[_key(a, b)](shown(embeddings[a]))
            error = F.normalize(guess, dim=1) - F.normalize(embeddings[b], dim=1)
            errors.append(torch.linalg.vector_norm(error, dim=1).mean())
        return torch.stack(errors).mean()

    def _contrast(self, embeddings: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Return the contrast of every modality's projected shared half, each a view."""
        views = [self.projections[k](halves(z)[0]) for k, z in embeddings.items()]
        return scaled_contrastive(torch.stack(views, dim=1), labels, self.hp.temperature)


def _key(source: str, target: str) -> str:
    return f"{source}->{target}"
