"""MMCosine: what the fusion head computes, and that no modality wins by its scale."""

import pytest
import torch
from support_balancing import HARD, accuracy, imbalanced, train_on_imbalance
from support_methods import (
    VECTORS,
    assert_close,
    gradients_of,
    make_batch,
    make_method,
    tiny_encoder,
    tiny_model,
)
from torch import nn
from torch.nn import functional as F

from benchmark.backbones.base import Encoder
from methods.base import FUSED
from methods.mmcosine import CosineHead
from methods.shared import masks

THREE = ("a", "b", "d")
DIMS = (2, 3)


def head(scale=10.0):
    torch.manual_seed(4)
    return CosineHead(DIMS, 4, scale).double()


def joint(seed=0, size=50):
    generator = torch.Generator().manual_seed(seed)
    return 5 * torch.randn(size, sum(DIMS), generator=generator, dtype=torch.float64)


def test_the_logits_of_a_modality_are_its_scaled_cosines():
    cosines = head(scale=10.0)
    with torch.no_grad():
        cosines.classifiers[0].weight.copy_(torch.tensor([[3, 0], [0, 0.1], [-2, 0], [1, 1]]))
    z = torch.tensor([[3.0, 4.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    first, second = cosines.parts(z)
    assert_close(first, torch.tensor([[6.0, 8.0, -6.0, 14 / 2**0.5]]).double(), 1e-6)
    assert_close(second, torch.zeros(1, 4).double(), 0)


def test_the_fused_logits_are_the_sum_and_no_modality_exceeds_the_scale():
    cosines = head(scale=7.0)
    first, second = cosines.parts(joint())
    assert_close(cosines(joint()), first + second, 1e-12)
    largest = max(float(u.detach().abs().max()) for u in (first, second))
    assert 6.0 < largest <= 7.0
    parallel = torch.cat([c.weight[2] * 9 for c in cosines.classifiers]).unsqueeze(0)
    assert cosines(parallel)[0, 2].item() == pytest.approx(14.0)


def test_neither_the_length_of_an_embedding_nor_of_a_class_weight_matters():
    cosines = head()
    before = cosines(joint())
    lengths = torch.tensor([50.0, 50.0, 0.02, 0.02, 0.02], dtype=torch.float64)
    assert_close(cosines(joint() * lengths), before, 1e-9)
    with torch.no_grad():
        cosines.classifiers[1].weight.mul_(torch.tensor([[9.0], [0.1], [4.0], [1.0]]))
    assert_close(cosines(joint()), before, 1e-9)
    assert not torch.allclose(cosines(-joint()), before)


def test_there_is_no_bias():
    model = make_method("mmcosine", tiny_model()).model
    assert {name for name, _ in model.named_parameters() if name.startswith("fusion")} == {
        "fusion.classifiers.0.weight",
        "fusion.classifiers.1.weight",
    }


def test_the_model_itself_predicts_with_the_cosines_of_what_the_neck_returns():
    method = make_method("mmcosine", tiny_model(THREE), scale=12.0).eval()
    batch = make_batch(THREE)
    z = method.model.embed(batch.features)
    expected = torch.zeros(8, 4, dtype=torch.float64)
    for k, classifier in zip(THREE, method.model.fusion.classifiers, strict=True):
        normed = method.model.necks[k](z[k])
        expected += 12.0 * F.cosine_similarity(
            normed.unsqueeze(1), classifier.weight.unsqueeze(0), dim=2
        )
    assert_close(method.predict(batch.features)[FUSED], expected.detach(), 1e-9)
    terms = method.loss(batch)
    assert_close(terms, {FUSED: F.cross_entropy(expected, batch.labels)}, 1e-9)


def test_a_missing_modality_adds_nothing_and_has_a_finite_gradient():
    method = make_method("mmcosine", tiny_model(THREE)).eval()
    batch = make_batch(THREE)
    alone = {
        k: method.predict(batch.features, masks.only(k, THREE, batch.labels))[FUSED] for k in THREE
    }
    assert_close(sum(alone.values()), method.predict(batch.features)[FUSED], 1e-9)
    z = method.model.embed(batch.features)
    method.model.fuse(z, {"a": torch.zeros(8, dtype=torch.bool)}).sum().backward()
    for name, p in method.model.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name


class Quiet(nn.Module):
    """Makes an embedding's values small."""

    def forward(self, x):
        return 0.01 * x


def quiet_encoder(modality):
    encoder = tiny_encoder(modality)
    if modality != HARD:
        return encoder
    return Encoder(nn.Identity(), nn.Sequential(*encoder.tail, Quiet()), encoder.dim)


def test_a_modality_with_small_embeddings_has_the_same_say():
    batch = make_batch()
    first = []
    for encoder in (tiny_encoder, quiet_encoder):
        method = make_method_seeded("mmcosine", tiny_model(encoder=encoder, neck="none"))
        first.append(gradients_of(method, batch))
    for name in first[0]:
        if not name.startswith("heads"):
            assert first[0][name].any(), name
            assert_close(first[1][name], first[0][name], 1e-9)


def make_method_seeded(composition, model):
    torch.manual_seed(2)
    return make_method(composition, model)


def test_a_modality_with_small_embeddings_is_learned_unlike_under_erm():
    test = imbalanced(400, seed=5)
    alone = masks.only(HARD, VECTORS, test.labels)
    scores = {}
    for composition in ("erm", "mmcosine"):
        model = tiny_model(encoder=quiet_encoder, neck="none")
        method = make_method_seeded(composition, model)
        train_on_imbalance(method, steps=30, lr=1e-2)
        scores[composition] = accuracy(method.predict(test.features, alone)[FUSED], test)
    assert scores["mmcosine"] > scores["erm"] + 0.15
