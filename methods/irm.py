"""IRM: one classifier that is optimal in every source domain at once.

Arjovsky, Bottou, Gulrajani and Lopez-Paz, Invariant Risk Minimization, arXiv 1907.02893, 2019,
the practical IRMv1.

    L = mean_d ℓ_d + λ_t mean_d g_d²,   g_d = ∂/∂w CE(w f, y) at w = 1

over the batch's samples of domain d. λ_t is 1 in the first steps, then λ, and the optimizer starts
anew in between (see `InvariancePenalty`). Differences from public code:
- facebookresearch/DomainBed multiplies the g of every second sample with that of the others. This
  is an unbiased estimate of the squared gradient, but where the samples come again in later epochs
  it has no lower bound: for λ of about 2 and more the logits of a few samples can grow without
  end, at the price of learning. So g_d² is the default, as in the authors' own code of their
  experiments; `split` gives DomainBed's estimate.
- The step of the jump is a share of the run, with the ratio of DomainBed's 500 in 5000 steps.
- g is written out, mean_i (Σ_c p_ic f_ic - f_i,y_i), which needs no second derivative.
- With one source domain this is ERM. DomainBed would penalise that domain's own gradient.
- Batches mix the domains at random. As in the paper every domain counts the same in the loss,
  however many samples it has in the batch.

The default λ is 1, not DomainBed's 100: with that, and from 10 on, the synthetic dataset is not
learned, as the penalty is also 0 for logits near 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods import register
from methods.hyperparameters import LogUniform, hyper
from methods.shared.invariance import Annealing, Block, InvariancePenalty


@dataclass(frozen=True)
class Hyperparameters(Annealing):
    """See the fields."""

    weight: float = hyper(
        1.0, "weight λ of the penalty after the jump", search=LogUniform(0.1, 1e3), low=0.0
    )
    split: bool = hyper(
        False, "estimate the penalty without bias from two halves; unbounded below for large λ"
    )


@register("irm")
class IRM(InvariancePenalty):
    """Mean domain loss with a penalty where rescaling the logits would help a domain."""

    paper = "Arjovsky et al., arXiv 2019"
    Hyperparameters = Hyperparameters

    def penalty(self, blocks: list[Block]) -> Tensor:
        """Return the mean over domains of the squared gradient."""
        return torch.stack([self._squared_gradient(*block) for block in blocks]).mean()

    def _squared_gradient(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.hp.split:
            return scale_gradient(logits, labels).square()
        even, odd = (scale_gradient(logits[i::2], labels[i::2]) for i in (0, 1))
        return even * odd


def scale_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ∂/∂w CE(w · logits, labels) at w = 1, for logits [n, C]."""
    expected = (logits.softmax(dim=1) * logits).sum(dim=1)
    return (expected - logits.gather(1, labels.unsqueeze(1)).squeeze(1)).mean()
