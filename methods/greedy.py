"""Guided balancing: a modality that leans on the others has its cross-modal gate held for a while.

Wu, Jastrzebski, Cho and Geras, Characterizing and Overcoming the Greedy Nature of Learning in
Multi-Modal Deep Neural Networks, ICML 2022.

    fusion head:  f = H([g_1 ⊙ z_1; ..; g_M ⊙ z_M]),    g_k = 2σ(gate_k([z_1; ..; z_M]))
    conditional learning speed of modality k, over all updates t so far outside windows:
        s_k = log10( Σ_t ‖∇gate_k‖² / ‖gate_k‖²  /  Σ_t ‖∇E_k‖² / ‖E_k‖² )
    if s_k - mean_{j≠k} s_j > ε for the largest s_k, the next W updates re-balance:
        g_k is its running mean over the training batches, so that E_k must learn by itself

L = CE(f, y) throughout. A large s_k says that modality k takes what it contributes from the others,
through its gate, rather than from its own encoder. There is at least one regular update between
two windows. As in the public code, speeds count regular updates alone, not those in a window.

Differences from the public code (nyukat/greedy_multimodal_learning):
- Its gates (MMTM) sit between the stages of two convolutional networks. Encoders of different
  kinds have no common stages, so the gates are in the fusion head, on the embeddings after the
  neck. MMTM shares a layer between its gates; here each has its own, and so its own speed.
- The paper has two modalities, for which "largest minus mean of the others" is |s_1 - s_2|.
- Each gate keeps its own running mean; there the second one's is fed with the first one's gate.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, LogUniform, hyper


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    epsilon: float = hyper(
        0.01, "difference of speeds that starts a window", search=LogUniform(1e-3, 0.1), low=0.0
    )
    window: int = hyper(5, "W, updates that a window lasts", search=Choice((5, 10, 20)), low=1)
    start: int = hyper(2, "first epoch, from 0, with windows", search=Choice((0, 1, 2)), low=0)
    width: int = hyper(64, "hidden units of each gate", search=Choice((32, 64, 128)), low=1)


class GatedFusion(nn.Module):
    """Scales each modality's part of [B, Σ_k D_k] by a gate that sees all, then the fusion head.

    `held` replaces gates by constants [D_k]; `opened` is the mean of the last batch's gates,
    [Σ_k D_k].
    """

    def __init__(self, dims: Mapping[str, int], head: nn.Module, width: int) -> None:
        super().__init__()
        total = sum(dims.values())
        self.gates = nn.ModuleDict(
            {
                k: nn.Sequential(nn.Linear(total, width), nn.ReLU(), nn.Linear(width, dim))
                for k, dim in dims.items()
            }
        )
        self.head = head
        self.dims = dict(dims)
        self.held: dict[str, Tensor] = {}
        self.opened = torch.empty(0)

    def forward(self, joint: Tensor) -> Tensor:
        """Return the fused logits [B, C]."""
        parts = dict(
            zip(self.dims, torch.split(joint, list(self.dims.values()), dim=1), strict=True)
        )
        gates = {
            k: self.held[k] if k in self.held else 2 * torch.sigmoid(gate(joint))
            for k, gate in self.gates.items()
        }
        means = [g if g.ndim == 1 else g.detach().mean(dim=0) for g in gates.values()]
        self.opened = torch.cat(means)
        logits = self.head(torch.cat([gates[k] * part for k, part in parts.items()], dim=1))
        return cast(Tensor, logits)


@register("greedy")
class Greedy(Method):
    """ERM with gated fusion; windows without its gate for the modality that neglects itself."""

    family = "balancing"
    paper = "Wu et al., ICML 2022"
    Hyperparameters = Hyperparameters
    min_modalities = 2

    progress: Tensor
    """[M, 2]: the sums over regular updates of gate and encoder, the two in s_k."""
    mean_gates: Tensor
    updates: Tensor
    left: Tensor
    """Updates that the present window still lasts."""
    cared_for: Tensor
    """The modality of the present window."""

    def setup(self, model: Model, run: Run) -> None:
        """Put the gates in front of the model's fusion head."""
        super().setup(model, run)
        fusion = cast(nn.Module, model.fusion)
        model.replace_heads(GatedFusion(model.dims, fusion, self.hp.width))
        count = len(run.modalities)
        self.register_buffer("progress", torch.zeros(count, 2, dtype=torch.float64))
        self.register_buffer("mean_gates", torch.zeros(sum(model.dims.values())))
        for name in ("updates", "left", "cared_for"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def _fusion(self) -> GatedFusion:
        return cast(GatedFusion, self.model.fusion)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), in a window with the constant gate."""
        embeddings = self.model.embed(batch.features)
        self._fusion.held = self._constant_gate()
        fused = self.model.fuse(embeddings)
        for k in self.run.modalities:
            self.log(f"cared_for/{k}", float(k in self._fusion.held))
        self._fusion.held = {}
        return {FUSED: F.cross_entropy(fused, batch.labels)}

    def _constant_gate(self) -> dict[str, Tensor]:
        if not self.left:
            return {}
        i = int(self.cared_for)
        gates = torch.split(self.mean_gates, list(self._fusion.dims.values()))
        return {self.run.modalities[i]: gates[i]}

    def compute_grads(self, batch: Batch) -> None:
        """Measure how fast gates and encoders learn."""
        super().compute_grads(batch)
        rows = [
            [
                relative_size(self._fusion.gates[k].parameters()),
                relative_size(self.model.tail_parameters(k).values()),
            ]
            for k in self.run.modalities
        ]
        self._progress = torch.tensor(rows, dtype=torch.float64)
        self._opened = self._fusion.opened

    def after_step(self) -> None:
        """Follow gates and speeds; count a window down, or start one."""
        self.updates += 1
        self.mean_gates.lerp_(self._opened, 1 / int(self.updates))
        if self.left:
            self.left -= 1
            return
        self.progress += self._progress.to(self.progress)
        if not bool((self.progress > 0).all()):  # an encoder may be frozen throughout
            return
        speeds = conditional_speeds(self.progress)
        for k, speed in zip(self.run.modalities, speeds, strict=True):
            self.log(f"speed/{k}", speed)
        fastest = int(speeds.argmax())
        others = (speeds.sum() - speeds[fastest]) / (len(speeds) - 1)
        if self.run.epoch >= self.hp.start and speeds[fastest] - others > self.hp.epsilon:
            self.cared_for.fill_(fastest)
            self.left.fill_(self.hp.window)


def conditional_speeds(progress: Tensor) -> Tensor:
    """Return s_k [M] from the sums over gate and encoder [M, 2]."""
    gate, encoder = progress.unbind(dim=1)
    return (gate / encoder).log10()


def relative_size(parameters: Iterable[Tensor]) -> float:
    """Return ‖gradient‖² / ‖weights‖² of some tensors taken as one vector."""
    pairs = [(p.grad, p.detach()) for p in parameters if p.grad is not None]
    if not pairs:
        return 0.0
    gradient, weight = (float(sum((x**2).sum() for x in xs)) for xs in zip(*pairs, strict=True))
    return gradient / max(weight, 1e-12)
