"""What the tests of the methods need: tiny models in float64, batches, and steps without engine."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

import methods
from benchmark import backbones, evaluate
from benchmark.backbones.base import Encoder
from benchmark.model import MultimodalModel, build
from benchmark.spec import Protocol
from methods.base import FUSED, Batch, HeadStats, Method, Model, Run, Validation

torch.set_num_threads(1)

CLASSES = 4
SHAPES = {"a": (6,), "b": (5,), "c": (3, 16), "d": (7,)}
VECTORS = ("a", "b")
WITH_BATCH_NORM = ("a", "c")


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
    **protocol: object,
) -> MultimodalModel:
    """Build the suite's model in float64."""
    makers = {k: (lambda k=k: encoder(k)) for k in modalities}
    return build(makers, CLASSES, Protocol(**protocol), seed).double()


def without_dropout(model: Model) -> Model:
    """Turn every dropout of a model off, so that train mode draws nothing."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def smooth(model: MultimodalModel) -> MultimodalModel:
    """Make the loss twice differentiable: no dropout, tanh for ReLU in the heads."""
    for head in (*model.heads.values(), model.fusion):
        for i, layer in enumerate(head):
            if isinstance(layer, nn.ReLU):
                head[i] = nn.Tanh()
    without_dropout(model)
    return model


class LinearModel(Model):
    """A model whose predictions are linear in its weights; embeddings are the features."""

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({k: nn.Linear(d, classes) for k, d in dims.items()})
        self.fusion = nn.Linear(sum(dims.values()), classes, bias=False)
        self.double()

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.heads)

    @property
    def dims(self):
        raise NotImplementedError

    def replace_heads(self, fusion=None, unimodal=None):
        raise NotImplementedError

    def embed(self, features, parameters=None):
        return dict(features)

    def tail_parameters(self, modality):
        return {}

    def branch(self, modality):
        return (self.heads[modality],)

    def features_edited(self, edit):
        raise NotImplementedError("a linear model has no feature maps")

    def unimodal(self, embeddings):
        return {k: head(embeddings[k]) for k, head in self.heads.items()}

    def fuse(self, embeddings, mask=None):
        return self.fusion(torch.cat([embeddings[k] for k in self.modalities], dim=1))


def make_batch(
    modalities: Iterable[str] = VECTORS,
    size: int = 8,
    seed: int = 0,
    labels: Sequence[int] | None = None,
) -> Batch:
    """Draw features and labels; a modality's features depend on its name and the seed alone."""
    features = {}
    for k in modalities:
        generator = torch.Generator().manual_seed(1000 * seed + "abcd".index(k))
        features[k] = torch.randn(size, *SHAPES[k], generator=generator, dtype=torch.float64)
    if labels is None:
        labels = [(i + seed) % CLASSES for i in range(size)]
    domains = torch.arange(size) % 2
    return Batch(features, torch.tensor(labels), domains, tuple(f"{seed}-{i}" for i in range(size)))


def make_batches(modalities: Iterable[str] = VECTORS, count: int = 4, size: int = 8) -> list[Batch]:
    """Draw several different batches."""
    return [make_batch(modalities, size, seed) for seed in range(count)]


def make_run(model: Model, ema_warmup: bool = False, batches: Sequence[Batch] = ()) -> Run:
    """Return a run over these batches; `refresh_bn` puts what it was given on `run.refreshed`."""

    def refresh_bn(target: Model) -> None:
        run.refreshed.append((target, tensors(target)))

    def reset_optimizer() -> None:
        raise AssertionError("no method here resets the optimizer")

    run = Run(
        modalities=model.modalities,
        domains=("s1", "s2"),
        classes=CLASSES,
        total_steps=100,
        ema_warmup=ema_warmup,
        generator=torch.Generator().manual_seed(7),
        train_loader=lambda: iter(batches),
        val_loader=lambda: iter(batches),
        refresh_bn=refresh_bn,
        reset_optimizer=reset_optimizer,
    )
    run.refreshed = []
    return run


def make_method(
    composition: str,
    model: Model,
    ema_warmup: bool = False,
    batches: Sequence[Batch] = (),
    **hyperparameters: object,
) -> Method:
    """Build and set up a method; the hyper-parameters go to the first part of its name."""
    method = methods.create(composition, {composition.split("+")[0]: hyperparameters})
    method.setup(model, make_run(model, ema_warmup, batches))
    return method.double().train()


def adam(method: Method, lr: float = 1e-2) -> torch.optim.Adam:
    """Return the optimizer that the engine would use."""
    return torch.optim.Adam(method.param_groups(), lr=lr)


def train(method: Method, batches: Iterable[Batch], optimizer: torch.optim.Optimizer) -> None:
    """Make one training step a batch, as the engine does."""

    def update() -> None:
        optimizer.step()
        method.after_step()

    for batch in batches:
        method.run.step += 1
        method.step(batch, update)


def trajectory(
    composition: str, model: Model, batches: Iterable[Batch], **hyperparameters: object
) -> list[dict[str, Tensor]]:
    """Train with seeded dropout and return the student's weights after every step."""
    method = make_method(composition, model, **hyperparameters)
    optimizer = adam(method)
    torch.manual_seed(11)
    weights = []
    for batch in batches:
        train(method, [batch], optimizer)
        weights.append(tensors(method.model))
    return weights


def validate(method: Method, batches: Iterable[Batch]) -> bool:
    """Measure student and evaluated model as the engine does and tell the method."""
    models = {"student": method.model, "evaluated": method.eval_model()}
    measured = evaluate.predict(method, batches, models)
    return method.validated(Validation(**{name: p.stats() for name, p in measured.items()}))


def fused_loss(loss: float) -> Validation:
    """Return a validation in which the student's fused loss is `loss`, the average's another."""
    return Validation({FUSED: HeadStats(loss, 0.5)}, {FUSED: HeadStats(-loss, 0.5)})


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


def assert_same(actual: object, expected: object, at: str = "") -> None:
    """Assert that nested containers hold bitwise equal tensors and equal values."""
    if isinstance(expected, Tensor):
        assert torch.equal(actual, expected), f"{at} differs"
    elif isinstance(expected, Mapping):
        assert list(actual) == list(expected), f"{at} has other keys"
        for key in expected:
            assert_same(actual[key], expected[key], f"{at}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), f"{at} has another length"
        for i, (mine, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(mine, other, f"{at}[{i}]")
    else:
        assert actual == expected, f"{at}: {actual} is not {expected}"


def assert_close(
    actual: Mapping[str, Tensor] | Tensor,
    expected: Mapping[str, Tensor] | Tensor,
    tolerance: float = 1e-6,
) -> None:
    """Assert that tensors, or mappings with the same names to them, agree within a tolerance."""
    if isinstance(expected, Mapping):
        assert set(actual) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(
                actual[name], value, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}"
            )
    else:
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def through_a_file(state: object) -> object:
    """Save and load a state the way a checkpoint does."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
