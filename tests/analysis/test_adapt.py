"""The evaluators of test-time adaptation, on models whose steps are worked out by hand."""

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from support_methods import (
    CLASSES,
    assert_same,
    make_batch,
    make_method,
    tensors,
    tiny_model,
)
from torch import Tensor, nn
from torch.nn import functional as F

import methods
from benchmark.analysis.adapt import AEO, EVALUATORS, READ, SAR, T3A, Tent
from benchmark.analysis.adapt.base import marginal_entropy
from benchmark.analysis.adapt.settings import Settings
from benchmark.backbones.base import Encoder
from benchmark.records.spec import Protocol
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Method

LR = 0.01
PLAIN = Settings(lr=LR)


def linear(
    dims: Mapping[str, int], classes: int, neck: str = "layernorm", composition: str = "erm"
) -> tuple[Method, MultimodalModel]:
    """Return a model in float64 of necks and one linear layer; embeddings are the features."""
    encoders = {k: Encoder(nn.Identity(), nn.Identity(), dim) for k, dim in dims.items()}
    model = MultimodalModel(encoders, classes, Protocol(neck=neck), 0)
    torch.manual_seed(0)
    model.fusion = nn.Linear(sum(dims.values()), classes)
    return make_method(composition, model.double()).eval(), model


def drawn(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def entropy(p: Sequence[float]) -> float:
    return -sum(x * math.log(x) for x in p)


def softmax(x: Sequence[float]) -> list[float]:
    return [math.exp(v) / sum(map(math.exp, x)) for v in x]


def logits_of(*rows: Sequence[float]) -> Tensor:
    """Return logits whose probabilities are these."""
    return torch.tensor(rows, dtype=torch.float64).log() + 3.0


# Tent


def by_hand(x: Tensor, w: Tensor, b: Tensor, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return ∂L/∂w and ∂L/∂b of L = mean H(softmax(W (w·x̂ + b) + c)), by the chain rule."""
    centred = x - x.mean(dim=1, keepdim=True)
    normed = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    p = ((normed * w + b) @ layer.weight.T + layer.bias).softmax(dim=1)
    h = -(p * p.log()).sum(dim=1, keepdim=True)
    into = (-p * (p.log() + h) / len(x)) @ layer.weight  # ∂H/∂f_c = -p_c (ln p_c + H)
    return (into * normed).sum(dim=0).detach(), into.sum(dim=0).detach()


def first_adam(p: Tensor, gradient: Tensor) -> Tensor:
    """Return a tensor after the first step of Adam, whose two moments are then g and g²."""
    return p - LR * gradient / (gradient.abs() + 1e-8)


def test_tent_steps_down_the_entropy_on_scales_and_shifts_alone():
    method, model = linear({"a": 4}, 3)
    neck = model.necks["a"]
    with torch.no_grad():
        neck.weight.copy_(1 + 0.3 * drawn(4, seed=5))
        neck.bias.copy_(0.3 * drawn(4, seed=6))
    x = drawn(6, 4)
    w, b = neck.weight.detach().clone(), neck.bias.detach().clone()
    gradients = by_hand(x, w, b, model.fusion)
    evaluator = Tent(method, model, PLAIN)
    before, after = evaluator.adapt({"a": x})
    adapted = evaluator.model.necks["a"]
    torch.testing.assert_close([p.grad for p in (adapted.weight, adapted.bias)], [*gradients])
    torch.testing.assert_close(adapted.weight.detach(), first_adam(w, gradients[0]))
    torch.testing.assert_close(adapted.bias.detach(), first_adam(b, gradients[1]))
    assert torch.equal(evaluator.model.fusion.weight, model.fusion.weight)
    torch.testing.assert_close(before, method.predict({"a": x}, model=model)[FUSED])
    with torch.no_grad():
        expected = model.fusion(F.layer_norm(x, (4,), adapted.weight, adapted.bias))
    torch.testing.assert_close(after, expected)
    assert evaluator.facts() == {"parameters": 8}


def test_tent_lowers_the_entropy_of_the_batch_it_sees_again_and_again():
    method, model = linear({"a": 4}, 3)
    evaluator, x = Tent(method, model, PLAIN), drawn(6, 4)
    found = [evaluator.loss({FUSED: evaluator.adapt({"a": x}).before}).item() for _ in range(5)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]


@pytest.mark.parametrize("name", ["tent", "sar"])
def test_a_batch_whose_predictions_are_uniform_moves_nothing(name):
    """The entropy is at its highest there, and its gradient zero."""
    method, model = linear({"a": 4}, 3)
    nn.init.zeros_(model.fusion.weight)
    nn.init.zeros_(model.fusion.bias)
    evaluator = EVALUATORS[name](method, model, Settings(lr=LR, sar_margin=2.0, sar_reset=0.0))
    before = tensors(evaluator.model)
    evaluator.adapt({"a": drawn(6, 4)})
    assert_same(tensors(evaluator.model), before)


def test_tent_normalises_by_the_test_batch_and_keeps_the_statistics_of_the_sources():
    model = tiny_model("c", neck="none")
    method = make_method("erm", model).eval()
    batch = make_batch("c")
    evaluator = Tent(method, model, PLAIN)
    assert [p.shape for p in evaluator.adapted] == [(5,), (5,)]
    held = dict(model.encoder("c").tail[1].named_buffers())
    before, _ = evaluator.adapt(batch.features)
    convolution, norm, *rest = model.encoder("c").tail
    with torch.no_grad():
        x = convolution(batch.features["c"])
        mean, variance = x.mean(dim=(0, 2)), x.var(dim=(0, 2), correction=0)
        z = (x - mean[:, None]) / (variance[:, None] + norm.eps).sqrt()
        expected = model.fuse({"c": nn.Sequential(*rest)(z)})
    torch.testing.assert_close(before, expected)
    for name in ("running_mean", "running_var"):
        assert torch.equal(evaluator.model.encoder("c").tail[1].get_buffer(name), held[name])


def test_fixed_necks_are_not_adapted():
    for neck in ("none", "fixed-layernorm"):
        method, model = linear({"a": 4}, 3, neck=neck)
        assert Tent.lacks(method, model) == SAR.lacks(method, model) != ""


# SAR


def test_without_a_radius_sar_is_tent_on_the_reliable_samples():
    method, model = linear({"a": 4}, 3)
    x = 3 * drawn(12, 4)
    entropies = entropy_of(method.predict({"a": x}, model=model)[FUSED])
    reliable = entropies < 0.9 * math.log(3)
    assert 0 < reliable.sum() < 12
    settings = Settings(lr=LR, sar_radius=0.0, sar_margin=0.9, sar_reset=0.0)
    sar, tent = SAR(method, model, settings), Tent(method, model, PLAIN)
    for _ in range(2):
        sar.adapt({"a": x})
        tent.adapt({"a": x[reliable]})
        torch.testing.assert_close([p.grad for p in sar.adapted], [p.grad for p in tent.adapted])
    torch.testing.assert_close(tensors(sar.model), tensors(tent.model))


def entropy_of(logits: Tensor) -> Tensor:
    p = logits.softmax(dim=1)
    return -(p * p.log()).sum(dim=1)


def test_sar_takes_the_gradient_at_the_worst_weights_nearby_over_what_is_reliable_at_both():
    method, model = linear({"a": 4}, 3)
    x, radius, margin = drawn(8, 4), 0.4, 0.85 * math.log(3)
    neck = model.necks["a"]
    with torch.no_grad():
        model.fusion.weight.mul_(2)
    w, b = neck.weight.detach().clone(), neck.bias.detach().clone()

    def entropies(w: Tensor, b: Tensor) -> Tensor:
        return entropy_of(model.fusion(F.layer_norm(x, (4,), w, b)).detach())

    reliable = entropies(w, b) < margin
    first = by_hand(x[reliable], w, b, model.fusion)
    length = math.sqrt(sum(float((g**2).sum()) for g in first))
    worst = [p + radius * g / length for p, g in zip((w, b), first, strict=True)]
    still = reliable & (entropies(*worst) < margin)
    assert 0 < still.sum() < reliable.sum() < 8  # the second filter has something to do
    second = by_hand(x[still], *worst, model.fusion)
    evaluator = SAR(
        method, model, Settings(lr=LR, sar_radius=radius, sar_margin=0.85, sar_reset=0.0)
    )
    evaluator.adapt({"a": x})
    adapted = evaluator.model.necks["a"]
    torch.testing.assert_close([p.grad for p in (adapted.weight, adapted.bias)], [*second])
    torch.testing.assert_close(adapted.weight.detach(), first_adam(w, second[0]))
    torch.testing.assert_close(adapted.bias.detach(), first_adam(b, second[1]))
    assert evaluator.average == pytest.approx(float(entropies(*worst)[still].mean()))


def test_the_average_of_sar_gives_the_past_nine_tenths():
    method, model = linear({"a": 4}, 3)
    evaluator = SAR(method, model, Settings(lr=0.0, sar_radius=0.0, sar_margin=2.0, sar_reset=0.0))
    losses = []
    for seed in (1, 2, 3):
        before, _ = evaluator.adapt({"a": drawn(6, 4, seed=seed)})
        losses.append(float(entropy_of(before).mean()))
    expected = 0.9 * (0.9 * losses[0] + 0.1 * losses[1]) + 0.1 * losses[2]
    assert evaluator.average == pytest.approx(expected)


def test_sar_starts_anew_where_its_average_is_low_and_forgets_its_steps():
    method, model = linear({"a": 4}, 3)
    settings = Settings(lr=LR, sar_margin=2.0, sar_reset=100.0)
    evaluator, start = SAR(method, model, settings), tensors(model)
    for seed in (1, 2):
        before, after = evaluator.adapt({"a": drawn(6, 4, seed=seed)})
        assert torch.equal(before, after)
        assert_same(tensors(evaluator.model), start)
        assert evaluator.average is None and not evaluator.optimizer.state
    assert evaluator.facts() == {"parameters": 8, "resets": 2}


def test_sar_waits_for_reliable_samples():
    method, model = linear({"a": 4}, 3)
    evaluator = SAR(method, model, Settings(lr=LR, sar_margin=0.0))
    before, after = evaluator.adapt({"a": drawn(6, 4)})
    assert torch.equal(before, after) and evaluator.average is None
    assert evaluator.resets == 0


# T3A

ROOT = math.sqrt


def t3a(filter_k: int) -> T3A:
    """Return T3A on a layer that passes two features on, so that features are logits."""
    method, model = linear({"a": 2}, 2, neck="none")
    with torch.no_grad():
        model.fusion.weight.copy_(torch.eye(2))
        model.fusion.bias.zero_()
    return T3A(method, model, Settings(filter_k=filter_k))


def template(*supports: tuple[float, float]) -> list[float]:
    """Return the sum of the normalised supports, normalised."""
    unit = [(x / math.hypot(x, y), y / math.hypot(x, y)) for x, y in supports]
    x, y = (sum(column) for column in zip(*unit, strict=True))
    return [x / math.hypot(x, y), y / math.hypot(x, y)]


def expected_t3a(rows: Sequence[tuple[float, float]], *classes: list[float]) -> Tensor:
    return torch.tensor(
        [[r[0] * t[0] + r[1] * t[1] for t in classes] for r in rows], dtype=torch.float64
    )


def test_templates_are_the_means_of_the_surest_features_of_each_class():
    """Differences of the two logits: 1 of the layer's own rows, 4, 1.5 and 0.1 of class 0, -2."""
    batch = [(5.0, 1.0), (2.0, 0.5), (1.0, 0.9), (1.0, 3.0)]
    own = (1.0, 0.0), (0.0, 1.0)
    kept = {
        1: ([batch[0]], [batch[3]]),
        2: ([batch[0], batch[1]], [batch[3], own[1]]),
        3: ([batch[0], batch[1], own[0]], [batch[3], own[1]]),
        20: ([*batch[:3], own[0]], [batch[3], own[1]]),
    }
    for filter_k, supports in kept.items():
        evaluator = t3a(filter_k)
        before, after = evaluator.adapt({"a": torch.tensor(batch, dtype=torch.float64)})
        torch.testing.assert_close(before, expected_t3a(batch, [1.0, 0.0], [0.0, 1.0]))
        templates = [template(*of) for of in supports]
        torch.testing.assert_close(after, expected_t3a(batch, *templates))
        later = [(1.0, 1.0)]
        before, _ = evaluator.adapt({"a": torch.tensor(later, dtype=torch.float64)})
        torch.testing.assert_close(before, expected_t3a(later, *templates))


def test_a_class_without_supports_has_no_template():
    """Both rows of the layer predict class 0."""
    method, model = linear({"a": 2}, 2, neck="none")
    with torch.no_grad():
        model.fusion.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 0.1]]))
        model.fusion.bias.zero_()
    evaluator = T3A(method, model, Settings())
    found = evaluator.templates()
    first = template((2.0, 0.0), (1.0, 0.1))
    assert found.tolist() == [pytest.approx([first[0], 0.0]), pytest.approx([first[1], 0.0])]


def test_t3a_agrees_with_the_published_loop():
    """Classes one after the other, each sorted and cut, as the authors' code has it."""
    model = tiny_model("ab")
    method = make_method("erm", model).eval()
    evaluator = T3A(method, model, Settings(filter_k=3))
    head, last = model.fusion[:-1], model.fusion[-1]
    with torch.no_grad():
        supports = last.weight
        outputs = last(supports)
        for seed in range(5):
            batch = make_batch("ab", seed=seed)
            z = head(
                torch.cat([model.necks[k](e) for k, e in model.embed(batch.features).items()], 1)
            )
            supports, outputs = torch.cat([supports, z]), torch.cat([outputs, last(z)])
            kept = []
            for c in range(CLASSES):
                members = (outputs.argmax(1) == c).nonzero().flatten()
                kept.append(members[torch.sort(entropy_of(outputs[members])).indices][:3])
            index = torch.cat(kept)
            supports, outputs = supports[index], outputs[index]
            labels = F.one_hot(outputs.argmax(1), CLASSES).double()
            weights = F.normalize(F.normalize(supports, dim=1).T @ labels, dim=0)
            torch.testing.assert_close(evaluator.adapt(batch.features).after, z @ weights)


def test_t3a_stands_for_the_last_layer_of_other_heads_and_says_where_there_is_none():
    combined = "its prediction is not that of a fusion head: unimodal ones are combined"
    for composition, reason in {
        "greedy": "",
        "mmcosine": "its fusion head does not end in a linear layer",
        "late_fusion": combined,
        "ema+late_fusion": combined,
        "swad+jat": "",
    }.items():
        model = tiny_model("ab")
        assert T3A.lacks(make_method(composition, model).eval(), model) == reason


# READ and AEO

P = [(0.7, 0.2, 0.1), (0.1, 0.6, 0.3)]


def common(rows: Sequence[Sequence[float]], double: bool) -> float:
    """Return H of a batch's probabilities: of the mean, or of the softmax of the sum."""
    sums = [sum(column) for column in zip(*rows, strict=True)]
    return entropy(softmax(sums) if double else [s / len(rows) for s in sums])


@pytest.mark.parametrize("double", [True, False])
def test_read_is_the_confidence_of_samples_less_the_entropy_of_the_batch(double):
    method, model = linear({"a": 4}, 3)
    evaluator = READ(method, model, Settings(double_softmax=double))
    found = evaluator.loss({FUSED: logits_of(*P)})
    reliable = -(0.7 * math.log(0.7) + 0.6 * math.log(0.6)) / 2
    assert found.item() == pytest.approx(reliable - common(P, double), abs=1e-12)
    published = sum(m * (1 - math.log(m) + math.log(math.exp(-1))) for m in (0.7, 0.6)) / 2
    assert reliable == pytest.approx(published)
    # softmax(0.8, 0.8, 0.4) is nearly uniform; (0.4, 0.4, 0.2) is not.
    assert common(P, double) == pytest.approx(1.082609 if double else 1.054920, abs=1e-6)


@pytest.mark.parametrize("double", [True, False])
def test_the_entropy_of_the_batch_has_a_finite_gradient_where_a_class_underflows(double):
    logits = torch.tensor([[0.0, 0.0, -400.0]], requires_grad=True)
    found = marginal_entropy(logits.softmax(dim=1), double)
    found.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    expected = entropy(softmax([0.5, 0.5, 0.0])) if double else math.log(2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_read_adapts_the_fusion_head_alone():
    method, model = linear({"a": 4, "b": 3}, 3)
    evaluator, before = READ(method, model, PLAIN), tensors(model)
    evaluator.adapt({"a": drawn(6, 4), "b": drawn(6, 3)})
    after = tensors(evaluator.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fusion.weight", "fusion.bias"}


def aeo(fused: Sequence[Sequence[float]], own: Sequence[Sequence[Sequence[float]]], h: float):
    """Return AEO's loss of probabilities, in sums over samples, modalities and pairs."""
    n, most = len(fused), math.log(len(fused[0]))
    total = 0.0
    for i, p in enumerate(fused):
        e = entropy(p) / most
        w = math.tanh(4 * (e - 0.8))
        total -= e * w / n
        total -= 0.1 * w * sum(entropy(q[i]) / most for q in own) / len(own) / n
        pairs = [(a[i], b[i]) for x, a in enumerate(own) for b in own[x + 1 :]]
        for a, b in pairs:
            distance = sum(abs(s - t) for s, t in zip(a, b, strict=True))
            total -= 0.1 * w * distance / len(pairs) / n
    return total - 0.1 * h


OWN = (
    [(0.5, 0.25, 0.25), (0.2, 0.7, 0.1)],
    [(0.9, 0.05, 0.05), (0.3, 0.3, 0.4)],
    [(0.1, 0.1, 0.8), (0.2, 0.2, 0.6)],
)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_aeo_weighs_samples_and_their_modalities_by_how_unsure_they_are(double, modalities):
    names = "abc"[:modalities]
    method, model = linear(dict.fromkeys(names, 4), 3, composition="late_fusion")
    evaluator = AEO(method, model, Settings(double_softmax=double))
    own = OWN[:modalities]
    logits = {k: logits_of(*rows) for k, rows in zip(names, own, strict=True)}
    found = evaluator.loss({FUSED: logits_of(*P), **logits})
    assert found.item() == pytest.approx(aeo(P, own, common(P, double)), abs=1e-12)


def test_aeo_raises_a_high_entropy_and_lowers_a_low_one():
    """The weight changes its sign at 0.8 ln C."""
    method, model = linear({"a": 4}, 2, composition="late_fusion")
    evaluator = AEO(method, model, Settings())

    def direction(p: float) -> float:
        fused = torch.tensor([[p, 1 - p]], dtype=torch.float64).log().requires_grad_()
        own = {"a": torch.tensor([[0.0, 0.0]], dtype=torch.float64)}
        evaluator.loss({FUSED: fused, **own}).backward()
        assert fused.grad is not None
        return float(fused.grad[0, 0])  # the first class is the likelier one: > 0 makes it less so

    assert entropy([0.55, 0.45]) > 0.8 * math.log(2) > entropy([0.95, 0.05])
    assert direction(0.55) > 0 > direction(0.95)


def test_aeo_adapts_all_that_the_predictions_come_from():
    batch = make_batch("ac")
    for composition, unused in {"joint": "", "late_fusion": "fusion."}.items():
        model = tiny_model("ac")
        method = make_method(composition, model).eval()
        evaluator, before = AEO(method, model, PLAIN), tensors(model)
        evaluator.adapt(batch.features)
        after = tensors(evaluator.model)
        same = {name for name in before if torch.equal(before[name], after[name])}
        buffers = {name for name, _ in model.named_buffers()}
        fusion = {name for name in before if unused and name.startswith(unused)}
        assert same - fusion <= buffers and fusion <= same
        counts = [p.numel() for name, p in model.named_parameters() if name not in fusion]
        assert evaluator.facts() == {"parameters": sum(counts)}


# All of them


@pytest.mark.parametrize("composition", [*methods.names(), "swad+late_fusion"])
def test_every_method_can_be_adapted_or_says_why_not_and_stays_what_it_is(composition):
    cls = methods.components(composition)[-1]
    wanted = "abc"[: max(cls.min_modalities, 2)]
    model = tiny_model(wanted)
    method = make_method(composition, model).eval()
    batch = make_batch(wanted)
    held = tensors(method), [p.requires_grad for p in method.parameters()]
    plain = method.predict(batch.features, model=model)[FUSED]
    ran = set()
    for name, evaluator in EVALUATORS.items():
        if reason := evaluator.lacks(method, model):
            assert reason.isprintable()
            continue
        ran.add(name)
        adapting = evaluator(method, model, PLAIN)
        for _ in range(2):
            before, after = adapting.adapt(batch.features)
            assert before.shape == after.shape == plain.shape
            assert before.isfinite().all() and after.isfinite().all()
            assert not before.requires_grad and not after.requires_grad
    assert {"tent", "sar"} <= ran
    assert ("aeo" in ran) == method.trains_unimodal
    assert_same(tensors(method), held[0])
    assert [p.requires_grad for p in method.parameters()] == held[1]
    assert all(p.grad is None for p in method.parameters())
    assert not any(module.training for module in method.modules())
    assert torch.equal(method.predict(batch.features, model=model)[FUSED], plain)
