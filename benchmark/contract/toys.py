"""Tiny models in float64, batches, and a training loop without the engine."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import methods
from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.records.spec import Protocol
from benchmark.training import evaluate, seeds
from benchmark.training.model import MultimodalModel, build
from methods.base import Batch, Features, Method, Model, Run, Validation

CLASSES = 4
SHAPES = {"a": (6,), "b": (5,), "c": (3, 16), "d": (7,)}
VECTORS = ("a", "b")
WITH_BATCH_NORM = ("a", "c")
STEPS = 100
"""The `total_steps` of a toy run."""


def vector_encoder(size: int, dim: int) -> Encoder:
    """Smooth, without batch norm and without frozen stages."""
    return Encoder(nn.Identity(), nn.Sequential(nn.Linear(size, dim), nn.Tanh()), dim)


def signal_encoder(channels: int, dim: int) -> Encoder:
    """Smooth, with batch norm in the trained stage."""
    layers = (
        nn.Conv1d(channels, dim, 5, stride=2, bias=False),
        nn.BatchNorm1d(dim),
        nn.Tanh(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
    )
    return Encoder(nn.Identity(), nn.Sequential(*layers), dim)


def tiny_encoder(modality: str) -> Encoder:
    """Return an encoder of this modality's shape; every modality has its own width."""
    shape, dim = SHAPES[modality], 3 + "abcd".index(modality)
    make = vector_encoder if len(shape) == 1 else signal_encoder
    return make(shape[0], dim)


def registered_encoder(modality: str) -> Encoder:
    """Return the encoder that the suite would use for this modality's shape."""
    shape = SHAPES[modality]
    return backbones.create("mlp" if len(shape) == 1 else "signal_cnn", shape)


def tiny_model(
    modalities: Iterable[str] = VECTORS,
    seed: int = 0,
    encoder: Callable[[str], Encoder] = tiny_encoder,
    **protocol: Any,
) -> MultimodalModel:
    """Build the suite's model in float64."""
    makers = {k: partial(encoder, k) for k in modalities}
    return build(makers, CLASSES, Protocol(**protocol), seed).double()


def make_batch(
    modalities: Iterable[str] = VECTORS,
    size: int = 8,
    seed: int = 0,
    labels: Sequence[int] | None = None,
) -> Batch:
    """Draw two views and labels; a modality's features depend on its name and the seed alone."""
    features: dict[str, Features] = {}
    second: dict[str, Features] = {}
    for k in modalities:
        generator = torch.Generator().manual_seed(1000 * seed + "abcd".index(k))
        draw = partial(torch.randn, size, *SHAPES[k], generator=generator, dtype=torch.float64)
        view = draw()
        features[k], second[k] = view, view + 0.1 * draw()
    if labels is None:
        labels = [(i + seed) % CLASSES for i in range(size)]
    ids = tuple(f"{seed}-{i}" for i in range(size))
    return Batch(features, torch.tensor(labels), torch.arange(size) % 2, ids, second)


def make_batches(modalities: Iterable[str] = VECTORS, count: int = 4, size: int = 8) -> list[Batch]:
    """Draw several different batches."""
    return [make_batch(modalities, size, seed) for seed in range(count)]


def make_run(model: Model, ema_warmup: bool = False, batches: Sequence[Batch] = ()) -> Run:
    """Return a run over these batches; resetting its optimizer is an error."""

    def reset_optimizer() -> None:
        raise AssertionError("the optimizer is reset, but there is none")

    return Run(
        modalities=model.modalities,
        domains=("s1", "s2"),
        classes=CLASSES,
        total_steps=STEPS,
        ema_warmup=ema_warmup,
        generator=torch.Generator().manual_seed(7),
        train_loader=lambda: iter(batches),
        val_loader=lambda: iter(batches),
        refresh_bn=partial(_refresh_bn, batches),
        reset_optimizer=reset_optimizer,
    )


@torch.no_grad()
def _refresh_bn(batches: Iterable[Batch], model: Model) -> None:
    model.train()
    for batch in batches:
        model.embed(batch.features)


def make_method(
    composition: str,
    model: Model,
    ema_warmup: bool = False,
    batches: Sequence[Batch] = (),
    **hyperparameters: object,
) -> Method:
    """Build and set up a method; the hyper-parameters go to the first part of its name.

    Its own modules always start from the same weights.
    """
    method = methods.create(composition, {composition.split("+")[0]: hyperparameters})
    with seeds.drawing_from(0, "method", "init"):
        method.setup(model, make_run(model, ema_warmup, batches))
    return method.double().train()


def adam(method: Method, lr: float = 1e-2) -> torch.optim.Adam:
    """Return the optimizer that the engine would use."""
    return torch.optim.Adam(method.param_groups(), lr=lr)


def train(
    method: Method, batches: Iterable[Batch], optimizer: Callable[[], torch.optim.Optimizer]
) -> None:
    """Make one training step per batch with the current optimizer, as the engine does."""

    def update() -> None:
        optimizer().step()
        method.after_step()

    for batch in batches:
        method.run.step += 1
        method.step(batch, update)


class Loop:
    """The steps of a training without the engine, with an optimizer that can be reset."""

    def __init__(self, method: Method, lr: float = 1e-2) -> None:
        self.method, self.lr = method, lr
        self._reset()
        method.run.reset_optimizer = self._reset

    def _reset(self) -> None:
        self.optimizer = adam(self.method, self.lr)

    def train(self, batches: Iterable[Batch]) -> None:
        """Make one training step per batch."""
        train(self.method, batches, lambda: self.optimizer)

    def epoch(self, number: int, batches: Iterable[Batch]) -> None:
        """Train for an epoch of these batches."""
        self.method.run.epoch = number
        self.method.epoch_start()
        self.train(batches)
        self.method.epoch_end()


def validate(method: Method, batches: Iterable[Batch]) -> bool:
    """Measure student and evaluated model as the engine does and tell the method."""
    models = {"student": method.model, "evaluated": method.eval_model()}
    measured = evaluate.predict(method, batches, models)
    return method.validated(Validation(**{name: p.stats() for name, p in measured.items()}))


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers by name."""
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: x.detach().clone() for name, x in named}


def grads(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of all gradients by parameter name, zeros where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in module.named_parameters()
    }


def gradients_of(method: Method, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Return the gradients that a method leaves in its student, with dropout drawn from a seed."""
    torch.manual_seed(seed)
    method.compute_grads(batch)
    return grads(method.model)


def through_a_file(state: Any) -> Any:
    """Save and load a state the way a checkpoint does."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def expect(holds: bool, reason: str) -> None:
    """Raise AssertionError with this reason unless it holds; unlike `assert`, also under -O."""
    if not holds:
        raise AssertionError(reason)


def assert_same(actual: Any, expected: Any, at: str = "it") -> None:
    """Expect nested containers to hold bitwise equal tensors and equal values."""
    if isinstance(expected, Tensor):
        expect(isinstance(actual, Tensor) and torch.equal(actual, expected), f"{at} differs")
    elif isinstance(expected, Mapping):
        expect(list(actual) == list(expected), f"{at} has other keys")
        for key in expected:
            assert_same(actual[key], expected[key], f"{at}/{key}")
    elif isinstance(expected, list | tuple):
        expect(len(actual) == len(expected), f"{at} has another length")
        for i, (mine, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(mine, other, f"{at}[{i}]")
    else:
        expect(actual == expected, f"{at}: {actual} is not {expected}")


def assert_close(
    actual: Mapping[str, Tensor] | Tensor,
    expected: Mapping[str, Tensor] | Tensor,
    tolerance: float = 1e-6,
    at: str = "it",
) -> None:
    """Expect tensors, or mappings with the same names to them, to agree within a tolerance."""
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        expect(actual.shape == expected.shape, f"{at} has another shape")
        off = float((actual - expected).detach().abs().max()) if actual.numel() else 0.0
        expect(off <= tolerance, f"{at} is off by {off:.3g}")
        return
    assert isinstance(actual, Mapping) and isinstance(expected, Mapping)
    expect(set(actual) == set(expected), f"{sorted(actual)} is not {sorted(expected)}")
    for name, value in expected.items():
        assert_close(actual[name], value, tolerance, name)
