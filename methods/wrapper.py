"""A method around another one, as in `swad+mbcd`."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from methods.base import Batch, Logits, Mask, Method, Model, Run, Validation


class Wrapper(Method):
    """A method around another one: every hook goes inward first."""

    is_wrapper = True

    def __init__(self, hyperparameters: Any = None, *, inner: Method) -> None:
        super().__init__(hyperparameters)
        self.inner = inner
        self.trains_unimodal = inner.trains_unimodal

    outermost: ClassVar[bool] = False
    """Whether no other wrapper may go around this one."""

    @classmethod
    def refuses(cls, inner: type[Method]) -> str | None:
        """Return why this wrapper cannot go around `inner`, or None."""
        if inner is cls:
            return f"{cls.name} is named twice; once is enough"
        if issubclass(inner, Wrapper) and inner.outermost:
            return f"{inner.name} must stand outermost: write {inner.name}+{cls.name}"
        return None

    def __getattr__(self, name: str) -> Any:
        # `model` lives in the innermost method, so that a checkpoint holds it once.
        return getattr(self.inner, name) if name == "model" else super().__getattr__(name)

    def setup(self, model: Model, run: Run) -> None:
        """Set up the inner method around the model."""
        self.run = run
        self.inner.setup(model, run)

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the inner method's groups."""
        return self.inner.param_groups()

    def epoch_start(self) -> None:
        """Call the inner method's `epoch_start`."""
        self.inner.epoch_start()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the inner method's terms."""
        return self.inner.loss(batch)

    def compute_grads(self, batch: Batch) -> None:
        """Call the inner method's `compute_grads`."""
        self.inner.compute_grads(batch)

    def step(self, batch: Batch, update: Callable[[], None]) -> None:
        """Call the inner method's `step`."""
        self.inner.step(batch, update)

    def after_step(self) -> None:
        """Call the inner method's `after_step`."""
        self.inner.after_step()

    def epoch_end(self) -> None:
        """Call the inner method's `epoch_end`."""
        self.inner.epoch_end()

    def validated(self, stats: Validation) -> bool:
        """Return whether the inner method asks to stop."""
        return self.inner.validated(stats)

    def finalize(self) -> None:
        """Call the inner method's `finalize`."""
        self.inner.finalize()

    def summary(self) -> dict[str, Any]:
        """Return the inner method's facts."""
        return self.inner.summary()

    def eval_model(self) -> Model:
        """Return what the inner method evaluates."""
        return self.inner.eval_model()

    def classify(
        self, embeddings: Mapping[str, Tensor], present: Mask | None, model: Model
    ) -> Logits:
        """Classify as the inner method does."""
        return self.inner.classify(embeddings, present, model)

    def prediction_state(self) -> dict[str, Any]:
        """Return what the inner method needs to classify."""
        return self.inner.prediction_state()

    def set_prediction_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.inner.set_prediction_state(state)
