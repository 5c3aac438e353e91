"""SMA: the simple moving average of the weights from a start step on.

Arpit, Wang, Zhou and Xiong, Ensemble of Averages: Improving Model Selection and Boosting
Performance in Domain Generalization, NeurIPS 2022, equation 1.

    θ̄_t = θ_t for t < t_0,    θ̄_t = mean(θ_{t_0-1}, ..., θ_t) for t ≥ t_0

As in the public code (salesforce/ensemble-of-averages) the last copied iterate counts as the first
sample. Batch-norm statistics follow the
parameters, unless `--average-bn copied` is given. The paper's ensemble, the sum of the logits of
several seeds' averages, is an evaluation: `benchmark.report --ensemble`.
"""

from dataclasses import dataclass

from methods import register
from methods.base import Model, Run
from methods.hyperparameters import Choice, hyper
from methods.shared.averaging import AveragingWrapper, SimpleAverage


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    start: int = hyper(
        100, "t_0, the step from which weights are averaged", search=Choice((50, 100, 400)), low=1
    )


@register("sma")
class SMA(AveragingWrapper):
    """Any method, evaluated on the simple moving average of its student."""

    Hyperparameters = Hyperparameters
    family = "weight averaging"
    paper = "Arpit et al., NeurIPS 2022"
    evaluates_average = True

    def setup(self, model: Model, run: Run) -> None:
        """Start the average at the initial weights."""
        super().setup(model, run)
        self.average = SimpleAverage(model, self.hp.start, run.average_bn)

    def after_step(self) -> None:
        """Add the new weights to the average."""
        super().after_step()
        self.average.update(self.model)

    def eval_model(self) -> Model:
        """Return the average."""
        return self.average.model
