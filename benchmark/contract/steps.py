"""Checks of single steps on toy batches: state, gradients, loss terms, hyper-parameters."""

import copy
import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import methods
from benchmark.contract.case import Case
from benchmark.contract.toys import (
    CLASSES,
    WITH_BATCH_NORM,
    Loop,
    assert_same,
    expect,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_model,
    validate,
)
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import Choice
from mmdg_common import UsageError


def repeats(case: Case) -> None:
    """Two runs with one seed are bitwise equal."""
    modalities = case.toys(*WITH_BATCH_NORM)
    batches = make_batches(modalities, 3)
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        method = make_method(case.composition, tiny_model(modalities), True, batches)
        ends.append(_to_the_end(_two_epochs(method, batches), batches))
    assert_same(ends[1], ends[0], "second run")


def continues_from_a_checkpoint(case: Case) -> None:
    """A method rebuilt from its saved state ends where the uninterrupted one does."""
    modalities = case.toys(*WITH_BATCH_NORM)
    for into_the_epoch in (0, 2):
        batches = make_batches(modalities, 3)
        method = make_method(case.composition, tiny_model(modalities), True, batches)
        torch.manual_seed(0)
        loop = _two_epochs(method, batches)
        if into_the_epoch:
            method.epoch_start()
            loop.train(batches[:into_the_epoch])
        twin = _resumed(case, loop)
        ends = [_to_the_end(each, batches, into_the_epoch) for each in (loop, twin)]
        assert_same(ends[1], ends[0], f"what was resumed {into_the_epoch} steps into an epoch")


def _two_epochs(method: Method, batches: Sequence[Batch]) -> Loop:
    loop = Loop(method)
    for epoch in range(2):
        loop.epoch(epoch, batches)
        validate(method, batches)
    method.run.epoch = 2
    return loop


def _resumed(case: Case, loop: Loop) -> Loop:
    """Return a copy of a run in progress, made from its checkpointed state alone."""
    method = loop.method
    state = through_a_file(
        {
            "method": method.state_dict(),
            "optimizer": loop.optimizer.state_dict(),
            "generator": method.run.generator.get_state(),
            "position": (method.run.step, method.run.epoch),
        }
    )
    other = tiny_model(method.model.modalities, seed=99)
    twin = Loop(make_method(case.composition, other, True, list(method.run.train_loader())))
    twin.method.load_state_dict(state["method"])
    twin.optimizer.load_state_dict(state["optimizer"])
    twin.method.run.generator.set_state(state["generator"])
    twin.method.run.step, twin.method.run.epoch = state["position"]
    return twin


def _to_the_end(loop: Loop, batches: Sequence[Batch], into_the_epoch: int = 0) -> dict[str, Any]:
    """End the epoch and the run, and return everything that must be equal."""
    method = loop.method
    torch.manual_seed(1)
    if not into_the_epoch:
        method.epoch_start()
    loop.train(batches[into_the_epoch:])
    method.epoch_end()
    end = {"student": tensors(method.model), "evaluated": tensors(method.eval_model())}
    validate(method, batches)
    method.finalize()
    method.eval()
    tested = tensors(method.eval_model())
    predicted = method.predict(batches[0].features)
    return end | {"tested": tested, "predictions": predicted, "summary": method.summary()}


def learns_a_few_samples_by_heart(case: Case) -> None:
    """32 samples are learned by heart: more than 95 % right."""
    modalities = case.toys(*WITH_BATCH_NORM)
    batch = make_batch(modalities, size=32, seed=3)
    method = make_method(case.composition, tiny_model(modalities), True, [batch])
    loop = Loop(method)
    torch.manual_seed(0)
    for epoch in range(12):
        loop.epoch(epoch, [batch] * 20)
        stopped = validate(method, [batch])
        if stopped or _right(method, batch) == 1:
            break
    method.finalize()
    right = _right(method, batch)
    expect(right > 0.95, f"only {right:.0%} of the samples it was trained on are right")


def _right(method: Method, batch: Batch) -> float:
    fused = method.eval().predict(batch.features)[FUSED]
    method.train()
    return float((fused.argmax(dim=1) == batch.labels).double().mean())


def takes_odd_batches(case: Case) -> None:
    """Batches that lack classes or hold one sample leave everything finite."""
    modalities = case.toys(*WITH_BATCH_NORM)
    for labels in ([0, 1] * 4, [2] * 8, [3]):
        batch = make_batch(modalities, size=len(labels), labels=labels)
        method = make_method(case.composition, tiny_model(modalities), batches=[batch])
        Loop(method).epoch(0, [batch] * 2)
        for name, x in (tensors(method.model) | tensors(method.eval_model())).items():
            expect(bool(torch.isfinite(x).all()), f"{name} is not finite after labels {labels}")
        method.eval()
        shape = tuple(method.predict(batch.features)[FUSED].shape)
        expect(shape == (len(labels), CLASSES), f"logits of shape {shape} after labels {labels}")


def computes_gradients_again(case: Case) -> None:
    """Computing gradients twice advances no state and gives the same gradients."""
    modalities = case.toys(*WITH_BATCH_NORM)
    batches = make_batches(modalities)
    method = make_method(case.composition, tiny_model(modalities), batches=batches)
    loop = Loop(method)
    loop.epoch(0, batches)
    validate(method, batches)
    method.run.epoch = 1
    method.epoch_start()
    # Only running statistics may follow a pass over a batch.
    running = {
        f"{name}.{buffer}"
        for name, module in method.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        for buffer, _ in module.named_buffers(recurse=False)
    }

    def held() -> dict[str, Any]:
        state = copy.deepcopy(method.state_dict())
        return {name: value for name, value in state.items() if name not in running}

    before, average = held(), tensors(method.eval_model())
    stream = method.run.generator.get_state()
    first = gradients_of(method, batches[0], seed=5)
    method.run.generator.set_state(stream)
    second = gradients_of(method, batches[0], seed=5)
    assert_same(held(), before, "state")
    assert_same(second, first, "gradient")
    if method.eval_model() is not method.model:
        assert_same(tensors(method.eval_model()), average, "evaluated model")


def forgets_old_gradients(case: Case) -> None:
    """Gradients of an earlier batch do not leak into those of a later one."""
    modalities = case.toys(*WITH_BATCH_NORM)
    method = make_method(case.composition, tiny_model(modalities))
    method.compute_grads(make_batch(modalities, seed=1))
    stream = method.run.generator.get_state()
    later = gradients_of(method, make_batch(modalities))
    fresh = make_method(case.composition, tiny_model(modalities))
    fresh.run.generator.set_state(stream)
    assert_same(later, gradients_of(fresh, make_batch(modalities)), "gradient")


def has_finite_logged_terms(case: Case) -> None:
    """Every loss term is a finite scalar, and is logged."""
    modalities = case.toys(*WITH_BATCH_NORM)
    batch = make_batch(modalities)
    method = make_method(case.composition, tiny_model(modalities), batches=[batch])
    method.epoch_start()
    terms = method.loss(batch)
    expect(bool(terms), "there is no term")
    for name, term in terms.items():
        expect(term.shape == (), f"{name} is not a scalar but of shape {tuple(term.shape)}")
        expect(bool(torch.isfinite(term)), f"{name} is {float(term.detach())}")
    method.run.logs.flush()
    Loop(method).train([batch])
    missing = {f"loss/{name}" for name in terms} - set(method.run.logs.flush())
    expect(not missing, f"{sorted(missing)} not logged: sum the terms with `self.total`")


# Hyper-parameters


def _fields(case: Case) -> list[tuple[str, Any]]:
    return [(c.name, f) for c in case.classes for f in dataclasses.fields(c.Hyperparameters)]


def explains_its_hyperparameters(case: Case) -> None:
    """Hyper-parameters are explained in a line, and defaults and search ranges are valid."""
    for owner, field in _fields(case):
        label, help = f"{owner}.{field.name}", field.metadata.get("help", "")
        expect(len(help) > 10 and "\n" not in help, f"{label} has no line of help: use `hyper`")
        search, values = field.metadata["search"], [field.default]
        if isinstance(search, Choice):
            values += search.valid
        elif search is not None:
            values += [search.low, search.high]
            expect(search.low < search.high, f"the search range of {label} is empty")
        for value in values:
            for given in (value, str(value)):
                resolved = methods.resolve(owner, {owner: {field.name: given}})[owner][field.name]
                expect(resolved == value, f"{label}={given!r} becomes {resolved!r}")


def refuses_wrong_hyperparameters(case: Case) -> None:
    """A hyper-parameter of the wrong type or out of its range is refused."""
    for owner, field in _fields(case):
        wrong: list[Any] = ["nonsense", None]
        kind, low, high = type(field.default), field.metadata["low"], field.metadata["high"]
        if kind is int:
            wrong += [2.5, "2.5"]
        if kind in (int, float):
            wrong += [float("nan"), *(x for x in (low - 1, high + 1) if math.isfinite(x))]
        for value in wrong:
            try:
                methods.create(owner, {owner: {field.name: value}})
            except UsageError as error:
                expect(field.name in str(error), f"{owner}.{field.name}: {error}")
            else:
                raise AssertionError(f"{owner}.{field.name}={value!r} is taken")


def spells_out_its_settings(case: Case) -> None:
    """Settings survive JSON, and the defaults are those of the classes."""
    settings = methods.resolve(case.composition)
    again = json.loads(json.dumps(settings))
    assert_same(methods.resolve(case.composition, again), settings, "settings")
    written_out = methods.create(case.composition, again)
    defaults = methods.create(case.composition)
    expect(written_out.hp == defaults.hp, f"{written_out.hp} is not {defaults.hp}")


CHECKS = (
    repeats,
    continues_from_a_checkpoint,
    learns_a_few_samples_by_heart,
    takes_odd_batches,
    computes_gradients_again,
    forgets_old_gradients,
    has_finite_logged_terms,
    explains_its_hyperparameters,
    refuses_wrong_hyperparameters,
    spells_out_its_settings,
)
