"""DANN: the reversed gradient, and what the discriminator learns."""

import math

import pytest
import torch
from support_domains import THREE, concatenated, prepared, shifted_domains
from support_methods import (
    adam,
    assert_close,
    gradients_of,
    make_batch,
    smooth,
    tiny_model,
    train,
)
from torch.nn import functional as F


def discriminator_loss(method, batch, z):
    return F.cross_entropy(method.discriminator(z), batch.domains)


@pytest.mark.parametrize("weight", [0.0, 0.4, 3.0])
def test_dann_gives_encoders_minus_lambda_and_the_discriminator_plus_one_times_the_gradient(weight):
    batch = make_batch(THREE, size=12)
    erm = gradients_of(prepared("erm"), batch)
    method = prepared("dann", weight=weight)
    dann = gradients_of(method, batch)
    of_discriminator = [p.grad.clone() for p in method.discriminator.parameters()]
    method.zero_grad()
    discriminator_loss(method, batch, concatenated(method.model, batch)).backward()
    for name, p in method.model.named_parameters():
        change = 0 if p.grad is None else -weight * p.grad
        assert_close(dann[name], erm[name] + change, 1e-12)
    encoders = [p.grad for k in THREE for p in method.model.encoders[k].parameters()]
    assert all(g.any() for g in encoders)
    for p, gradient in zip(method.discriminator.parameters(), of_discriminator, strict=True):
        assert_close(gradient, p.grad, 1e-12)
    assert of_discriminator[-1].any()


def test_danns_encoders_climb_the_domain_loss_by_finite_differences():
    batch, weight, step = make_batch(THREE, size=12), 0.7, 1e-6
    method = prepared("dann", smooth(tiny_model(THREE)), weight=weight)
    method.discriminator[2] = torch.nn.Tanh()
    erm = gradients_of(prepared("erm", smooth(tiny_model(THREE))), batch)
    dann = gradients_of(method, batch)
    name = "encoders.b.tail.0.weight"
    p = dict(method.model.named_parameters())[name]
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            p[0, 1] += sign * step
            loss = discriminator_loss(method, batch, concatenated(method.model, batch))
            values.append(float(loss))
            p[0, 1] -= sign * step
    slope = (values[0] - values[1]) / (2 * step)
    assert abs(slope) > 1e-4
    change = float(dann[name][0, 1] - erm[name][0, 1])
    assert change == pytest.approx(-weight * slope, abs=1e-7)


def test_dann_with_weight_zero_trains_the_student_as_erm_does_and_the_discriminator_too():
    batches = [shifted_domains()] * 30
    erm = prepared("erm", tiny_model())
    dann = prepared("dann", tiny_model(), weight=0.0)
    for method in (erm, dann):
        train(method, batches, adam(method))
    for name, x in erm.model.state_dict().items():
        assert_close(dann.model.state_dict()[name], x, 1e-12)
    dann.run.logs.flush()
    dann.compute_grads(batches[0])
    assert dann.run.logs.flush()["loss/domain"] < 0.1 * math.log(2)


def separation(z, domains):
    """Return the distance of two domains' means in units of the spread within them, squared."""
    a, b = z[domains == 0], z[domains == 1]
    gap, within = a.mean(0) - b.mean(0), (a.T.cov() + b.T.cov()) / 2
    return float(gap @ torch.linalg.solve(within, gap))


def test_danns_embeddings_tell_less_of_the_domain_than_before_and_those_of_erm_more():
    batch, change, domain_loss = shifted_domains(96, 0.5), {}, {}
    for weight in (0.0, 3.0):
        method = prepared("dann", tiny_model(), weight=weight)
        before = separation(concatenated(method.model, batch).detach(), batch.domains)
        train(method, [batch] * 80, adam(method))
        after = separation(concatenated(method.model, batch).detach(), batch.domains)
        change[weight] = after / before
        method.run.logs.flush()
        method.compute_grads(batch)
        domain_loss[weight] = method.run.logs.flush()["loss/domain"]
    assert change[0.0] > 1.2
    assert change[3.0] < 0.6
    assert domain_loss[3.0] > 5 * domain_loss[0.0]
