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
from methods.base import FUSED, NonFiniteLossError
from methods.nel import NEL, mean_shift, negative_entropy_of_spectrum, symmetric_info_nce

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
    with pytest.raises(NonFiniteLossError, match="spectrum=nan"):
        method.compute_grads(batch)


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


def test_info_nce_looks_for_the_same_sample_in_the_other_view_both_ways():
    first, second = (F.normalize(rows(5, 3, seed), dim=1) for seed in (1, 2))
    expected = []
    for mine, other in ((first, second), (second, first)):
        for i in range(5):
            scores = [math.exp(float(mine[i] @ other[j]) / 0.25) for j in range(5)]
            expected.append(-math.log(scores[i] / sum(scores)))
    value = float(symmetric_info_nce(first, second, 0.25))
    assert value == pytest.approx(sum(expected) / 10, abs=1e-12)


def test_views_that_cannot_be_told_apart_cost_the_logarithm_of_the_batch():
    same = F.normalize(torch.ones(6, 4, dtype=torch.float64), dim=1)
    assert float(symmetric_info_nce(same, same, 0.25)) == pytest.approx(math.log(6), abs=1e-12)


# The loss


@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_the_loss_has_its_four_terms_over_both_views(modalities):
    batch = two_views(modalities)
    method = nel(modalities, alpha=0.6, beta=2.0, neighbours=3)
    terms = method.loss(batch)
    model, y = method.model, batch.labels
    fused, spectrum, q = [], [], []
    for features in (batch.features, batch.second):
        z = model.embed(features)
        fused.append(F.cross_entropy(model.fuse(z), y))
        spectrum.append(negative_entropy_of_spectrum(torch.cat([z[k] for k in modalities], 1)))
        parts = [method.projections[k](z[k]) for k in modalities]
        q.append(torch.cat(parts, dim=1) / math.sqrt(len(modalities)))
    anchors, labels = torch.cat(q).detach(), torch.cat([y, y])
    contrast = []
    for i in range(16):
        others = [j for j in range(16) if j != i]
        total = sum(math.exp(float(anchors[i] @ anchors[j]) / 0.1) for j in others)
        positive = [j for j in others if labels[j] == labels[i]]
        logs = [float(anchors[i] @ anchors[j]) / 0.1 - math.log(total) for j in positive]
        contrast.append(-sum(logs) / len(logs))
    m = [shifted_by_hand(x.detach(), 3) for x in q]
    expected = {
        FUSED: sum(fused) / 2,
        "mean_shift": 0.6 * symmetric_info_nce(*m, 0.25),
        "contrast": torch.tensor(0.4 * sum(contrast) / 16, dtype=torch.float64),
        "spectrum": 2.0 / 8 * sum(spectrum) / 2,
    }
    assert_close(terms, expected, 1e-10)


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
    assert methods.resolve("nel", script.settings)["nel"]["hidden"] == 2048
