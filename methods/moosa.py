"""MOOSA: self-supervision by masked translation and jigsaw puzzles, and entropy-weighted heads.

Dong, Chatzi and Fink, Towards Multimodal Open-Set Domain Generalization and Adaptation through
Self-supervision, ECCV 2024; here for known classes only.

    w_ij = softmax_j(-H(p_ij) / T_e),  j over f and every u_k
    L = mean_i Σ_j w_ij CE_ij + η mean_j mean_i H(p_ij) + α_j CE(J(π(z)), π)
      + the three terms of SimMMDG, with T_ab shown z_a without a share ρ of its values

π cuts every z_k in 4 pieces and puts those of all modalities in one of P fixed orders, which J has
to name. The weights w have a gradient, as in the official code: they also sharpen the heads. Ours
against it (donghao51/MOOSA, and its ports in MMDG_Benchmark):
- Both list all permutations of 4M pieces, at every step, to draw P of them: 479 million for three
  modalities, which does not end. Here P different orders are drawn one by one, once, from the run's
  generator, and are part of every checkpoint.
- Of the P·B puzzles of a batch `jigsaw_rows` are drawn, which gives the mean of all in expectation
  and costs a quarter at a batch of 16; `--protocol reference` solves all.
- Pieces may differ in width; an embedding of fewer than 4 values is cut in single ones.
- Heads are the suite's. ρ = 0.3 is MMDG_Benchmark's, the authors' own runs have 0.7.
- What the header of `simmmdg` says of its three terms. With one modality, the weighted heads and
  their entropy are what is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Logits, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.published import PublishedScript
from methods.shared import decomposition
from methods.shared.losses import entropy

JIGSAW_WIDTH = 512


@dataclass(frozen=True)
class Hyperparameters(decomposition.Hyperparameters):
    """See the fields."""

    entropy_temperature: float = hyper(
        1.0, "temperature of the heads' weights", search=LogUniform(0.1, 10.0), low=0.001
    )
    entropy: float = hyper(
        0.001, "weight of the heads' entropy", search=LogUniform(1e-4, 1e-1), low=0.0
    )
    masked: float = hyper(
        0.3, "share of values hidden from translators", search=Uniform(0.1, 0.7), low=0.0, high=1.0
    )
    jigsaw: float = hyper(
        1.0, "weight of the jigsaw puzzles", search=LogUniform(0.1, 10.0), low=0.0
    )
    pieces: int = hyper(4, "pieces of an embedding", search=Choice((2, 4, 8)), low=1)
    orders: int = hyper(
        128, "orders of the pieces to tell apart", search=Choice((32, 64, 128, 256)), low=2
    )
    jigsaw_rows: int = hyper(512, "most puzzles to solve in a batch", low=1)


@register("moosa")
class MOOSA(Method):
    """Entropy-weighted heads, SimMMDG's terms with masked translation, and jigsaw puzzles."""

    family = "MMDG"
    paper = "Dong et al., ECCV 2024"
    Hyperparameters = Hyperparameters
    trains_unimodal = True
    published = PublishedScript(
        settings={"moosa": {"hidden": 2048, "explore_halves": "raw", "jigsaw_rows": 2048}}
    )

    def setup(self, model: Model, run: Run) -> None:
        """Create the networks and draw the orders of the pieces."""
        super().setup(model, run)
        self.decomposition = decomposition.Decomposition(model.dims, self.hp)
        if len(model.dims) > 1:
            pieces = cut(list(model.dims.values()), self.hp.pieces)
            self.jigsaw = Jigsaw(pieces, orders(len(pieces), self.hp.orders, run.generator))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted cross-entropies, the entropy and the self-supervised terms."""
        embeddings = self.model.embed(batch.features)
        fused = self.model.fuse(embeddings)
        logits = {FUSED: fused, **self.model.unimodal(embeddings)}
        terms = self._heads(logits, batch.labels)
        terms |= self.decomposition.terms(embeddings, batch.labels, self._masked)
        if self.hp.jigsaw and len(embeddings) > 1:
            terms["jigsaw"] = self.hp.jigsaw * self._jigsaw(list(embeddings.values()))
        return terms

    def _heads(self, logits: Logits, labels: Tensor) -> dict[str, Tensor]:
        uncertainty = torch.stack([entropy(u) for u in logits.values()])
        weights = head_weights(uncertainty, self.hp.entropy_temperature)
        terms = {}
        for (head, u), weight in zip(logits.items(), weights, strict=True):
            terms[head] = (weight * F.cross_entropy(u, labels, reduction="none")).mean()
            self.log(f"weight/{head}", weight.detach().mean())
        if self.hp.entropy:
            terms["entropy"] = self.hp.entropy * uncertainty.mean()
        return terms

    def _masked(self, z: Tensor) -> Tensor:
        kept = torch.rand(z.shape, generator=self.run.generator) >= float(self.hp.masked)
        return z * kept.to(z)

    def _jigsaw(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Return the cross-entropy of guessing orders, of all puzzles or of some drawn ones."""
        joined = torch.cat(list(embeddings), dim=1)
        rows = torch.arange(len(joined) * len(self.jigsaw.columns))
        if len(rows) > self.hp.jigsaw_rows:
            drawn = torch.randperm(len(rows), generator=self.run.generator)
            rows = drawn[: self.hp.jigsaw_rows]
        guesses, order = self.jigsaw(joined, rows.to(joined.device))
        self.log("jigsaw/accuracy", (guesses.argmax(dim=1) == order).float().mean())
        return F.cross_entropy(guesses, order)


class Jigsaw(nn.Module):
    """Puzzles of concatenated embeddings and the network J that guesses their order."""

    columns: Tensor
    """[P, Σ_k D_k]: the columns of the concatenated embeddings in each order."""

    def __init__(self, pieces: Sequence[Tensor], orders: Sequence[Sequence[int]]) -> None:
        super().__init__()
        columns = torch.stack([torch.cat([pieces[i] for i in order]) for order in orders])
        self.register_buffer("columns", columns)
        self.layers = nn.Sequential(
            nn.Linear(columns.shape[1], JIGSAW_WIDTH),
            nn.ReLU(),
            nn.Linear(JIGSAW_WIDTH, len(columns)),
        )

    def forward(self, joined: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return guesses [R, P] and orders [R] of some of the P·B puzzles of [B, Σ_k D_k]."""
        samples, order = rows // len(self.columns), rows % len(self.columns)
        return self.layers(joined[samples].gather(1, self.columns[order])), order


def head_weights(uncertainty: Tensor, temperature: float) -> Tensor:
    """Return each sample's weights [J, B] of J heads from the entropies [J, B] of their guesses."""
    return (-uncertainty / temperature).softmax(dim=0)


def cut(dims: Sequence[int], pieces: int) -> list[Tensor]:
    """Return the columns of every piece of concatenated embeddings of these sizes."""
    modalities = torch.split(torch.arange(sum(dims)), list(dims))
    return [p for z in modalities for p in z.tensor_split(min(pieces, len(z)))]


def orders(pieces: int, count: int, generator: torch.Generator) -> list[tuple[int, ...]]:
    """Draw different orders of the pieces: `count`, or all where there are fewer."""
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < min(count, factorial(pieces)):
        drawn[tuple(torch.randperm(pieces, generator=generator).tolist())] = None
    return list(drawn)
