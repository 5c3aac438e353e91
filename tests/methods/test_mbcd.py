"""MBCD: what is left with its parts off, and gradient consistency."""

import pytest
import torch
from support_mbcd import OFF, THREE, cross_entropy, disturb, kl, mbcd
from support_methods import (
    VECTORS,
    WITH_BATCH_NORM,
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
    trajectory,
    without_dropout,
)

from methods.shared import masks


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
