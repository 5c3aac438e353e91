import pytest
import torch
from support_methods import (
    WITH_BATCH_NORM,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    registered_encoder,
    tiny_model,
    trajectory,
    without_dropout,
)

from methods import canonical
from methods.dsu import EPSILON, perturbed
from mmdg_common import UsageError


def maps(size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(size, 4, 5, 7, generator=generator, dtype=torch.float64)


def test_the_noise_is_that_of_the_paper_written_out():
    x = maps()
    torch.manual_seed(4)
    result = perturbed(x)
    torch.manual_seed(4)
    first, second = (torch.randn(6, 4, 1, 1, dtype=torch.float64) for _ in range(2))
    flat = x.flatten(2)
    mu, sigma = flat.mean(2), (flat.var(2) + EPSILON).sqrt()
    expected = torch.empty_like(x)
    for i in range(6):
        for c in range(4):
            beta = mu[i, c] + first[i, c, 0, 0] * (mu[:, c].var() + EPSILON).sqrt()
            gamma = sigma[i, c] + second[i, c, 0, 0] * (sigma[:, c].var() + EPSILON).sqrt()
            expected[i, c] = gamma * (x[i, c] - mu[i, c]) / sigma[i, c] + beta
    assert_close(result, expected, 1e-12)


def test_the_result_has_the_drawn_mean_and_deviation_and_keeps_the_pattern():
    x = maps()
    result = perturbed(x)
    inside = (x - x.mean((2, 3), keepdim=True)).flatten(2)
    after = (result - result.mean((2, 3), keepdim=True)).flatten(2)
    cosine = torch.nn.functional.cosine_similarity(inside, after, dim=2)
    assert_close(cosine.abs(), torch.ones_like(cosine), 1e-9)
    spread = (result.mean((2, 3)) - x.mean((2, 3))).abs()
    assert (spread > 0).all()


def test_samples_that_are_alike_are_left_alone_up_to_epsilon():
    x = maps(1).expand(6, -1, -1, -1)
    assert (perturbed(x) - x).abs().max() < 20 * EPSILON**0.5


@pytest.mark.parametrize("shape", [(1, 4, 5), (6, 1, 1, 1), (6, 4, 1, 1), (6, 1)])
def test_what_has_no_deviation_is_left_as_it_is(shape):
    x = torch.randn(shape)
    assert torch.equal(perturbed(x), x)


def test_vectors_have_one_mean_and_deviation_a_sample():
    x = torch.randn(5, 8, dtype=torch.float64)
    centred = x - x.mean(1, keepdim=True)
    result = perturbed(x)
    after = result - result.mean(1, keepdim=True)
    cosine = torch.nn.functional.cosine_similarity(centred, after, dim=1).abs()
    assert_close(cosine, torch.ones_like(cosine), 1e-9)
    assert not torch.equal(result, x)


def test_probability_zero_is_the_inner_method():
    batches = make_batches(WITH_BATCH_NORM)
    plain = trajectory("erm", without_dropout(tiny_model(WITH_BATCH_NORM)), batches)
    wrapped = trajectory("dsu", without_dropout(tiny_model(WITH_BATCH_NORM)), batches, p=0.0)
    inner = [{k.removeprefix("inner."): v for k, v in state.items()} for state in wrapped]
    assert_same(inner, plain)


def test_noise_changes_the_gradient_in_training_and_no_prediction():
    model = without_dropout(tiny_model(WITH_BATCH_NORM, encoder=registered_encoder))
    batch = make_batch(WITH_BATCH_NORM)
    noisy, plain = make_method("dsu", model, p=1.0), make_method("erm", model)
    a, b = gradients_of(noisy, batch), gradients_of(plain, batch)
    for k in WITH_BATCH_NORM:
        name = next(n for n in b if n.startswith(f"encoders.{k}.tail") and n.endswith("weight"))
        assert not torch.equal(a[name], b[name]), k
    noisy.eval(), plain.eval()
    assert_same(noisy.predict(batch.features), plain.predict(batch.features))


def test_the_coin_falls_with_its_probability():
    method = make_method("dsu", tiny_model(), p=0.3)
    x, torch_seed = torch.randn(4, 3), 0
    torch.manual_seed(torch_seed)
    left = sum(method._edit(x) is x for _ in range(4000))
    assert left / 4000 == pytest.approx(0.7, abs=0.03)


def test_an_average_stands_outside_of_dsu_and_dsu_is_named_once():
    assert canonical("swad+dsu+mbcd") == "swad+dsu+mbcd"
    with pytest.raises(UsageError, match=r"write ema\+dsu"):
        canonical("dsu+ema")
    with pytest.raises(UsageError, match="named twice"):
        canonical("dsu+dsu")
