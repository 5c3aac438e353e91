"""NEL: mean shift, both contrasts, the spectrum, and the two views."""

import dataclasses
import math

import pytest
import torch
from support import TINY, tiny_run
from support_methods import (
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tiny_model,
    train,
    without_dropout,
)
from torch.nn import functional as F

import methods
from datasets.base import Recipe
from methods.base import FUSED
from methods.logs import NonFiniteLossError
from methods.nel import NEL, info_nce, joined, mean_shift, negative_entropy_of_spectrum

THREE = ("a", "b", "d")
SMALL = {"hidden": 16, "out": 6}


def rows(size, dim, seed=0):
    return torch.randn(
        size, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def two_views(modalities=VECTORS, size=8):
    """Return a batch whose second view is another draw."""
    second = make_batch(modalities, size, seed=50).features
    return dataclasses.replace(make_batch(modalities, size), second=second)


def nel(modalities=VECTORS, **hyperparameters):
    """Return NEL without dropout, always with the same initial weights."""
    model = without_dropout(tiny_model(modalities))
    torch.manual_seed(0)
    return make_method("nel", model, **SMALL | hyperparameters)


# The spectrum


@pytest.mark.parametrize(("size", "dim"), [(8, 3), (3, 8), (5, 5)])
def test_the_spectrum_is_that_of_the_matrix_of_second_moments(size, dim):
    z = rows(size, dim)
    eigenvalues = torch.linalg.eigvalsh(z.T @ z / size)
    shares = eigenvalues[eigenvalues > 1e-12] / eigenvalues.sum()
    expected = sum(float(s) * math.log(float(s)) for s in shares)
    assert float(negative_entropy_of_spectrum(z)) == pytest.approx(expected, abs=1e-10)
    assert -math.log(min(size, dim)) < expected < 0


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_equal_eigenvalues_give_minus_the_logarithm_of_their_number(rank):
    axes, _ = torch.linalg.qr(rows(7, 7))
    z = 3.0 * axes[:rank].repeat(2, 1)
    assert float(negative_entropy_of_spectrum(z)) == pytest.approx(-math.log(rank), abs=1e-9)


def test_the_mean_of_the_embeddings_counts_as_a_direction():
    z = rows(8, 4) * 1e-3 + torch.tensor([5.0, 0.0, 0.0, 0.0])
    assert -1e-4 < float(negative_entropy_of_spectrum(z)) < 0


def test_the_scale_of_the_embeddings_does_not_matter():
    z = rows(6, 4)
    assert_close(negative_entropy_of_spectrum(1e4 * z), negative_entropy_of_spectrum(z), 1e-9)


def test_the_gradient_of_the_spectrum_agrees_with_finite_differences():
    z = rows(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(negative_entropy_of_spectrum, (z,))


@pytest.mark.parametrize(
    "z",
    [
        rows(1, 4).repeat(6, 1),
        rows(3, 4).repeat(3, 1),
        torch.eye(4, dtype=torch.float64).repeat(2, 1),
        torch.zeros(5, 4, dtype=torch.float64),
        rows(1, 4),
    ],
    ids=["one sample six times", "duplicates", "equal eigenvalues", "zeros", "one sample"],
)
def test_degenerate_spectra_have_a_finite_gradient(z):
    z = z.clone().requires_grad_()
    value = negative_entropy_of_spectrum(z)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


def test_minimising_it_spreads_the_spectrum():
    z = (rows(6, 6) * torch.tensor([9.0, 1, 1, 1, 1, 1])).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.2)
    before = float(negative_entropy_of_spectrum(z.detach()))
    for _ in range(50):
        optimizer.zero_grad()
        negative_entropy_of_spectrum(z).backward()
        optimizer.step()
    assert before > -1.5
    assert float(negative_entropy_of_spectrum(z.detach())) == pytest.approx(-math.log(6), abs=1e-2)


def test_embeddings_that_are_not_finite_end_the_run_with_every_term_named():
    method, batch = nel(), make_batch()
    batch.features["a"][2, 1] = math.nan
    method.compute_grads(batch)
    with pytest.raises(NonFiniteLossError, match="spectrum=nan"):
        method.run.logs.settle()


# Mean shift and the contrast between views


def shifted_by_hand(q, count):
    """Return m from the definition, one sample at a time."""
    result = []
    for i, own in enumerate(q):
        others = sorted((j for j in range(len(q)) if j != i), key=lambda j: -float(own @ q[j]))
        nearest = [q[j] for j in others[:count]]
        m = 0.5 * own + 0.5 * sum(nearest) / len(nearest)
        result.append(m / math.sqrt(float(m @ m)))
    return torch.stack(result)


@pytest.mark.parametrize(("size", "neighbours", "used"), [(9, 3, 3), (9, 8, 8), (4, 8, 3)])
def test_mean_shift_goes_half_way_to_the_nearest_others(size, neighbours, used):
    q = F.normalize(rows(size, 5), dim=1)
    m = mean_shift(q, neighbours)
    assert_close(m, shifted_by_hand(q, used), 1e-12)
    assert_close(m.norm(dim=1), torch.ones(size, dtype=torch.float64), 1e-12)


def test_a_sample_with_duplicates_is_not_its_own_neighbour():
    q = F.normalize(rows(1, 5), dim=1).repeat(4, 1).requires_grad_()
    for i in range(4):
        (gradient,) = torch.autograd.grad(mean_shift(q, 3)[i, 0], q)
        parts = gradient.norm(dim=1) / gradient.norm(dim=1)[i]
        expected = torch.full((4,), 1 / 3, dtype=torch.float64)
        expected[i] = 1
        assert_close(parts, expected, 1e-9)


def test_one_sample_has_nobody_to_shift_to():
    q = F.normalize(rows(1, 5), dim=1)
    assert torch.equal(mean_shift(q, 8), q)


def info_nce_by_hand(first, second, temperature):
    """Return the mean of -log of the share of the own second view, sample by sample."""
    losses = []
    for i, own in enumerate(first):
        scores = [math.exp(float(own @ other) / temperature) for other in second]
        losses.append(-math.log(scores[i] / sum(scores)))
    return sum(losses) / len(losses)


def test_info_nce_looks_from_the_first_view_for_the_same_sample_in_the_second_alone():
    first, second = (F.normalize(rows(5, 3, seed), dim=1) for seed in (1, 2))
    one_way = info_nce_by_hand(first, second, 0.25)
    assert float(info_nce(first, second, 0.25)) == pytest.approx(one_way, abs=1e-12)
    assert one_way != pytest.approx(info_nce_by_hand(second, first, 0.25), abs=1e-3)


def test_views_that_cannot_be_told_apart_cost_the_logarithm_of_the_batch():
    same = F.normalize(torch.ones(6, 4, dtype=torch.float64), dim=1)
    assert float(info_nce(same, same, 0.25)) == pytest.approx(math.log(6), abs=1e-12)


# The loss


def supervised_contrast_by_hand(views, labels, temperature):
    """Return the mean over anchors of -mean_p log(exp(s_p / T) / Σ exp(s / T)), views [B, V, D]."""
    owners = labels.repeat_interleave(views.shape[1]).tolist()
    anchors = list(zip(views.detach().flatten(0, 1), owners, strict=True))
    losses = []
    for i, (own, label) in enumerate(anchors):
        others = [(x, y) for j, (x, y) in enumerate(anchors) if j != i]
        total = sum(math.exp(float(own @ x) / temperature) for x, _ in others)
        positive = [x for x, y in others if y == label]
        logs = [float(own @ x) / temperature - math.log(total) for x in positive]
        losses.append(-sum(logs) / len(logs))
    return sum(losses) / len(losses)


def loss_by_hand(method, batch, project):
    """Return the card's four terms before their weights; `project` makes q_k of z_k [2n, D_k]."""
    model, n = method.model, len(batch.labels)
    both = {k: torch.cat([x, batch.second[k]]) for k, x in batch.features.items()}
    z, labels = model.embed(both), torch.cat([batch.labels, batch.labels])
    q = [project(k, x) for k, x in z.items()]
    m = torch.cat([shifted_by_hand(x.detach(), 3) for x in q], dim=1) / math.sqrt(len(q))
    joint = torch.cat(list(z.values()), dim=1).detach()
    eigenvalues = torch.linalg.eigvalsh(joint.T @ joint / (2 * n))
    shares = [float(x) for x in eigenvalues / eigenvalues.sum() if x > 1e-9]
    return {
        FUSED: float(F.cross_entropy(model.fuse(z), labels).detach()),
        "mean_shift": info_nce_by_hand(m[:n], m[n:], 0.25),
        "contrast": supervised_contrast_by_hand(torch.stack(q, dim=1), labels, 0.1),
        "spectrum": sum(x * math.log(x) for x in shares),
    }


def values(terms):
    return {name: float(term.detach()) for name, term in terms.items()}


@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_the_loss_has_its_four_terms_over_both_views_as_one_batch(modalities):
    method, batch = nel(modalities, alpha=0.6, beta=2.0, neighbours=3), two_views(modalities)
    by_hand = loss_by_hand(method, batch, lambda k, z: method.projections[k](z))
    weights = {FUSED: 1.0, "mean_shift": 0.6, "contrast": 0.4, "spectrum": 2.0 / 8}
    expected = {name: pytest.approx(weights[name] * x, abs=1e-6) for name, x in by_hand.items()}
    assert values(method.loss(batch)) == expected


@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_as_ported_projects_half_scales_the_contrast_and_halves_the_sum(modalities):
    method = nel(modalities, alpha=0.6, beta=2.0, neighbours=3, as_ported=True)
    batch = two_views(modalities)
    by_hand = loss_by_hand(
        method, batch, lambda k, z: method.projections[k](z[:, : (z.shape[1] + 1) // 2])
    )
    weights = {FUSED: 0.5, "mean_shift": 0.3, "contrast": 0.2 * 0.1 / 0.07, "spectrum": 1.0 / 8}
    expected = {name: pytest.approx(weights[name] * x, abs=1e-6) for name, x in by_hand.items()}
    assert values(method.loss(batch)) == expected


def test_batch_norm_sees_both_views_as_one_batch():
    method, batch = nel(WITH_BATCH_NORM), two_views(WITH_BATCH_NORM)
    convolution, norm = method.model.encoder("c").tail[:2]
    method.loss(batch)
    both = torch.cat([batch.features["c"], batch.second["c"]])
    out = convolution(both).detach().transpose(0, 1).flatten(1)
    assert int(norm.num_batches_tracked) == 1
    assert_close(norm.running_mean, 0.1 * out.mean(1), 1e-12)


def test_views_of_several_tensors_are_joined_tensor_by_tensor():
    first, second = (rows(2, 3), rows(2, 4)), (rows(2, 3, 1), rows(2, 4, 1))
    slow, fast = joined(first, second)
    assert torch.equal(slow, torch.cat([first[0], second[0]]))
    assert torch.equal(fast, torch.cat([first[1], second[1]]))


def test_without_a_second_view_the_first_is_taken_twice():
    batch = dataclasses.replace(make_batch(), second=None)
    equal = dataclasses.replace(batch, second=batch.features)
    assert_same(gradients_of(nel(), batch), gradients_of(nel(), equal))
    with_another = nel().loss(two_views())
    for name, term in nel().loss(batch).items():
        assert abs(float((term - with_another[name]).detach())) > 1e-4, name


def test_the_class_of_no_other_sample_but_its_own_second_view_is_needed():
    batch = dataclasses.replace(two_views(size=4), labels=torch.arange(4))
    terms = nel().loss(batch)
    assert terms["contrast"] > 0
    assert all(torch.isfinite(term) for term in terms.values())


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_batches_have_finite_terms_and_gradients(size):
    method = nel(WITH_BATCH_NORM)
    method.compute_grads(two_views(WITH_BATCH_NORM, size))
    for name, p in method.named_parameters():
        if p.grad is not None:
            assert torch.isfinite(p.grad).all(), name


def test_every_term_of_its_own_falls_in_training():
    batches = [two_views(WITH_BATCH_NORM, size=12)]
    method = nel(WITH_BATCH_NORM, beta=5.0)
    before = method.loss(batches[0])
    train(method, batches * 30, adam(method))
    after = method.loss(batches[0])
    for name in ("mean_shift", "contrast", "spectrum"):
        assert after[name] < before[name] - 0.05, name


def test_its_embeddings_have_a_flatter_spectrum_than_those_of_erm():
    batches = make_batches(VECTORS, 2, size=16)
    entropy = {}
    for composition, settings in (("erm", {}), ("nel", {**SMALL, "beta": 10.0})):
        torch.manual_seed(0)
        method = make_method(composition, without_dropout(tiny_model()), **settings)
        train(method, batches * 20, adam(method))
        z = method.model.embed(batches[0].features)
        entropy[composition] = -float(negative_entropy_of_spectrum(torch.cat(list(z.values()), 1)))
    assert entropy["nel"] > entropy["erm"] + 0.1


def test_the_engine_hands_it_two_views(tmp_path, monkeypatch):
    seen, honest = [], NEL.loss

    def loss(self, batch):
        seen.append(batch.second)
        return honest(self, batch)

    monkeypatch.setattr(NEL, "loss", loss)
    tiny_run(tmp_path, "nel", dataset_options=TINY, recipe={"epochs": 1, "batch_size": 8})
    assert seen
    assert all(second is not None and set(second) == {"m1", "m2", "m3"} for second in seen)


def test_the_published_script_names_real_settings():
    script = NEL.published
    recipe = dataclasses.replace(Recipe(epochs=20, lr=1e-4, batch_size=16), **script.recipe)
    assert (recipe.epochs, recipe.decay, script.reports) == (15, "cosine", "best-val")
    settings = methods.resolve("nel", script.settings)["nel"]
    assert (settings["hidden"], settings["as_ported"]) == (2048, True)
