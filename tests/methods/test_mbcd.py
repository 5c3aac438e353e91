"""MBCD: its parts one by one, and what is left when they are off."""

import copy
import math

import pytest
import torch
from support_methods import (
    CLASSES,
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    grads,
    make_batch,
    make_batches,
    make_method,
    smooth,
    tensors,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)
from torch import nn

from methods.mbcd import drop_rates, relative_speeds
from methods.shared import losses, masks

THREE = ("a", "b", "d")
OFF = {
    "dropout": "none",
    "consistency": "none",
    "distill_fused": 0.0,
    "distill_unimodal": 0.0,
}


def mbcd(model, ema_warmup=False, **changes):
    """Return MBCD with every part off but those in `changes`."""
    return make_method("mbcd", model, ema_warmup, **{**OFF, **changes})


def cross_entropy(logits, labels):
    """Return the mean of -log softmax(logits)[label]."""
    probabilities = torch.softmax(logits, dim=1)
    return -probabilities.gather(1, labels.unsqueeze(1)).log().mean()


def kl(teacher, student):
    """Return the batch mean of Σ p_teacher (log p_teacher - log p_student)."""
    p, q = teacher.softmax(dim=1), student.softmax(dim=1)
    return (p * (p.log() - q.log())).sum(dim=1).mean()


def disturb(model, size, seed=0):
    """Move every tensor of a model a little, as a teacher that has fallen behind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


class Ahead:
    """The objective of MBCD by hand: parameters are moved in place and put back afterwards."""

    def __init__(self, model, batch, alpha, teacher=None, fused_weight=0.0, unimodal_weight=0.0):
        self.model, self.batch, self.alpha = model, batch, alpha
        self.fused_weight, self.unimodal_weight = fused_weight, unimodal_weight
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())
        self.teacher = None
        if teacher is not None:
            with torch.no_grad():
                self.teacher = teacher.fuse(teacher.embed(batch.features))

    def unimodal_losses(self):
        logits = self.model.unimodal(self.model.embed(self.batch.features))
        return {k: cross_entropy(u, self.batch.labels) for k, u in logits.items()}

    def outer(self):
        """Return Σ_k CE(u_k) and the distillation into the unimodal heads, at θ."""
        logits = self.model.unimodal(self.model.embed(self.batch.features))
        total = sum(cross_entropy(u, self.batch.labels) for u in logits.values())
        if self.teacher is not None:
            total = total + self.unimodal_weight * sum(kl(self.teacher, u) for u in logits.values())
        return total

    def multimodal(self):
        """Return CE(f) and the distillation into the fused logits, at the current weights."""
        fused = self.model.fuse(self.model.embed(self.batch.features))
        total = cross_entropy(fused, self.batch.labels)
        if self.teacher is not None:
            total = total + self.fused_weight * kl(self.teacher, fused)
        return total

    def gradient(self, value, create_graph=False):
        found = torch.autograd.grad(
            value, self.parameters, allow_unused=True, create_graph=create_graph
        )
        return {
            name: torch.zeros_like(p) if g is None else g
            for name, p, g in zip(self.names, self.parameters, found, strict=True)
        }

    def inner_gradient(self, create_graph=False):
        """Return ∇_{θ_k} CE(u_k) for the encoders' tensors, by parameter name."""
        found = {}
        for k, loss in self.unimodal_losses().items():
            prefix = f"encoders.{k}.tail."
            every = self.gradient(loss, create_graph)
            found |= {name: g for name, g in every.items() if name.startswith(prefix)}
        return found

    def at_the_look_ahead(self, measure):
        """Return what `measure()` gives when θ_k - α ∇CE(u_k) is in place."""
        before = [p.detach().clone() for p in self.parameters]
        steps = self.inner_gradient()
        with torch.no_grad():
            for name, p in zip(self.names, self.parameters, strict=True):
                if name in steps:
                    p -= self.alpha * steps[name]
        result = measure()
        with torch.no_grad():
            for p, value in zip(self.parameters, before, strict=True):
                p.copy_(value)
        return result

    def first_order(self):
        """Return ∇L_uni(θ) + ∇_θ' L_mm(θ - α ∇L_k)."""
        here = self.gradient(self.outer())
        ahead = self.at_the_look_ahead(lambda: self.gradient(self.multimodal()))
        return {name: here[name] + ahead[name] for name in here}

    def objective_at(self, direction, distance):
        """Return Σ_k CE_k + L_mm(θ - α ∇L_k), distillation included, with θ moved and put back."""
        before = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            for name, d in direction.items():
                self.model.get_parameter(name).add_(d, alpha=distance)
        value = self.outer().item() + self.at_the_look_ahead(lambda: self.multimodal().item())
        with torch.no_grad():
            for p, home in zip(self.parameters, before, strict=True):
                p.copy_(home)
        return value


def unit_direction(model, part, seed):
    """Return a random direction of norm 1 in the parameters whose names start with `part`."""
    generator = torch.Generator().manual_seed(seed)
    named = {name: p for name, p in model.named_parameters() if name.startswith(part)}
    drawn = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in named.items()}
    norm = sum(float(d.square().sum()) for d in drawn.values()) ** 0.5
    return {name: d / norm for name, d in drawn.items()}


# Everything off


def test_with_all_parts_off_the_student_is_bitwise_that_of_joint_training():
    batches = make_batches(WITH_BATCH_NORM, 5)
    joint = trajectory("joint", tiny_model(WITH_BATCH_NORM), batches)
    off = trajectory("mbcd", tiny_model(WITH_BATCH_NORM), batches, **OFF)
    assert_same(off, joint)


def test_with_all_parts_off_the_gradient_is_that_of_all_cross_entropies():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    z = model.embed(batch.features)
    total = cross_entropy(model.fuse(z), batch.labels)
    total = total + sum(cross_entropy(u, batch.labels) for u in model.unimodal(z).values())
    total.backward()
    expected = grads(model)
    assert_close(gradients_of(mbcd(model), batch), expected, 1e-12)


@pytest.mark.parametrize(
    "part",
    [
        {"dropout": "fixed"},
        {"consistency": "first", "alpha": 0.1},
        {"consistency": "second", "alpha": 0.1},
        {"distill_fused": 1.0},
        {"distill_unimodal": 1.0},
    ],
    ids=lambda part: "-".join(map(str, part.values())),
)
def test_every_part_alone_changes_the_students_trajectory(part):
    batches = make_batches()
    off = trajectory("mbcd", tiny_model(), batches, **OFF)
    on = trajectory("mbcd", tiny_model(), batches, **{**OFF, **part})
    assert not torch.equal(on[-1]["fusion.0.weight"], off[-1]["fusion.0.weight"])


# Gradient consistency


@pytest.mark.parametrize("distill", [0.0, 0.7])
@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_first_order_is_the_unimodal_gradient_plus_the_fused_one_at_the_look_ahead(
    modalities, distill
):
    model, batch, alpha = without_dropout(tiny_model(modalities)), make_batch(modalities), 0.8
    settings = {"distill_fused": distill, "distill_unimodal": 2 * distill}
    method = mbcd(model, consistency="first", alpha=alpha, **settings)
    disturb(method.teacher.model, 0.3)
    before = tensors(model)
    actual = gradients_of(method, batch)
    assert_same(tensors(model), before)
    hand = Ahead(model, batch, alpha, method.teacher.model, distill, 2 * distill)
    assert_close(actual, hand.first_order(), 1e-10)
    at_theta = hand.gradient(hand.outer() + hand.multimodal())
    far = max(float((actual[name] - at_theta[name]).abs().max()) for name in actual)
    assert far > 1e-4, "the look-ahead would make no difference here"


@pytest.mark.parametrize("distill", [0.0, 0.7])
@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_second_order_agrees_with_finite_differences_of_the_whole_objective(modalities, distill):
    model, batch, alpha = smooth(tiny_model(modalities)), make_batch(modalities), 0.8
    settings = {"distill_fused": distill, "distill_unimodal": 2 * distill}
    method = mbcd(model, consistency="second", alpha=alpha, **settings)
    disturb(method.teacher.model, 0.3)
    gradient = gradients_of(method, batch)
    hand = Ahead(model, batch, alpha, method.teacher.model, distill, 2 * distill)
    step = 1e-5
    for part in ("encoders", "necks", "heads", "fusion"):
        for seed in range(2):
            direction = unit_direction(model, part, seed)
            forth, back = (hand.objective_at(direction, x) for x in (step, -step))
            slope = sum(float((gradient[name] * d).sum()) for name, d in direction.items())
            assert (forth - back) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-8), part


def test_second_minus_first_order_is_the_hessian_vector_product():
    model, batch, alpha = smooth(tiny_model(THREE)), make_batch(THREE), 0.8
    first, second = (
        gradients_of(mbcd(model, consistency=order, alpha=alpha), batch)
        for order in ("first", "second")
    )
    hand = Ahead(model, batch, alpha)
    ahead = hand.at_the_look_ahead(lambda: hand.gradient(hand.multimodal()))
    inner = hand.inner_gradient(create_graph=True)
    expected = hand.gradient(-alpha * sum((g * ahead[name]).sum() for name, g in inner.items()))
    assert max(float(x.abs().max()) for x in expected.values()) > 1e-4
    assert_close({name: second[name] - first[name] for name in first}, expected, 1e-10)


def test_both_orders_have_the_same_loss():
    batch = make_batch(THREE)
    first, second = (
        mbcd(smooth(tiny_model(THREE)), consistency=order, alpha=0.8).loss(batch)
        for order in ("first", "second")
    )
    assert_close(
        {k: x.detach() for k, x in second.items()}, {k: x.detach() for k, x in first.items()}, 1e-12
    )


@pytest.mark.parametrize("consistency", ["first", "second"])
def test_a_look_ahead_of_length_zero_is_joint_training(consistency):
    batch = make_batch(WITH_BATCH_NORM)
    models = [tiny_model(WITH_BATCH_NORM) for _ in range(2)]
    joint = gradients_of(make_method("joint", without_dropout(models[0])), batch)
    ahead = mbcd(without_dropout(models[1]), consistency=consistency, alpha=0.0)
    assert_close(gradients_of(ahead, batch), joint, 1e-12)


@pytest.mark.parametrize("consistency", ["first", "second"])
def test_the_look_ahead_sees_the_dropout_of_the_first_pass(consistency):
    # Then a look-ahead of length zero is joint training with dropout on, too.
    batch = make_batch(THREE)
    joint = gradients_of(make_method("joint", tiny_model(THREE, embedding_dropout=0.5)), batch)
    ahead = mbcd(tiny_model(THREE, embedding_dropout=0.5), consistency=consistency, alpha=0.0)
    assert_close(gradients_of(ahead, batch), joint, 1e-12)


def test_the_fused_loss_ahead_has_the_first_order_expansion():
    # Layer norm over a few features is too curved for the largest of these steps.
    model, batch = smooth(tiny_model(neck="none")), make_batch()
    hand = Ahead(model, batch, alpha=0.0)
    g_uni, g_mm = hand.inner_gradient(), hand.gradient(hand.multimodal())
    slope = sum(float((g * g_mm[name]).sum()) for name, g in g_uni.items())
    here = hand.multimodal().item()
    errors = []
    for a in (1e-1, 1e-2, 1e-3):
        ahead = mbcd(model, consistency="first", alpha=a).loss(batch)["fused"].item()
        errors.append((ahead - here + a * slope) / a**2)
    assert abs(errors[-1]) > 1e-4, "the curvature is too small to say anything"
    assert errors[0] == pytest.approx(errors[-1], rel=0.3)
    assert errors[1] == pytest.approx(errors[-1], rel=0.03)


@pytest.mark.parametrize("consistency", ["first", "second"])
def test_the_inner_step_moves_the_trained_encoder_tensors_and_nothing_else(consistency):
    model, batch = without_dropout(tiny_model()), make_batch()
    model.encoder("a").tail[0].bias.requires_grad_(False)
    method = mbcd(model, consistency=consistency, alpha=0.8)
    given = []
    plain = model.embed

    def embed(features, parameters=None):
        given.append(parameters)
        return plain(features, parameters)

    model.embed = embed
    before = tensors(model)
    method.compute_grads(batch)
    assert_same(tensors(model), before)
    (ahead,) = [parameters for parameters in given if parameters is not None]
    assert {k: set(p) for k, p in ahead.items()} == {"a": {"0.weight"}, "b": {"0.weight", "0.bias"}}


@pytest.mark.parametrize("consistency", ["none", "first", "second"])
def test_batch_norm_hears_of_a_batch_once(consistency):
    model, batch = tiny_model(WITH_BATCH_NORM), make_batch(WITH_BATCH_NORM)
    method = mbcd(model, consistency=consistency, alpha=0.8, distill_fused=1.0)
    convolution, norm = model.encoder("c").tail[0], model.encoder("c").tail[1]
    with torch.no_grad():
        out = convolution(batch.features["c"]).transpose(0, 1).flatten(1)
    teacher = tensors(method.teacher)
    method.epoch_start()
    method.compute_grads(batch)
    assert int(norm.num_batches_tracked) == 1
    assert_close(norm.running_mean, 0.1 * out.mean(1))
    assert_close(norm.running_var, 0.9 + 0.1 * out.var(1))
    assert_same(tensors(method.teacher), teacher)


@pytest.mark.parametrize("consistency", ["first", "second"])
def test_measuring_the_look_ahead_on_the_first_batch_changes_no_gradient(consistency):
    batch = make_batch(WITH_BATCH_NORM)
    gradients, buffers = [], []
    for measured in (False, True):
        model = tiny_model(WITH_BATCH_NORM)
        method = make_method("mbcd", model, consistency=consistency, alpha=0.8, dropout="fixed")
        if measured:
            method.epoch_start()
        gradients.append(gradients_of(method, batch))
        buffers.append((dict(model.named_buffers()), torch.get_rng_state()))
        logged = "look_ahead/relative_change" in method.run.logs.flush()
        assert logged == measured
    assert_same(gradients[1], gradients[0])
    assert_same(buffers[1], buffers[0])


def test_the_fused_logits_ahead_use_the_mask(monkeypatch):
    batch = make_batch(THREE)
    keep = {k: torch.arange(8) % (2 + i) > 0 for i, k in enumerate(THREE)}
    monkeypatch.setattr(masks, "draw", lambda *_: keep)
    model = without_dropout(tiny_model(THREE))
    method = mbcd(model, dropout="fixed", consistency="first", alpha=0.8)
    hand = Ahead(model, batch, 0.8)

    def masked():
        z = model.embed(batch.features)
        parts = [model.necks[k](z[k]) * keep[k].double().unsqueeze(1) for k in THREE]
        return cross_entropy(model.fusion(torch.cat(parts, dim=1)), batch.labels).item()

    assert method.loss(batch)["fused"].item() == pytest.approx(hand.at_the_look_ahead(masked))


# Adaptive modality dropout


def logits_with_confidence(confidences, samples=5):
    """Return logits of three classes whose highest probability is the given one."""
    found = {}
    for k, top in confidences.items():
        row = torch.tensor([top, (1 - top) / 2, (1 - top) / 2], dtype=torch.float64).log()
        found[k] = row.roll(1).repeat(samples, 1)
    return found


def test_relative_speed_is_the_mean_of_the_ratios_to_the_others():
    speeds = relative_speeds(logits_with_confidence({"a": 0.9, "b": 0.6, "c": 0.4}))
    assert speeds["a"] == pytest.approx((0.9 / 0.6 + 0.9 / 0.4) / 2)
    assert speeds["b"] == pytest.approx((0.6 / 0.9 + 0.6 / 0.4) / 2)
    assert speeds["c"] == pytest.approx((0.4 / 0.9 + 0.4 / 0.6) / 2)
    assert speeds["a"] != pytest.approx(0.9 / 0.5)  # not the ratio to the mean of the others


def test_speed_sums_the_highest_probability_and_not_that_of_the_true_class():
    uneven = {
        "a": torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64).log(),
        "b": torch.tensor([[0.5, 0.5], [0.4, 0.6]], dtype=torch.float64).log(),
    }
    speeds = relative_speeds(uneven)
    assert speeds == {"a": pytest.approx(1.5 / 1.1), "b": pytest.approx(1.1 / 1.5)}


def test_the_drop_rate_is_tanh_of_the_lead_and_zero_for_who_does_not_lead():
    rates = drop_rates({"a": 2.0, "b": 1.0, "c": 0.3, "d": 1.0001})
    assert rates["a"] == pytest.approx(math.tanh(1.0), abs=1e-9)
    assert rates["b"] == 0.0
    assert rates["c"] == 0.0
    assert rates["d"] == pytest.approx(math.tanh(0.0001), abs=1e-9)


def test_the_slowest_modality_is_never_dropped_and_equal_ones_neither():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        size = int(torch.randint(2, 5, (), generator=generator))
        top = 1 / 3 + torch.rand(size, generator=generator, dtype=torch.float64) * 0.66
        confidences = {f"m{i}": float(x) for i, x in enumerate(top)}
        rates = drop_rates(relative_speeds(logits_with_confidence(confidences)))
        assert rates[min(confidences, key=confidences.get)] == 0.0
        assert all(0 <= rate < 1 for rate in rates.values())
    equal = logits_with_confidence({"a": 0.6, "b": 0.6, "c": 0.6})
    assert drop_rates(relative_speeds(equal)) == {"a": 0.0, "b": 0.0, "c": 0.0}


def drawn_masks(method, batch):
    """Return the masks that one call of `loss` hands to the fusion of the student."""
    given = []
    plain = type(method.model).fuse

    def fuse(embeddings, mask=None):
        given.append(mask)
        return plain(method.model, embeddings, mask)

    method.model.fuse = fuse
    method.loss(batch)
    del method.model.fuse
    (mask,) = given
    return mask


def confident_model(modalities, scales):
    """Return a model whose unimodal heads differ in confidence."""
    model = without_dropout(tiny_model(modalities))
    with torch.no_grad():
        for k, scale in zip(modalities, scales, strict=True):
            model.heads[k][-1].weight.mul_(scale)
    return model


def test_adaptive_masks_have_the_frequencies_of_equation_4():
    model, batch = confident_model(THREE, (20.0, 8.0, 0.1)), make_batch(THREE, size=4000)
    method = mbcd(model, dropout="adaptive")
    with torch.no_grad():
        unimodal = model.unimodal(model.embed(batch.features))
    s = {k: float(u.softmax(1).max(1).values.sum()) for k, u in unimodal.items()}
    rates = {}
    for k in THREE:
        r = sum(s[k] / s[j] for j in THREE if j != k) / 2
        rates[k] = math.tanh(r - 1) if r > 1 else 0.0
    assert sorted(rate > 0.05 for rate in rates.values()) == [False, True, True]
    mask = drawn_masks(method, batch)
    dropped = {k: ~mask[k] for k in THREE}
    for k, rate in rates.items():
        assert float(dropped[k].double().mean()) == pytest.approx(rate, abs=4 * 0.5 / 4000**0.5)
        if rate == 0:
            assert not dropped[k].any()
    first, second = (dropped[k].double() for k in THREE if rates[k] > 0)
    both = float((first * second).mean())
    assert both == pytest.approx(float(first.mean() * second.mean()), abs=0.03)


def test_fixed_dropout_drops_every_modality_with_its_rate_and_never_all():
    rate, size = 0.4, 6000
    method = mbcd(without_dropout(tiny_model(THREE)), dropout="fixed", dropout_rate=rate)
    mask = drawn_masks(method, make_batch(THREE, size=size))
    kept = torch.stack([mask[k] for k in THREE])
    assert kept.any(dim=0).all()
    # Given that not all three are dropped.
    expected = (rate - rate**3) / (1 - rate**3)
    for row in kept:
        assert float((~row).double().mean()) == pytest.approx(expected, abs=4 * 0.5 / size**0.5)


@pytest.mark.parametrize("dropout", ["adaptive", "fixed"])
def test_masks_come_from_the_methods_own_generator(dropout):
    batch = make_batch(THREE, size=64)
    drawn = []
    for seed in (1, 2):
        method = mbcd(confident_model(THREE, (20.0, 8.0, 0.1)), dropout=dropout)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        drawn.append(drawn_masks(method, batch))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same(drawn[1], drawn[0])
    method.run.generator.manual_seed(8)
    other = drawn_masks(method, batch)
    assert any(not torch.equal(other[k], drawn[0][k]) for k in THREE)


def test_the_mask_zeroes_after_the_neck_and_rescales_nothing():
    batch = make_batch(THREE, size=64)
    model = confident_model(THREE, (20.0, 8.0, 0.1))
    with torch.no_grad():
        for neck in model.necks.values():
            neck.bias.fill_(0.5)  # a mask before the neck would leave this
    method = mbcd(model, dropout="fixed", dropout_rate=0.5)
    mask = drawn_masks(method, batch)
    method.run.generator.manual_seed(7)  # where `make_run` starts
    z = model.embed(batch.features)
    parts = [model.necks[k](z[k]) * mask[k].double().unsqueeze(1) for k in THREE]
    expected = cross_entropy(model.fusion(torch.cat(parts, dim=1)), batch.labels)
    assert method.loss(batch)["fused"].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("dropout", ["adaptive", "fixed"])
def test_a_single_modality_is_never_dropped(dropout):
    method = mbcd(tiny_model(("a",)), dropout=dropout, dropout_rate=0.9)
    assert drawn_masks(method, make_batch(("a",))) is None
    alone = trajectory("mbcd", tiny_model(("a",)), make_batches(("a",)), dropout=dropout)
    none = trajectory("mbcd", tiny_model(("a",)), make_batches(("a",)), dropout="none")
    assert_same(alone, none)


# Distillation


def test_kl_is_from_teacher_to_student_and_averaged_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, CLASSES, generator=generator, dtype=torch.float64)
    forward, backward = kl(teacher, student), kl(student, teacher)
    assert abs(float(forward - backward)) > 1e-2
    assert_close(losses.kl_from(teacher, student), forward, 1e-12)


def test_kl_and_its_gradient_vanish_when_both_agree():
    logits = torch.randn(5, CLASSES, dtype=torch.float64)
    student = (logits + 3.0).requires_grad_()  # the same probabilities
    value = losses.kl_from(logits, student)
    value.backward()
    assert_close(value.detach(), torch.zeros((), dtype=torch.float64), 1e-12)
    assert_close(student.grad, torch.zeros_like(logits), 1e-12)


def test_fused_and_unimodal_logits_are_pulled_to_the_teachers_fused_logits():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    method = mbcd(model, distill_fused=0.5, distill_unimodal=3.0)
    disturb(method.teacher.model, 0.3)
    teacher = method.teacher.model
    z, z_teacher = model.embed(batch.features), teacher.embed(batch.features)
    target = teacher.fuse(z_teacher)
    terms = method.loss(batch)
    assert terms["distill"].item() == pytest.approx(0.5 * kl(target, model.fuse(z)).item())
    for k, logits in model.unimodal(z).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(3.0 * kl(target, logits).item())
    assert set(terms) == {"fused", *THREE, "distill", *(f"distill/{k}" for k in THREE)}


@pytest.mark.parametrize("weight", ["distill_fused", "distill_unimodal"])
def test_a_distillation_weight_scales_its_own_gradient_and_zero_removes_it(weight):
    batch, model = make_batch(), without_dropout(tiny_model())
    gradients = {}
    for value in (0.0, 1.0, 3.0):
        method = mbcd(model, **{weight: value})
        disturb(method.teacher.model, 0.3)
        gradients[value] = gradients_of(method, batch)
    joint = gradients_of(make_method("joint", model), batch)
    assert_same(gradients[0.0], joint)
    for name, zero in gradients[0.0].items():
        assert_close(gradients[3.0][name] - zero, 3 * (gradients[1.0][name] - zero), 1e-12)
    moved = {n.split(".")[0] for n, g in gradients[1.0].items() if not torch.equal(g, joint[n])}
    assert moved == {"encoders", "necks", "fusion" if weight == "distill_fused" else "heads"}


def test_the_teacher_sees_every_modality_without_dropout_and_gets_no_gradient():
    batch = make_batch(THREE, size=32)
    model = without_dropout(tiny_model(THREE))
    everything = {"dropout": "fixed", "dropout_rate": 0.9, "distill_unimodal": 1.0}
    method = mbcd(model, **everything, distill_fused=1.0)
    teacher = method.teacher.model
    disturb(teacher, 0.3)
    for module in teacher.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.9
    method.train()
    expected = copy.deepcopy(teacher).eval()
    target = expected.fuse(expected.embed(batch.features))
    terms = method.loss(batch)
    for k, logits in model.unimodal(model.embed(batch.features)).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(kl(target, logits).item(), abs=1e-12)
    sum(terms.values()).backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_with_beta_zero_the_teacher_is_the_last_student():
    model = tiny_model(WITH_BATCH_NORM)
    method = make_method("mbcd", model, beta=0.0)
    optimizer = adam(method)
    for batch in make_batches(WITH_BATCH_NORM):
        train(method, [batch], optimizer)
        assert_same(tensors(method.teacher.model), tensors(model))
    batch = make_batch(WITH_BATCH_NORM, seed=9)
    model.eval()
    target = model.fuse(model.embed(batch.features))
    model.train()
    without_dropout(model)
    method.hp = type(method.hp)(**OFF | {"distill_unimodal": 1.0})
    terms = method.loss(batch)
    for k, logits in model.unimodal(model.embed(batch.features)).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(kl(target, logits).item(), abs=1e-9)


def test_the_teacher_does_not_move_within_a_step_and_follows_after_it():
    model = tiny_model()
    method = make_method("mbcd", model, beta=0.5)
    before = tensors(method.teacher.model)
    method.compute_grads(make_batch())
    assert_same(tensors(method.teacher.model), before)
    train(method, [make_batch()], adam(method))
    student = tensors(model)
    expected = {name: 0.5 * x + 0.5 * student[name] for name, x in before.items()}
    assert_close(tensors(method.teacher.model), expected)


def test_the_teacher_is_what_is_evaluated_and_predicted_with():
    model, batch = tiny_model(), make_batch()
    method = make_method("mbcd", model, beta=0.5)
    train(method, make_batches(), adam(method))
    method.eval()
    teacher = method.teacher.model
    assert method.eval_model() is teacher
    z = teacher.embed(batch.features)
    expected = {"fused": teacher.fuse(z), **teacher.unimodal(z)}
    assert_same(method.predict(batch.features), {k: x.detach() for k, x in expected.items()})
