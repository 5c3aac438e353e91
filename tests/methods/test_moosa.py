"""MOOSA: the heads' weights, the orders of the puzzles, and what translators are shown."""

import math

import pytest
import torch
from support_methods import (
    VECTORS,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tiny_model,
    train,
    vector_encoder,
    without_dropout,
)
from torch.nn import functional as F

from methods.base import FUSED
from methods.moosa import cut, head_weights, orders

THREE = ("a", "b", "d")
SHARED = ("translation", "contrast", "explore")
HEADS_ALONE = {**dict.fromkeys(SHARED, 0.0), "jigsaw": 0.0, "entropy": 0.0}


def wide_encoder(modality):
    """Embeddings of eight, twelve and six values, so that the last one's pieces are unequal."""
    return vector_encoder(*{"a": (6, 8), "b": (5, 12), "d": (7, 6)}[modality])


def moosa(modalities=VECTORS, encoder=wide_encoder, **hyperparameters):
    """Return the method without dropout, with the same initial weights at every call."""
    torch.manual_seed(3)
    method = make_method("moosa", tiny_model(modalities, encoder=encoder), **hyperparameters)
    return without_dropout(method)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Heads


def test_the_weights_of_the_heads_fall_with_their_entropy_and_sum_to_one():
    uncertainty = torch.tensor([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    weights = head_weights(uncertainty, 2.0)
    powers = [math.exp(-h / 2) for h in (0, 1, 2)]
    first = torch.tensor([p / sum(powers) for p in powers], dtype=torch.float64)
    assert_close(weights[:, 0], first, 1e-12)
    assert_close(weights[:, 1], torch.full((3,), 1 / 3, dtype=torch.float64), 1e-12)
    assert_close(weights.sum(dim=0), torch.ones(2, dtype=torch.float64), 1e-12)


def heads_by_hand(model, batch, temperature, eta):
    """Return the weighted cross-entropies and the entropy, sample by sample."""
    z = model.embed(batch.features)
    logits = {FUSED: model.fuse(z), **model.unimodal(z)}
    terms, entropies = dict.fromkeys(logits, 0.0), []
    for i, y in enumerate(batch.labels):
        p = {head: torch.softmax(u[i], dim=0) for head, u in logits.items()}
        h = {head: -(q * q.log()).sum() for head, q in p.items()}
        total = sum((-x / temperature).exp() for x in h.values())
        for head in logits:
            weight = (-h[head] / temperature).exp() / total
            terms[head] = terms[head] - weight * p[head][y].log() / len(batch.labels)
        entropies += h.values()
    return terms | {"entropy": eta * sum(entropies) / len(entropies)}


@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_the_heads_and_the_gradient_of_their_weights_are_those_of_the_formulas(modalities):
    batch = make_batch(modalities)
    method = moosa(modalities, **HEADS_ALONE | {"entropy": 0.4}, entropy_temperature=0.2)
    model = method.model
    with torch.no_grad():  # certain heads, of which some are wrong
        for head in (*model.heads.values(), model.fusion):
            head[3].weight.mul_(20)
    expected = heads_by_hand(model, batch, 0.2, 0.4)
    terms = method.loss(batch)
    assert_close(terms, expected, 1e-9)
    theta = list(model.parameters())
    mine, hand = (torch.autograd.grad(sum(t.values()), theta) for t in (terms, expected))
    for x, y in zip(mine, hand, strict=True):
        assert_close(x, y, 1e-9)


def test_heads_of_equal_entropy_count_as_in_their_plain_mean():
    method, batch = moosa(THREE, **HEADS_ALONE), make_batch(THREE)
    with torch.no_grad():
        for head in (*method.model.heads.values(), method.model.fusion):
            head[3].weight.zero_()
            head[3].bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    joint = make_method("joint", method.model).loss(batch)
    assert len(joint) == 4
    assert_close(method.loss(batch), {head: term / 4 for head, term in joint.items()}, 1e-12)


def test_with_one_modality_only_the_heads_and_their_entropy_are_left():
    assert set(moosa(("a",)).loss(make_batch(("a",)))) == {FUSED, "a", "entropy"}


# Orders of the pieces


def test_orders_are_different_permutations_as_many_as_asked_for_or_as_there_are():
    for pieces, count, expected in [(8, 128, 128), (3, 128, 6), (4, 24, 24), (2, 5, 2)]:
        drawn = orders(pieces, count, generator())
        assert len(drawn) == len(set(drawn)) == expected
        assert all(sorted(order) == list(range(pieces)) for order in drawn)


@pytest.mark.timeout(20)
def test_orders_of_many_modalities_are_drawn_and_not_enumerated():
    for modalities in (3, 4, 10):  # 12! is 479 million
        assert len(set(orders(4 * modalities, 128, generator()))) == 128


def test_the_runs_generator_decides_the_orders_and_training_keeps_them():
    first = moosa()
    torch.manual_seed(99)
    again = make_method("moosa", tiny_model(encoder=wide_encoder))
    assert_same(again.jigsaw.columns, first.jigsaw.columns)
    other = tiny_model(encoder=wide_encoder)
    later = make_method("moosa", other)
    later.run.generator.manual_seed(8)
    later.setup(other, later.run)
    assert not torch.equal(later.jigsaw.columns, first.jigsaw.columns)
    train(first, make_batches(count=1), adam(first))
    assert_same(first.jigsaw.columns, again.jigsaw.columns)
    assert "jigsaw.columns" in first.state_dict()


def test_pieces_are_neighbouring_values_of_one_modality_and_never_empty():
    pieces = [piece.tolist() for piece in cut([8, 6, 3], 4)]
    assert pieces == [
        *([0, 1], [2, 3], [4, 5], [6, 7]),
        *([8, 9], [10, 11], [12], [13]),
        *([14], [15], [16]),
    ]


def test_every_order_has_all_values_once_and_keeps_each_piece_whole():
    method = moosa(THREE)
    pieces = [tuple(piece.tolist()) for piece in cut([8, 12, 6], 4)]
    assert len(pieces) == 12
    rows = method.jigsaw.columns.tolist()
    assert len(rows) == len({tuple(row) for row in rows}) == 128
    for row in rows:
        assert sorted(row) == list(range(26))
        for piece in pieces:
            at = row.index(piece[0])
            assert tuple(row[at : at + len(piece)]) == piece


# Puzzles


def puzzles_by_hand(method, batch):
    """Return the mean cross-entropy over every sample in every order."""
    z = torch.cat(list(method.model.embed(batch.features).values()), dim=1)
    losses = [
        F.cross_entropy(method.jigsaw.layers(z[:, row]), torch.full((len(z),), i))
        for i, row in enumerate(method.jigsaw.columns)
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
def test_all_puzzles_of_a_small_batch_are_solved(modalities):
    batch = make_batch(modalities)
    method = moosa(modalities, jigsaw=0.7, jigsaw_rows=1024)
    expected = 0.7 * puzzles_by_hand(method, batch)
    term = method.loss(batch)["jigsaw"]
    assert_close(term, expected, 1e-9)
    theta = [p for k in modalities for p in method.model.tail_parameters(k).values()]
    mine, hand = (torch.autograd.grad(t, theta) for t in (term, expected))
    for x, y in zip(mine, hand, strict=True):
        assert y.any()
        assert_close(x, y, 1e-9)


def test_of_too_many_puzzles_some_are_drawn_none_twice_and_their_mean_is_that_of_all():
    batch, rows, seen = make_batch(), 40, []
    method = moosa(jigsaw_rows=rows, orders=16, **dict.fromkeys(SHARED, 0.0))
    with torch.no_grad():
        for layer in (0, 2):
            method.jigsaw.layers[layer].weight.mul_(5)
    method.jigsaw.register_forward_pre_hook(lambda _, x: seen.append(x[1]))
    with torch.no_grad():
        drawn = [float(method.loss(batch)["jigsaw"]) for _ in range(300)]
        expected = float(puzzles_by_hand(method, batch))
    assert all(len(set(x.tolist())) == rows for x in seen)
    assert set(torch.cat(seen).tolist()) == set(range(8 * 16))
    spread = torch.tensor(drawn).std()
    assert spread > 0
    assert sum(drawn) / 300 == pytest.approx(expected, abs=4 * float(spread) / 300**0.5)


def test_drawn_puzzles_repeat_with_the_generator():
    method, batch = moosa(jigsaw_rows=40), make_batch()
    state = method.run.generator.get_state()
    first = method.loss(batch)
    second = method.loss(batch)
    method.run.generator.set_state(state)
    assert_same(method.loss(batch), first)
    assert not torch.equal(first["jigsaw"], second["jigsaw"])


def test_puzzles_are_learned():
    method, batches = moosa(orders=16, **dict.fromkeys(SHARED, 0.0)), make_batches()
    train(method, batches * 15, adam(method))
    method.run.logs.flush()
    loss = float(method.loss(batches[0])["jigsaw"].detach())
    assert loss < 0.5 * math.log(16)
    assert method.run.logs.flush()["jigsaw/accuracy"] > 0.5


# Masked translation


def test_nothing_hidden_gives_the_terms_of_simmmdg():
    batch, method = make_batch(THREE), moosa(THREE, masked=0.0)
    expected = method.decomposition.terms(method.model.embed(batch.features), batch.labels)
    assert set(expected) == set(SHARED)
    terms = method.loss(batch)
    assert_close({name: terms[name] for name in SHARED}, expected, 1e-12)


def test_translators_are_shown_embeddings_with_a_share_of_zeros_and_targets_stay_whole():
    batch, method, shown = make_batch(size=400), moosa(masked=0.3), {}
    for name, network in method.decomposition.translators.items():
        network.register_forward_hook(lambda _, x, y, name=name: shown.update({name: (x[0], y)}))
    term = method.loss(batch)["translation"]
    z = method.model.embed(batch.features)
    errors = []
    for name, (seen, guess) in shown.items():
        source, target = (z[k] for k in name.split("->"))
        hidden = seen == 0
        deviation = (0.3 * 0.7 / hidden.numel()) ** 0.5
        assert float(hidden.double().mean()) == pytest.approx(0.3, abs=4 * deviation)
        assert len({tuple(row) for row in hidden.tolist()}) > 50, "values are hidden one by one"
        assert_close(seen, torch.where(hidden, 0.0, source), 0)
        error = F.normalize(guess, dim=1) - F.normalize(target, dim=1)
        errors.append(error.pow(2).sum(dim=1).sqrt().mean())
    assert len(errors) == 2
    assert_close(term, 0.1 * sum(errors) / 2, 1e-9)


def test_a_batch_of_one_sample_has_finite_terms_and_gradients():
    method = moosa(THREE)
    batch = make_batch(THREE, size=1)
    assert set(method.loss(batch)) == {FUSED, *THREE, "entropy", *SHARED, "jigsaw"}
    assert all(torch.isfinite(g).all() for g in gradients_of(method, batch).values())
