"""What every method and composition must keep, whatever it does."""

import copy
import dataclasses
import functools
import itertools
import json
import math

import numpy as np
import pytest
import torch
from support import TINY, Silent, tiny_run, tiny_specs
from support_methods import (
    CLASSES,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    registered_encoder,
    tensors,
    through_a_file,
    tiny_model,
    train,
    validate,
)

import methods
from benchmark.execution import Execution
from benchmark.store import Store
from benchmark.train import Training
from datasets.base import Sample
from datasets.synthetic import Synthetic
from methods.base import FUSED
from methods.erm import ERM
from methods.hyperparameters import Choice
from mmdg_common import UsageError

COMPOSITIONS = (*methods.names(), "swad+mbcd", "dsu+mbcd")
MIXED = ("a", "c")  # a vector, and a sequence whose encoder has batch norm
ENGINE = {"modalities": ("m1+m2",), "recipe": {"epochs": 3, "batch_size": 8}}

every_method = pytest.mark.parametrize("composition", COMPOSITIONS)


def declares(composition, name):
    """Return whether any part of a composition declares this."""
    return any(getattr(cls, name) for cls in methods.components(composition))


def outcome(folder):
    """Return all numbers of a run: rules, records and predictions."""
    arrays = np.load(folder.path / "predictions.npz")
    result = folder.result()
    return {
        "rules": result["rules"],
        "method": result["method"],
        "records": folder.metrics(),
        "predictions": {name: arrays[name].tolist() for name in sorted(arrays.files)},
    }


@pytest.fixture(scope="module")
def engine_run(tmp_path_factory):
    """Return a function that runs a composition once and returns its folder."""

    @functools.cache
    def run(composition):
        return tiny_run(tmp_path_factory.mktemp("runs"), composition, **ENGINE)[1]

    return run


def prepared(results, composition, **execution):
    """Return a training that has not begun."""
    (spec,) = tiny_specs(results, composition, **ENGINE)
    how = Execution(results, threads=1, **execution)
    dataset = how.open_dataset(spec.dataset, spec.options)
    return Training(spec, dataset, Store(results).folder(spec), how)


# Repeatable, resumable


@every_method
def test_two_runs_with_one_seed_are_bitwise_equal_and_another_seed_differs(
    tmp_path, engine_run, composition
):
    first = outcome(engine_run(composition))
    second, other = (
        outcome(tiny_run(tmp_path / str(seed), composition, seeds=(seed,), **ENGINE)[1])
        for seed in (0, 1)
    )
    assert first == second
    assert first["records"] != other["records"]


def resumed_from(method, optimizer, composition, modalities):
    """Return a copy of a run in progress, made from its checkpointed state alone."""
    state = through_a_file(
        {
            "method": method.state_dict(),
            "optimizer": optimizer.state_dict(),
            "generator": method.run.generator.get_state(),
            "position": (method.run.step, method.run.epoch),
        }
    )
    twin = make_method(composition, tiny_model(modalities, seed=99), ema_warmup=True)
    twin_optimizer = adam(twin)
    twin.load_state_dict(state["method"])
    twin_optimizer.load_state_dict(state["optimizer"])
    twin.run.generator.set_state(state["generator"])
    twin.run.step, twin.run.epoch = state["position"]
    return twin, twin_optimizer


@every_method
@pytest.mark.parametrize("steps_into_the_epoch", [0, 2])
def test_what_continues_from_a_checkpoint_ends_where_the_uninterrupted_run_does(
    composition, steps_into_the_epoch
):
    batches = make_batches(MIXED, 3)
    method = make_method(composition, tiny_model(MIXED), ema_warmup=True)
    optimizer = adam(method)
    torch.manual_seed(0)
    for _ in range(2):
        method.epoch_start()
        train(method, batches, optimizer)
        method.epoch_end()
        validate(method, batches)
        method.run.epoch += 1
    if steps_into_the_epoch:
        method.epoch_start()
        train(method, batches[:steps_into_the_epoch], optimizer)
    twin, twin_optimizer = resumed_from(method, optimizer, composition, MIXED)
    ends = []
    for run, steps in ((method, optimizer), (twin, twin_optimizer)):
        torch.manual_seed(1)
        if not steps_into_the_epoch:
            run.epoch_start()
        train(run, batches[steps_into_the_epoch:], steps)
        run.epoch_end()
        before = tensors(run.model), tensors(run.eval_model())
        validate(run, batches)
        run.finalize()
        run.eval()
        after = tensors(run.eval_model()), run.predict(batches[0].features)
        ends.append((before, after, run.summary()))
    assert_same(ends[1], ends[0])


class Interrupted(Silent):
    """Presses Ctrl-C once a step is done."""

    def __init__(self, after):
        self.after = after

    def step(self, step, total):
        if step == self.after:
            raise KeyboardInterrupt


@every_method
def test_a_run_that_was_interrupted_and_resumed_has_the_numbers_of_one_that_was_not(
    tmp_path, engine_run, composition
):
    for watcher in (Interrupted(3), Interrupted(9)):
        training = prepared(tmp_path, composition, checkpoint_every=0)
        with pytest.raises(KeyboardInterrupt):
            training.run(watcher)
    prepared(tmp_path, composition).run(Silent())
    assert outcome(training.folder) == outcome(engine_run(composition))


def test_a_method_that_asks_to_stop_is_stopped_at_that_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(ERM, "validated", lambda self, stats: self.run.epoch == 1)
    for composition in ("erm", "ema", "swad"):
        _, folder = tiny_run(tmp_path, composition, **ENGINE)
        assert [record["epoch"] for record in folder.metrics()] == [0, 1]


# Any number of modalities, domains and samples


@every_method
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_modalities_trains(tmp_path, composition, count):
    changes = {
        "dataset_options": TINY | {"modalities": str(count), "samples_per_class": "5"},
        "recipe": {"epochs": 1, "batch_size": 8},
    }
    least = max(cls.min_modalities for cls in methods.components(composition))
    if count < least:
        with pytest.raises(UsageError, match=f"at least {least} modalities"):
            tiny_specs(tmp_path, composition, **changes)
        return
    spec, folder = tiny_run(tmp_path, composition, **changes)
    assert len(spec.modalities) == count
    for scores in folder.result()["rules"].values():
        assert 0 <= scores["target"]["accuracy"] <= 1
        assert list(scores["target"]["modalities"]) == list(spec.modalities)


@every_method
@pytest.mark.parametrize("sources", [("d1",), ("d1", "d2", "d4")])
def test_one_and_three_source_domains_train(tmp_path, composition, sources):
    changes = {
        "dataset_options": TINY | {"domains": "4", "modalities": "2", "samples_per_class": "5"},
        "sources": sources,
        "recipe": {"epochs": 1, "batch_size": 8},
    }
    if len(sources) < max(cls.min_domains for cls in methods.components(composition)):
        with pytest.raises(UsageError, match="source domains"):
            tiny_specs(tmp_path, composition, **changes)
        return
    spec, folder = tiny_run(tmp_path, composition, **changes)
    assert spec.sources == sources
    assert folder.result()["rules"]


@every_method
def test_a_few_samples_are_learned_by_heart(composition):
    batch = make_batch(MIXED, size=32, seed=3)
    method = make_method(composition, tiny_model(MIXED), ema_warmup=True, batches=[batch])
    optimizer = adam(method)
    torch.manual_seed(0)
    for epoch in range(6):
        method.run.epoch = epoch
        method.epoch_start()
        train(method, [batch] * 40, optimizer)
        method.epoch_end()
        if validate(method, [batch]):
            break
    method.finalize()
    # Batch norm of an average has to be refreshed, which `make_run` only notes down.
    for average, _ in method.run.refreshed:
        for name, buffer in average.named_buffers():
            buffer.copy_(dict(method.model.named_buffers())[name])
    method.eval()
    fused = method.predict(batch.features)[FUSED]
    assert float((fused.argmax(dim=1) == batch.labels).double().mean()) > 0.95


@every_method
@pytest.mark.parametrize("labels", [[0, 1] * 4, [2] * 8, [3]], ids=["two", "one", "one-sample"])
def test_a_batch_may_lack_classes_or_hold_one_sample(composition, labels):
    method = make_method(composition, tiny_model(MIXED))
    optimizer = adam(method)
    batch = make_batch(MIXED, size=len(labels), labels=labels)
    method.epoch_start()
    train(method, [batch] * 2, optimizer)
    for name, x in (tensors(method.model) | tensors(method.eval_model())).items():
        assert torch.isfinite(x).all(), name
    method.eval()
    assert method.predict(batch.features)[FUSED].shape == (len(labels), CLASSES)


# Prediction


def trained_method(composition, encoder=None, modalities=("a", "b", "c")):
    """Return a method after a few steps, a validation and `finalize`."""
    batches = make_batches(modalities)
    model = tiny_model(modalities, encoder=encoder) if encoder else tiny_model(modalities)
    method = make_method(composition, model, batches=batches)
    torch.manual_seed(0)
    method.epoch_start()
    train(method, batches, adam(method))
    validate(method, batches)
    method.finalize()
    return method.eval()


@every_method
def test_prediction_is_repeatable_and_changes_nothing(composition):
    method = trained_method(composition)
    batch = make_batch(("a", "b", "c"), seed=8)
    held = copy.deepcopy(method.state_dict())
    global_stream, own_stream = torch.get_rng_state(), method.run.generator.get_state()
    first = method.predict(batch.features)
    assert_same(method.predict(batch.features), first)
    assert_same(dict(method.state_dict()), dict(held))
    assert torch.equal(torch.get_rng_state(), global_stream)
    assert torch.equal(method.run.generator.get_state(), own_stream)
    assert not any(x.requires_grad for x in first.values())


@every_method
@pytest.mark.parametrize("missing", [False, True])
def test_a_samples_prediction_does_not_depend_on_its_batch(composition, missing):
    method = trained_method(composition, encoder=registered_encoder)
    batch = make_batch(("a", "b", "c"), seed=8)
    present = {k: torch.ones(8, dtype=torch.bool) for k in ("a", "b", "c")}
    if missing:
        present |= {"a": torch.arange(8) % 2 == 0, "c": torch.arange(8) % 3 > 0}
    together = method.predict(batch.features, present)
    for i in range(8):
        one = {k: x[i : i + 1] for k, x in batch.features.items()}
        alone = method.predict(one, {k: x[i : i + 1] for k, x in present.items()})
        assert_close(alone, {k: x[i : i + 1] for k, x in together.items()}, 1e-9)


@every_method
def test_unimodal_heads_predict_exactly_where_they_are_trained(composition):
    modalities = ("a", "b", "c")
    method = make_method(composition, tiny_model(modalities))
    gradient = gradients_of(method, make_batch(modalities))
    trained = {k for k in modalities if gradient[f"heads.{k}.0.weight"].any()}
    logits = trained_method(composition).predict(make_batch(modalities).features)
    assert trained == (set(modalities) if declares(composition, "trains_unimodal") else set())
    assert set(logits) == {FUSED, *trained}
    assert {x.shape for x in logits.values()} == {(8, CLASSES)}


@every_method
def test_all_that_a_prediction_depends_on_is_trained(composition):
    modalities = ("a", "b", "c")
    batch = make_batch(modalities)
    method = make_method(composition, tiny_model(modalities))
    gradient = gradients_of(method, batch)
    method = trained_method(composition)
    before = method.predict(batch.features)
    used = set()
    for name, p in method.eval_model().named_parameters():
        held = p.detach().clone()
        with torch.no_grad():
            p.add_(torch.randn(p.shape, dtype=p.dtype))
            after = method.predict(batch.features)
            p.copy_(held)
        if any(not torch.equal(after[head], before[head]) for head in before):
            used.add(name)
    assert {f"encoders.{k}.tail.0.weight" for k in modalities} <= used
    untrained = {name for name in used if not gradient[name].any()}
    assert not untrained


# Gradients


@every_method
def test_computing_gradients_twice_advances_nothing_and_gives_them_again(composition):
    batches = make_batches(MIXED)
    method = make_method(composition, tiny_model(MIXED))
    train(method, batches, adam(method))
    validate(method, batches)
    method.epoch_start()
    student = {id(buffer) for buffer in method.model.buffers()}
    running = {name for name, buffer in method.named_buffers() if id(buffer) in student}
    assert len(running) == 3

    def held():
        state = copy.deepcopy(method.state_dict())
        return {name: value for name, value in state.items() if name not in running}

    before, average = held(), tensors(method.eval_model())
    streams = method.run.generator.get_state()
    first = gradients_of(method, batches[0], seed=5)
    method.run.generator.set_state(streams)
    second = gradients_of(method, batches[0], seed=5)
    assert_same(second, first)
    assert_same(held(), before)
    if method.eval_model() is not method.model:
        assert_same(tensors(method.eval_model()), average)


@every_method
def test_old_gradients_do_not_leak_into_new_ones(composition):
    method = make_method(composition, tiny_model(MIXED))
    method.compute_grads(make_batch(MIXED, seed=1))
    state = method.run.generator.get_state()
    after_another = gradients_of(method, make_batch(MIXED))
    fresh = make_method(composition, tiny_model(MIXED))
    fresh.run.generator.set_state(state)
    assert_same(after_another, gradients_of(fresh, make_batch(MIXED)))


@every_method
def test_every_loss_term_is_a_finite_scalar_that_is_logged(composition):
    method = make_method(composition, tiny_model(MIXED))
    terms = method.loss(make_batch(MIXED))
    assert terms
    for name, term in terms.items():
        assert term.shape == (), name
        assert torch.isfinite(term), name
    method.run.logs.flush()
    method.compute_grads(make_batch(MIXED))
    assert {f"loss/{name}" for name in terms} <= set(method.run.logs.flush())


# What is tested, and what a method may see


def stored_accuracy(logits, labels):
    """Return the accuracy of stored float16 logits, and how many rows are tied in them."""
    top = np.sort(logits, axis=1)
    ties = int((top[:, -1] == top[:, -2]).sum())
    return float((logits.argmax(1) == labels).mean()), ties / len(labels) + 1e-9


@every_method
def test_the_scores_are_those_of_the_chosen_validation_and_of_the_stored_predictions(
    engine_run, composition
):
    folder = engine_run(composition)
    arrays, records = np.load(folder.path / "predictions.npz"), folder.metrics()
    rules = folder.result()["rules"]
    assert set(rules) == {"best-val", "last", "oracle", "reference"} | (
        {"own"} if declares(composition, "own_rule") else set()
    )
    best = max(records, key=lambda r: (r["val"][FUSED]["accuracy"], -r["val"][FUSED]["loss"]))
    assert rules["best-val"]["epoch"] == best["epoch"]
    assert rules["last"]["epoch"] == 2
    later = max(records, key=lambda r: (r["val"][FUSED]["accuracy"], r["epoch"]))
    published = methods.components(composition)[-1].published.reports
    assert rules["reference"]["epoch"] == (2 if published == "last" else later["epoch"])
    for rule, scores in rules.items():
        for part in ("val", "target"):
            logits, labels = arrays[f"{rule}/{part}/fused"], arrays[f"{rule}/{part}/labels"]
            accuracy, tolerance = stored_accuracy(logits, labels)
            assert scores[part]["n"] == len(labels)
            assert scores[part]["accuracy"] == pytest.approx(accuracy, abs=tolerance)
            if rule != "own":
                record = records[scores["epoch"]][part][FUSED]
                assert scores[part]["accuracy"] == record["accuracy"]


@every_method
def test_the_weights_that_are_kept_give_the_predictions_that_are_stored(tmp_path, composition):
    training = prepared(tmp_path, composition, keep_checkpoints="best")
    training.run(Silent())
    rule = "own" if declares(composition, "own_rule") else "best-val"
    arrays = np.load(training.folder.path / "predictions.npz")
    fresh = copy.deepcopy(training.model).eval()
    with torch.no_grad():
        for p in fresh.parameters():
            p.zero_()
    weights = torch.load(training.folder.path / "weights-best.pt", weights_only=True)
    fresh.load_state_dict(weights, strict=False)
    method = training.method.eval()
    for part, batches in (("val", training.val_part), ("target", training.target_part)):
        logits = [
            method.predict(fresh.stem(inputs.tensors, training=False), model=fresh)
            for inputs in batches.evaluation()
        ]
        for head in logits[0]:
            again = torch.cat([x[head] for x in logits]).half().numpy()
            np.testing.assert_array_equal(again, arrays[f"{rule}/{part}/{head}"])


@every_method
def test_the_target_domains_labels_never_reach_a_method(
    tmp_path, monkeypatch, engine_run, composition
):
    honest = Synthetic.samples

    def poisoned(self, domain, role):
        samples = honest(self, domain, role)
        if role != "target":
            return samples
        wrong = [(s.label + 1 + i % 2) % int(TINY["classes"]) for i, s in enumerate(samples)]
        return tuple(Sample(s.id, y, s.domain) for s, y in zip(samples, wrong, strict=True))

    true = outcome(engine_run(composition))
    monkeypatch.setattr(Synthetic, "samples", poisoned)
    false = outcome(tiny_run(tmp_path, composition, **ENGINE)[1])
    labels = [o["predictions"]["last/target/labels"] for o in (true, false)]
    assert not any(a == b for a, b in zip(*labels, strict=True)), "nothing was poisoned"
    seen = [[{**record, "target": None} for record in o["records"]] for o in (true, false)]
    assert seen[0] == seen[1]
    assert true["method"] == false["method"]
    for rule in set(true["rules"]) - {"oracle"}:
        for key in ("epoch", "step", "val"):
            assert true["rules"][rule][key] == false["rules"][rule][key]
        for part, head in itertools.product(("val", "target"), (FUSED, "m1", "m2")):
            at = f"{rule}/{part}/{head}"
            assert true["predictions"].get(at) == false["predictions"].get(at), at


def test_a_method_is_given_the_sources_and_nothing_of_the_target(tmp_path):
    training = prepared(tmp_path, "erm")
    run, dataset = training.run_info, training.execution.open_dataset("synthetic", TINY)
    for loader, role in ((run.train_loader, "train"), (run.val_loader, "val")):
        ids = [i for batch in loader() for i in batch.ids]
        assert ids == [s.id for domain in ("d1", "d2") for s in dataset.samples(domain, role)]
    assert run.domains == ("d1", "d2")


@every_method
def test_the_order_in_which_modalities_are_given_makes_no_difference(tmp_path, composition):
    ids = {
        tiny_specs(tmp_path, composition, modalities=(text,))[0].id
        for text in ("m1+m3", "m3+m1", "m3+m1+m3")
    }
    assert len(ids) == 1
    assert tiny_specs(tmp_path, composition, modalities=("m1+m2",))[0].id not in ids


# Hyper-parameters


def hyperparameters():
    """Return every method with each of its fields."""
    return [
        pytest.param(name, field, id=f"{name}.{field.name}")
        for name in methods.names()
        for field in dataclasses.fields(methods.components(name)[0].Hyperparameters)
    ]


@pytest.mark.parametrize(("name", "field"), hyperparameters())
def test_a_hyper_parameter_is_explained_and_its_default_and_search_range_are_valid(name, field):
    assert len(field.metadata["help"]) > 10
    assert "\n" not in field.metadata["help"]
    search = field.metadata["search"]
    values = [field.default]
    if isinstance(search, Choice):
        values += search.values
    elif search is not None:
        values += [search.low, search.high]
        assert search.low < search.high
    for value in values:
        resolved = methods.resolve(name, {name: {field.name: value}})[name][field.name]
        assert resolved == value
        assert methods.resolve(name, {name: {field.name: str(value)}})[name][field.name] == value


@pytest.mark.parametrize(("name", "field"), hyperparameters())
def test_a_hyper_parameter_of_the_wrong_type_or_out_of_range_is_refused(name, field):
    wrong = ["nonsense", None]
    kind, low, high = type(field.default), field.metadata["low"], field.metadata["high"]
    if kind is int:
        wrong += [2.5, "2.5"]
    if kind in (int, float):
        wrong += [float("nan"), *(x for x in (low - 1, high + 1) if math.isfinite(x))]
    for value in wrong:
        with pytest.raises(UsageError, match=field.name):
            methods.create(name, {name: {field.name: value}})


@every_method
def test_settings_survive_json_and_defaults_are_spelled_out(composition):
    settings = methods.resolve(composition)
    assert [cls.name for cls in methods.components(composition)] == list(settings)
    again = json.loads(json.dumps(settings))
    assert methods.resolve(composition, again) == settings
    written_out, defaults = methods.create(composition, again), methods.create(composition)
    assert written_out.hp == defaults.hp


@every_method
def test_every_method_starts_from_the_same_weights_and_sees_the_same_batches(tmp_path, composition):
    starts = []
    for name in ("erm", composition):
        training = prepared(tmp_path, name)
        order = [
            inputs.ids for epoch in (0, 1) for inputs in training.train_part.training_epoch(epoch)
        ]
        starts.append((tensors(training.model), order))
    assert_same(starts[1], starts[0])
