"""SWA: stochastic weight averaging over the last part of training.

Izmailov, Podoprikhin, Garipov, Vetrov and Wilson, Averaging Weights Leads to Wider Optima and
Better Generalization, UAI 2018, algorithm 1.

    from step t_s on, every c steps:  θ̄ ← (n θ̄ + θ) / (n + 1)

then batch-norm statistics are recomputed on the train part. Differences from the paper: the
learning rate stays the recipe's, as it does for every method here (the paper uses a constant or
cyclic one of its own); a run too short to be sampled at all keeps its last weights.
"""

from dataclasses import dataclass
from typing import Any

from methods import register
from methods.base import Model
from methods.hyperparameters import Uniform, hyper
from methods.shared.averaging import AveragedModel, AveragingWrapper, UniformMean, trained


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    start: float = hyper(
        0.75, "t_s as a share of all steps", search=Uniform(0.5, 0.9), low=0.0, high=1.0
    )
    every: int = hyper(0, "c, steps between two samples; 0: one at the end of each epoch", low=0)


@register("swa")
class SWA(AveragingWrapper):
    """Any method, evaluated on the average of its student over the last part of training."""

    Hyperparameters = Hyperparameters
    family = "weight averaging"
    paper = "Izmailov et al., UAI 2018"
    own_rule = True

    def __init__(self, hyperparameters: Any = None, *, inner: Any) -> None:
        super().__init__(hyperparameters, inner=inner)
        self.samples = UniformMean()
        self.average: AveragedModel | None = None

    def after_step(self) -> None:
        """Sample the weights every c steps."""
        super().after_step()
        if self.hp.every and self._steps_since_start() % self.hp.every == 0:
            self._sample()

    def epoch_end(self) -> None:
        """Sample the weights at the end of an epoch."""
        super().epoch_end()
        if not self.hp.every:
            self._sample()

    def _steps_since_start(self) -> int:
        return self.run.step - int(self.hp.start * self.run.total_steps)

    def _sample(self) -> None:
        if self._steps_since_start() > 0:
            self.samples.add(trained(self.model))

    def finalize(self) -> None:
        """Install the average and recompute batch-norm statistics."""
        super().finalize()
        if not self.samples.count:
            self.samples.add(trained(self.model))
        self.average = AveragedModel(self.model)
        self.average.load(self.samples.mean)
        self.run.refresh_bn(self.average.model)
        self.average.eval()

    def eval_model(self) -> Model:
        """Return the student during training and the average afterwards."""
        return self.model if self.average is None else self.average.model

    def summary(self) -> dict[str, Any]:
        """Return how many samples were averaged."""
        return {**super().summary(), "samples": self.samples.count}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the samples' mean."""
        return {"mean": self.samples.mean, "count": self.samples.count}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.samples = UniformMean(**state)
