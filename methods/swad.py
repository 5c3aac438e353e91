"""SWAD: stochastic weight averaging, densely, from convergence to the first sign of overfitting.

Cha et al., SWAD: Domain Generalization by Seeking Flat Minima, NeurIPS 2021, algorithm 1.

With v_n the student's fused source-validation loss at the n-th validation, and S_n the uniform
mean of the weights after each step between validations n-1 and n:
- start: t_s is the first n with v_n = min(v_n, ..., v_{n+N_s-1}); the threshold is then
  τ = (1 + r) · mean(v_n, ..., v_{n+N_s-1});
- end: t_e = n - N_e at the first n for which min(v_{n-N_e+1}, ..., v_n) > τ, a dead valley that
  lies wholly after t_s, and training stops; without one, t_e is the last segment;
- the result is the uniform mean of S_{t_s}, ..., S_{t_e}, each segment once. If the loss never
  converges, it is the last segment, and the record says so.

Differences from the public code (khanrc/swad): there an averaged model forgets that it already
holds one segment, so that with its defaults segments around t_s count twice or three times or
not at all; here the paper's rule is followed. One evaluation is one validation of the run,
wherever `--validate-every` puts them. v_n is the mean over the validation samples of all source
domains together; there it is the mean of the domains' means. Batch-norm statistics are recomputed
on the train part instead of frozen throughout.
"""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from methods import register
from methods.base import FUSED, Model, Validation
from methods.hyperparameters import Choice, Uniform, hyper
from methods.shared.averaging import AveragedModel, AveragingWrapper, UniformMean, trained


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    converge: int = hyper(3, "N_s, validations that must not improve on the start", low=1)
    tolerance: int = hyper(
        6, "N_e, validations above the threshold that end it", search=Choice((3, 6)), low=1
    )
    ratio: float = hyper(0.3, "r, tolerated rise of the loss", search=Uniform(0.1, 0.5), low=0.0)


@register("swad")
class SWAD(AveragingWrapper):
    """Any method, evaluated on the dense average of its student over the flat valley."""

    family = "weight averaging"
    paper = "Cha et al., NeurIPS 2021"
    Hyperparameters = Hyperparameters
    own_rule = True

    def __init__(self, hyperparameters: Any = None, *, inner: Any) -> None:
        super().__init__(hyperparameters, inner=inner)
        self.losses: list[float] = []
        self.segment = UniformMean()
        self.recent: dict[int, dict[str, Tensor]] = {}
        self.settled = UniformMean()
        self.start: int | None = None
        self.threshold = 0.0
        self.average: AveragedModel | None = None

    def after_step(self) -> None:
        """Add the new weights to the segment."""
        super().after_step()
        self.segment.add(trained(self.model))

    def validated(self, stats: Validation) -> bool:
        """Close the segment; return True in a dead valley."""
        stop = super().validated(stats)
        n = len(self.losses)
        self.losses.append(stats.student[FUSED].loss)
        self.recent[n] = self.segment.mean
        self.segment = UniformMean()
        if self.start is None:
            self._look_for_start(n)
            return stop
        valley = n - self.hp.tolerance + 1
        if valley >= self.start and min(self.losses[valley:]) > self.threshold:
            self.recent = {i: s for i, s in self.recent.items() if i < valley}
            return True
        self._settle(before=valley)
        return stop

    def _look_for_start(self, n: int) -> None:
        oldest = n - self.hp.converge + 1
        window = self.losses[max(oldest, 0) :]
        if oldest >= 0 and window[0] == min(window):
            self.start = oldest
            self.threshold = (1 + self.hp.ratio) * fmean(window)
            self.log("swad/start", oldest)
        first_useful = oldest if self.start is not None else min(oldest + 1, n)
        self.recent = {i: s for i, s in self.recent.items() if i >= first_useful}

    def _settle(self, before: int) -> None:
        """Merge the segments that no later dead valley can exclude, to bound the memory."""
        for i in sorted(i for i in self.recent if i < before):
            self.settled.add(self.recent.pop(i))

    def finalize(self) -> None:
        """Average the segments and recompute batch-norm statistics."""
        super().finalize()
        if self.start is None:
            self.recent = {max(self.recent): self.recent[max(self.recent)]}
        self._settle(before=len(self.losses))
        self.average = AveragedModel(self.model)
        self.average.load(self.settled.mean)
        self.run.refresh_bn(self.average.model)
        self.average.eval()

    def eval_model(self) -> Model:
        """Return the student during training and the average afterwards."""
        return self.model if self.average is None else self.average.model

    def summary(self) -> dict[str, Any]:
        """Return which segments were averaged."""
        return {
            **super().summary(),
            "converged": self.start is not None,
            "start": self.start,
            "segments": self.settled.count,
            "threshold": self.threshold,
        }

    def get_extra_state(self) -> dict[str, Any]:
        """Return losses, segments and what has been decided."""
        return {
            "losses": self.losses,
            "segment": (self.segment.mean, self.segment.count),
            "recent": self.recent,
            "settled": (self.settled.mean, self.settled.count),
            "start": self.start,
            "threshold": self.threshold,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.losses = state["losses"]
        self.segment = UniformMean(*state["segment"])
        self.recent = state["recent"]
        self.settled = UniformMean(*state["settled"])
        self.start = state["start"]
        self.threshold = state["threshold"]
