"""SAM and SAGM: where the second gradient is taken, what of it is kept, what it leaves alone."""

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
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)
from torch import nn

import methods
from methods.base import Method, Model
from mmdg_common import UsageError

WRAPPERS = ("sam", "sagm")
NO_MOVE = {"sam": {"rho": 0.0}, "sagm": {"rho": 0.0, "alpha": 0.0}}
INNER = ("erm", "joint", "modality_dropout", "ogm_ge", "mbcd", "dsu")


def without_prefix(states):
    return [{name.removeprefix("inner."): x for name, x in state.items()} for state in states]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("inner", INNER)
def test_without_a_perturbation_the_student_walks_bitwise_as_without_the_wrapper(wrapper, inner):
    batches = make_batches(WITH_BATCH_NORM)
    alone = trajectory(inner, tiny_model(WITH_BATCH_NORM), batches)
    wrapped = trajectory(
        f"{wrapper}+{inner}", tiny_model(WITH_BATCH_NORM), batches, **NO_MOVE[wrapper]
    )
    assert_same(without_prefix(wrapped), without_prefix(alone))


class Quadratic(Model):
    """A model that is one vector w, for losses that are functions of w alone."""

    def __init__(self, start):
        super().__init__()
        self.w = nn.Parameter(start.clone())
        self.register_buffer("passes", torch.zeros(()))

    @property
    def modalities(self):
        return VECTORS

    dims = embed = replace_heads = tail_parameters = branch = unimodal = fuse = features_edited = (
        None
    )


class Bowl(Method):
    """Minimises ½ w'Aw and notes where it was asked for the gradient."""

    name = "bowl"

    def setup(self, model, run):
        super().setup(model, run)
        root = torch.randn(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        self.a = root @ root.T
        self.asked = []

    def loss(self, batch):
        self.asked.append(self.model.w.detach().clone())
        self.log("asked", len(self.asked))
        return {"bowl": self.model.w @ self.a @ self.model.w / 2}


def bowl(monkeypatch, wrapper, **hyperparameters):
    """Return a wrapper around the bowl, with its matrix and its start."""
    monkeypatch.setitem(methods._registry._items, "bowl", Bowl)
    w = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.1], dtype=torch.float64)
    method = make_method(f"{wrapper}+bowl", Quadratic(w).double(), **hyperparameters)
    return method, method.inner.a, w


def test_the_gradient_of_sam_on_a_quadratic_is_the_papers(monkeypatch):
    rho = 0.3
    method, a, w = bowl(monkeypatch, "sam", rho=rho)
    method.compute_grads(make_batch())
    g = a @ w
    assert_close(method.model.w.grad, a @ (w + rho * g / g.norm()), 1e-10)


def test_the_gradient_of_sagm_on_a_quadratic_is_the_papers(monkeypatch):
    rho, alpha = 0.3, 0.01
    method, a, w = bowl(monkeypatch, "sagm", rho=rho, alpha=alpha)
    method.compute_grads(make_batch())
    g = a @ w
    second = a @ (w + rho * g / g.norm() - alpha * g)
    assert_close(method.model.w.grad, (g + second) / 2, 1e-10)


def test_sagm_without_alpha_is_the_mean_of_the_gradient_and_of_sams():
    batch = make_batch(WITH_BATCH_NORM)
    plain, sam, sagm = (
        list(gradients_of(make_method(name, tiny_model(WITH_BATCH_NORM), **hp), batch).values())
        for name, hp in (("erm", {}), ("sam", {}), ("sagm", {"alpha": 0.0}))
    )
    for g, second, mean in zip(plain, sam, sagm, strict=True):
        assert_close(mean, (g + second) / 2, 1e-12)
    assert any(not torch.equal(g, second) for g, second in zip(plain, sam, strict=True))


def test_the_perturbation_has_length_rho_over_all_tensors_of_the_method_together():
    model, rho, places = without_dropout(tiny_model()), 0.2, []
    method = make_method("sam", model, rho=rho)
    plain = method.inner.compute_grads

    def spy(batch):
        places.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        plain(batch)

    method.inner.compute_grads = spy
    gradient = gradients_of(make_method("erm", without_dropout(tiny_model())), make_batch())
    method.compute_grads(make_batch())
    first, second = places
    direction = torch.cat([g.flatten() for g in gradient.values()])
    # Parameters that have no gradient, here those of unused heads, stay where they are.
    assert_close(second - first, rho * direction / direction.norm(), 1e-9)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_weights_are_put_back_bit_for_bit_before_the_update(wrapper):
    method = make_method(wrapper, tiny_model(WITH_BATCH_NORM), rho=0.5)
    # Adding and subtracting a perturbation would not restore weights of such different sizes.
    with torch.no_grad():
        for p in method.model.parameters():
            p.mul_(torch.logspace(-9, 9, p.numel(), dtype=p.dtype).view_as(p))
    before = [p.detach().clone() for p in method.model.parameters()]
    seen = []
    method.step(
        make_batch(WITH_BATCH_NORM),
        lambda: seen.append([p.detach().clone() for p in method.model.parameters()]),
    )
    assert_same(seen, [before])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_batch_norm_sees_a_batch_once(wrapper):
    batch, states = make_batch(WITH_BATCH_NORM), []
    for name in ("erm", wrapper):
        model = tiny_model(WITH_BATCH_NORM)
        torch.manual_seed(0)
        make_method(name, model).compute_grads(batch)
        states.append({name: b.clone() for name, b in model.named_buffers()})
    assert_same(states[1], states[0])
    assert [int(x) for name, x in states[1].items() if "num_batches" in name] == [1]
    untouched = dict(tiny_model(WITH_BATCH_NORM).named_buffers())
    mean = next(name for name in untouched if "running_mean" in name)
    assert not torch.equal(states[1][mean], untouched[mean])


class Drawing(Method):
    """Draws from every stream that a method may draw from, and notes what came."""

    name = "drawing"

    def loss(self, batch):
        embeddings = self.model.embed(batch.features)
        fused = self.model.fuse(embeddings)
        drawn = torch.rand(3), torch.rand(3, generator=self.run.generator)
        if not hasattr(self, "drawn"):
            self.drawn = []
        self.drawn.append(drawn)
        return {"fused": nn.functional.cross_entropy(fused, batch.labels)}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_both_passes_draw_the_same_and_leave_the_streams_where_one_pass_does(wrapper, monkeypatch):
    monkeypatch.setitem(methods._registry._items, "drawing", Drawing)
    ends = []
    for composition in ("drawing", f"{wrapper}+drawing"):
        method = make_method(composition, tiny_model())
        torch.manual_seed(5)
        method.compute_grads(make_batch())
        ends.append((torch.get_rng_state(), method.run.generator.get_state()))
    first, second = method.inner.drawn
    assert_same(second, first)
    assert_same(ends[1], ends[0])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_both_passes_drop_the_same_units_and_the_same_modalities(wrapper):
    method = make_method(f"{wrapper}+modality_dropout", tiny_model())
    seen = []
    fuse, dropout = method.model.fuse, method.model.fusion[2]
    dropout.register_forward_hook(lambda _, x, y: seen.append(y == 0))
    kept = []
    method.model.fuse = lambda z, mask=None: kept.append(mask) or fuse(z, mask)
    torch.manual_seed(0)
    method.compute_grads(make_batch())
    assert_same(kept[1], kept[0])
    assert not all(bool(x.all()) for x in kept[0].values()), "nothing was dropped"
    # A unit that ReLU switches on or off at the moved weights may differ, a dropped one not.
    assert (seen[0] == seen[1]).double().mean() > 0.9


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_only_the_first_pass_is_logged(wrapper, monkeypatch):
    method, *_ = bowl(monkeypatch, wrapper)
    method.compute_grads(make_batch())
    assert len(method.inner.asked) == 2
    method.run.logs.settle()
    assert method.run.logs.counts == {"asked": 1, "loss/bowl": 1}
    first = method.inner.asked[0]
    assert method.run.logs.sums["loss/bowl"] == float(first @ method.inner.a @ first / 2)
    method.log("later", 1.0)
    method.run.logs.settle()
    assert method.run.logs.counts["later"] == 1


def test_a_parameter_that_loses_its_gradient_at_the_moved_weights_has_none_of_the_second(
    monkeypatch,
):
    class Gate(Bowl):
        def loss(self, batch):
            terms = super().loss(batch)
            # The second call, at the moved weights, does not use the extra parameter.
            used = self.extra.sum() if len(self.asked) == 1 else 0.0
            return {"bowl": terms["bowl"] + used}

        def setup(self, model, run):
            super().setup(model, run)
            self.extra = nn.Parameter(torch.ones(2))

    for wrapper, expected in (("sam", 0.0), ("sagm", 0.5)):
        monkeypatch.setitem(methods._registry._items, "bowl", Gate)
        method = make_method(f"{wrapper}+bowl", Quadratic(torch.ones(5)).double())
        method.compute_grads(make_batch())
        assert method.inner.extra.grad.tolist() == [expected] * 2


def test_the_first_gradient_outlives_a_second_pass_that_reuses_its_memory(monkeypatch):
    method, a, w = bowl(monkeypatch, "sagm", rho=0.3, alpha=0.0)

    def in_place(batch):
        method.inner.zero_grad(set_to_none=False)
        method.inner.total(method.inner.loss(batch)).backward()

    method.inner.compute_grads = in_place
    method.compute_grads(make_batch())
    g = a @ w
    assert_close(method.model.w.grad, (g + a @ (w + 0.3 * g / g.norm())) / 2, 1e-10)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_teacher_of_mbcd_is_not_perturbed_and_follows_once_a_step(wrapper):
    method = make_method(f"{wrapper}+mbcd", tiny_model(), rho=0.3)
    before = tensors(method.eval_model())
    method.compute_grads(make_batch())
    assert_same(tensors(method.eval_model()), before)
    train(method, make_batches(count=3), adam(method))
    assert method.inner.teacher.updates == 3


def test_a_step_uses_the_gradient_of_the_moved_weights_from_whichever_side_it_is_wrapped():
    batch = make_batch(WITH_BATCH_NORM)
    gradients = []
    for composition in ("sam", "dsu+sam", "sam+dsu", "swad+sam"):
        method = make_method(composition, without_dropout(tiny_model(WITH_BATCH_NORM)))
        for part in method.modules():
            if isinstance(part, methods.components("dsu")[0]):
                part.hp = type(part.hp)(p=0.0)
        found = []
        method.step(
            batch, lambda found=found, m=method: found.extend(p.grad for p in m.model.parameters())
        )
        gradients.append([g for g in found if g is not None])
    plain = gradients_of(make_method("erm", without_dropout(tiny_model(WITH_BATCH_NORM))), batch)
    assert not torch.equal(gradients[0][0], next(iter(plain.values())))
    for other in gradients[1:]:
        assert_same(other, gradients[0])


# Which compositions there are


class Twice(Method):
    """Makes two updates per batch."""

    name = "twice"
    several_updates = True

    def loss(self, batch):
        raise AssertionError("not asked for")


@pytest.mark.parametrize(
    ("composition", "reason"),
    [
        ("sam+swad", r"swad must stand outermost: write swad\+sam"),
        ("sagm+ema+joint", r"ema must stand outermost: write ema\+sagm"),
        ("sam+sam", "both perturb the weights"),
        ("sam+sagm", "both perturb the weights"),
        ("sagm+dsu+sam", "both perturb the weights"),
        ("sam+twice", "twice makes several updates per batch.*use twice alone"),
        ("sagm+dsu+twice", "twice makes several updates per batch.*use twice alone"),
    ],
)
def test_a_composition_that_means_nothing_is_refused_with_the_reason(
    monkeypatch, composition, reason
):
    methods.names()  # found, so that what is added stays
    monkeypatch.setitem(methods._registry._items, "twice", Twice)
    with pytest.raises(UsageError, match=reason):
        methods.create(composition)


@pytest.mark.parametrize("composition", ["swad+sam+mbcd", "ema+sagm", "sam+dsu+mbcd", "dsu+sam"])
def test_averages_go_around_and_noise_goes_either_way(composition):
    assert methods.canonical(composition) == composition
    method = make_method(composition, tiny_model(WITH_BATCH_NORM))
    train(method, make_batches(WITH_BATCH_NORM, 2), adam(method))
    assert method.predict(make_batch(WITH_BATCH_NORM).features)["fused"].shape == (8, CLASSES)


# What a method keeps of a batch for `after_step`


@pytest.mark.parametrize(
    ("composition", "settings", "keep"),
    [
        ("agm", {}, lambda m: m._now),
        ("greedy", {}, lambda m: {"speeds": m._progress, "gates": m._opened}),
        ("lfm", {"schedule": "learned"}, lambda m: {"slope": m._slope}),
    ],
    ids=["agm", "greedy", "lfm"],
)
def test_what_is_kept_for_after_step_is_of_the_unperturbed_pass(composition, settings, keep):
    batches, found = make_batches(WITH_BATCH_NORM), []
    for wrapper in ("", "sam+", "sagm+"):
        model = without_dropout(tiny_model(WITH_BATCH_NORM))
        perturbed = {"rho": 5.0} if wrapper else {}
        method = make_method(f"{wrapper}{composition}", model, batches=batches, **perturbed)
        part = method.inner if wrapper else method
        part.hp = type(part.hp)(**settings)
        method.epoch_start()
        method.compute_grads(batches[0])
        found.append(keep(part))
    assert_same(found[1:], found[:1] * 2)
