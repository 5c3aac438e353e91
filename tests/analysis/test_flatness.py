"""`sharpness`: what it measures where the answer is known, and that it leaves runs alone."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from support_analysis import finished_seeds
from support_flatness import a_quadratic, state_of, unchanged
from torch import nn
from torch.nn import functional as F

from benchmark import analyze, report
from benchmark.analysis.hessian import Hessian
from benchmark.analysis.sharpness import Settings, Sharpness, ascent, perturbed, radii
from benchmark.analysis.surface import Fused, Surface, direction, filter_normalised, moved
from methods.base import Batch
from methods.shared.averaging import trained
from mmdg_common import UsageError

QUICK = Settings(samples=12, radii="0.1,1", directions=2, steps=2, eigenvalues=2, probes=2)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def erm(results):
    (run,) = finished_seeds(results)
    return run


@pytest.fixture(scope="module")
def late(results):
    (run,) = finished_seeds(results, "late_fusion")
    return run


# Directions


def test_filters_of_a_direction_are_as_long_as_those_of_the_weights_and_biases_stay():
    weights = {
        "linear": torch.tensor([[3.0, 4.0], [0.0, 0.0]]),
        "convolution": torch.tensor([[[1.0, 2.0], [2.0, 0.0]]]),
        "bias": torch.tensor([5.0, 6.0]),
    }
    drawn = {
        "linear": torch.tensor([[0.0, 2.0], [1.0, 1.0]]),
        "convolution": torch.tensor([[[0.0, 3.0], [4.0, 0.0]]]),
        "bias": torch.tensor([1.0, 1.0]),
    }
    found = filter_normalised(drawn, weights)
    assert found["linear"].tolist() == [[0.0, 5.0], [0.0, 0.0]]
    assert torch.allclose(found["convolution"], torch.tensor([[[0.0, 1.8], [2.4, 0.0]]]))
    assert found["bias"].tolist() == [0.0, 0.0]


def test_a_direction_depends_on_the_number_the_name_and_nothing_else():
    a, b = torch.randn(3, 4), torch.randn(3, 4)
    first = direction({"a": a, "b": b}, 0)
    assert torch.equal(direction({"b": b, "a": a}, 0)["a"], first["a"])
    lengths = b.norm(dim=1) / a.norm(dim=1)
    assert torch.allclose(direction({"a": b}, 0)["a"], first["a"] * lengths[:, None])
    cosine = torch.cosine_similarity(direction({"a": a}, 1)["a"], first["a"], dim=1)
    assert (cosine.abs() < 0.999).all()


def test_random_perturbation_is_the_mean_of_a_known_loss():
    surface = a_quadratic(6, shape=(2, 3))
    found = perturbed(surface, [0.1, 0.5], 3)
    w = surface.centre["w"]
    for radius in (0.1, 0.5):
        losses = [
            surface.loss(w + radius * direction(surface.centre, i)["w"]).item() for i in range(3)
        ]
        assert found[f"{radius}"]["loss"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("text", ["", "0.1,x", "0.1,-1", "0", "nan", "inf,1"])
def test_radii_that_are_no_positive_numbers_are_refused(text):
    with pytest.raises(UsageError, match="positive numbers"):
        radii(text)
    with pytest.raises(UsageError, match="positive numbers"):
        Sharpness(Settings(radii=text)).check()


def test_radii_come_in_order_and_once():
    assert radii("0.5, 0.1,0.5") == [0.1, 0.5]


# The worst case


def test_one_step_is_along_the_gradient():
    surface, rho = a_quadratic(), 0.3
    gradient = surface.hessian @ surface.centre["w"] + surface.slope
    unit = gradient / gradient.norm()
    rise = rho * gradient.norm() + 0.5 * rho**2 * unit @ surface.hessian @ unit
    assert ascent(surface, rho, 1)[0] == pytest.approx(rise.item())


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_the_ascent_stays_in_the_ball_and_finds_its_highest_point(rho):
    """In a ball, the maximum is at ε = (λ - H)⁻¹ g with ‖ε‖ = ρ and λ above all eigenvalues."""
    surface = a_quadratic()
    h, w = surface.hessian.numpy(), surface.centre["w"].numpy()
    g = h @ w + surface.slope.numpy()
    eye, top = np.eye(len(w)), np.linalg.eigvalsh(h)[-1]

    def excess(factor):
        return np.linalg.norm(np.linalg.solve(factor * eye - h, g)) - rho

    at = np.linalg.solve(brentq(excess, top + 1e-9, top + 1e6) * eye - h, g)
    best = g @ at + 0.5 * at @ h @ at
    one, found = ascent(surface, rho, 30)
    assert one <= found <= best * (1 + 1e-9)
    assert found == pytest.approx(best, rel=1e-3)
    offsets = [(x - surface.centre["w"]).norm().item() for x in surface.visited]
    assert max(offsets) == pytest.approx(rho)


def test_the_worst_case_is_no_fall():
    """At the top of a hill every step goes down, and the centre itself is in the ball."""
    surface = a_quadratic()
    surface.hessian = -torch.eye(6, dtype=torch.float64)
    surface.slope = 1e-3 * surface.slope
    surface._centre = surface.slope.clone() + 1e-6
    one, found = ascent(surface, 0.5, 3)
    assert one < 0
    assert found == 0


def test_without_a_slope_nothing_moves():
    surface = a_quadratic()
    surface._centre = torch.zeros(6, dtype=torch.float64)
    surface.slope = torch.zeros(6, dtype=torch.float64)
    assert ascent(surface, 0.5, 3) == (0.0, 0.0)


# The Hessian


def test_the_largest_eigenvalues_of_a_quadratic():
    surface = a_quadratic(30)
    exact = np.linalg.eigvalsh(surface.hessian.numpy())[::-1]
    assert Hessian(surface).eigenvalues(3) == pytest.approx(exact[:3].tolist(), rel=1e-4)


def test_no_more_eigenvalues_than_there_are():
    assert len(Hessian(a_quadratic(3)).eigenvalues(5)) == 2


def test_the_trace_of_a_diagonal_matrix_is_exact():
    surface = a_quadratic()
    surface.hessian = torch.diag(torch.arange(6, dtype=torch.float64) - 1)
    trace, error = Hessian(surface).trace(3)
    assert (trace, error) == pytest.approx((9.0, 0.0))


def test_the_error_of_the_trace_is_as_large_as_theory_says():
    """Var vᵀHv = 2 Σ_{i≠j} h_ij² for random signs."""
    surface = a_quadratic(8)
    off = surface.hessian - torch.diag(surface.hessian.diagonal())
    trace, error = Hessian(surface).trace(400)
    assert error == pytest.approx((2 * (off**2).sum() / 400).sqrt().item(), rel=0.15)
    assert abs(trace - surface.hessian.trace().item()) < 4 * error


class Small(nn.Module):
    """A layer norm between two linear maps, and a parameter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.before, self.norm = nn.Linear(3, 4), nn.LayerNorm(4)
        self.after, self.unused = nn.Linear(4, 3), nn.Parameter(torch.ones(2))

    def forward(self, features):
        return self.after(torch.tanh(self.norm(self.before(features["a"]))))


def small_surface():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Small().double()
        data = torch.randn(10, 3, dtype=torch.float64)
    labels = torch.arange(10) % 3
    parts = [slice(0, 7), slice(7, 10)]
    batches = [Batch({"a": data[s]}, labels[s], labels[s], ("",) * len(labels[s])) for s in parts]
    return Surface(model, batches), data, labels


def test_products_are_those_with_the_exact_hessian_of_a_network_with_layer_norm():
    surface, data, labels = small_surface()
    names, values = zip(*surface.centre.items(), strict=True)

    def loss(*weights):
        own = dict(zip(names, weights, strict=True))
        logits = torch.func.functional_call(surface.model, own, ({"a": data},))
        return F.cross_entropy(logits, labels)

    blocks = torch.autograd.functional.hessian(loss, values)
    exact = torch.cat(
        [
            torch.cat([b.reshape(v.numel(), -1) for b in row], dim=1)
            for v, row in zip(values, blocks, strict=True)
        ]
    )
    hessian = Hessian(surface)
    assert hessian.size == len(exact) == 4 * 3 + 4 + 4 + 4 + 3 * 4 + 3 + 2
    mine = torch.stack([hessian.times(v) for v in torch.eye(len(exact), dtype=torch.float64)])
    assert torch.allclose(mine, exact, atol=1e-12)
    top = np.linalg.eigvalsh(exact.numpy())[::-1][:2]
    assert hessian.eigenvalues(2) == pytest.approx(top.tolist(), rel=1e-3)


def test_loss_and_gradient_over_uneven_batches_are_those_of_all_samples_together():
    surface, data, labels = small_surface()
    model = surface.model
    loss = F.cross_entropy(model({"a": data}), labels)
    expected = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    total, found = surface.gradient(surface.centre)
    assert total == pytest.approx(loss.item())
    assert surface.at({}).loss == pytest.approx(loss.item())
    for (name, _), g in zip(model.named_parameters(), expected, strict=True):
        assert torch.allclose(found[name], torch.zeros(2).double() if g is None else g), name


# Runs


def measured(run):
    return Sharpness(QUICK).measure(run)


@pytest.fixture(scope="module")
def erm_values(erm):
    return measured(erm)


@pytest.fixture(scope="module")
def late_values(late):
    return measured(late)


@pytest.mark.parametrize("method", ["erm", "late"])
def test_the_loss_at_the_centre_is_that_of_what_the_run_reports(method, request):
    run, values = request.getfixturevalue(method), request.getfixturevalue(f"{method}_values")
    for part in ("val", "target"):
        stats = run.predict(run.samples(part, 12)).stats()["fused"]
        assert values[part]["n"] == 12
        assert values[part]["loss"] == pytest.approx(stats.loss, rel=1e-5)
        assert values[part]["accuracy"] == pytest.approx(stats.accuracy)


def test_a_second_call_gives_the_same_numbers_and_the_run_stays_as_it_was(late, late_values):
    before = state_of(late)
    assert measured(late) == late_values
    assert unchanged(late, before)


def test_methods_are_compared_on_the_same_samples(erm, late):
    for part in ("val", "target"):
        chosen = [[s.id for s in run.samples(part, 12)] for run in (erm, late)]
        assert chosen[0] == chosen[1]


def test_the_gradient_is_of_the_heads_that_predict(erm, late):
    """Late fusion predicts with the unimodal heads, and ERM with the fusion head."""
    for run, used, unused in ((erm, "fusion", "heads"), (late, "heads", "fusion")):
        surface = Surface.of(run, "val", 12)
        _, gradient = surface.gradient(surface.centre)
        for name, g in gradient.items():
            kind = name.split(".")[1]
            assert g.any() or kind != used, name
            assert not g.any() or kind != unused, name


def test_the_numbers_are_those_of_the_moved_weights_themselves(late):
    """Not of stand-ins: with the weights written into a model, it predicts with the same loss."""
    surface = Surface.of(late, "target", 12)
    weights = moved(surface.centre, [(direction(surface.centre, 0), 0.7)])
    fused = Fused(late.method, late.model_of(late.record))
    fused.load_state_dict(weights, strict=False)
    logits = torch.cat([fused(batch.features) for batch in surface.batches])
    labels = torch.cat([batch.labels for batch in surface.batches])
    assert surface.at(weights).loss == pytest.approx(F.cross_entropy(logits, labels).item())
    assert surface.at(weights).loss != pytest.approx(surface.at(surface.centre).loss, rel=1e-3)


def test_nothing_but_trained_tensors_moves(erm):
    names = {f"model.{name}" for name in trained(erm.model)}
    assert Surface.of(erm, "val", 4).centre.keys() == names
    assert not any(".stem." in name for name in names)


@pytest.mark.parametrize(
    ("method", "modalities"),
    [("erm", "m1"), ("unimodal", "m1+m2"), ("mla", "m1+m2"), ("swad+erm", "m1+m2+m3")],
)
def test_it_measures_any_method_on_any_number_of_modalities(method, modalities, results):
    number = modalities.count("+") + 1
    options = {"domains": "3", "classes": "3", "samples_per_class": "10", "modalities": "3"}
    (run,) = finished_seeds(results, method, modalities=(modalities,), dataset_options=options)
    assert len(run.modalities) == number
    before = state_of(run)
    values = measured(run)
    assert unchanged(run, before)
    json.dumps(values, allow_nan=False)
    for part in ("val", "target"):
        worst, curved = values[part]["worst"], values[part]["hessian"]
        assert 0 <= worst["one_step"] <= worst["steps"]
        assert curved["top"] == curved["eigenvalues"][0] >= curved["eigenvalues"][1]
        assert values[part]["random"].keys() == {"0.1", "1"}


def test_the_command_writes_what_the_table_shows(erm, results, capsys):
    words = ["samples=12", "directions=1", "eigenvalues=1", "probes=2", "radii=0.2,0.4,0.6"]
    told = ["--results", str(results), "--modalities", "+".join(erm.modalities), "--method", "erm"]
    assert analyze.main(["sharpness", *told, "--threads", "1", "--set", *words]) == 0
    capsys.readouterr()
    assert report.main(["--results", str(results), "--table", "sharpness"]) == 0
    out = capsys.readouterr().out
    for column in ("loss, validation", "at r = 0.4, target", "λ₁, validation", "worst rise"):
        assert column in out
