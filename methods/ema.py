"""EMA: an exponential moving average of the weights is what is evaluated.

Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; as a baseline
of MMDG in Modality-Balanced Collaborative Distillation (AAAI 2026), equation 7.

    θ̄_t = β_t θ̄_{t-1} + (1-β_t) θ_t,    θ̄_0 = θ_0

Public code (MMDG_Benchmark) uses a constant β, so that short runs are tested on an average in
which the random initial weights still count: 0.999^480 = 62 % of them after 480 steps. Here β
ramps up unless `--no-ema-warmup` is given. Batch-norm statistics follow the parameters, as in the
scripts for HAC and EPIC-Kitchens; the one for HUST motor copies the student's, as does
`--average-bn copied`.
"""

from dataclasses import dataclass

from methods import register
from methods.base import Model, Run
from methods.hyperparameters import Choice, hyper
from methods.shared.averaging import AveragingWrapper, ExponentialAverage


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    beta: float = hyper(
        0.999,
        "decay of the average per step",
        search=Choice((0.9, 0.99, 0.999, 0.9999)),
        low=0.0,
        high=1.0,
    )


@register("ema")
class EMA(AveragingWrapper):
    """Any method, evaluated on the exponential average of its student."""

    family = "weight averaging"
    paper = "Polyak and Juditsky, 1992"
    Hyperparameters = Hyperparameters
    evaluates_average = True

    def setup(self, model: Model, run: Run) -> None:
        """Start the average at the initial weights."""
        super().setup(model, run)
        self.average = ExponentialAverage(model, self.hp.beta, run.ema_warmup, run.average_bn)

    def after_step(self) -> None:
        """Add the new weights to the average."""
        super().after_step()
        self.average.update(self.model)

    def eval_model(self) -> Model:
        """Return the average."""
        return self.average.model
