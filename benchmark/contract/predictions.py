"""Checks of what a trained method predicts, on toy batches."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from benchmark.backbones.base import Encoder
from benchmark.contract.case import Case
from benchmark.contract.toys import (
    CLASSES,
    Loop,
    assert_close,
    assert_same,
    expect,
    make_batch,
    make_batches,
    make_method,
    registered_encoder,
    tensors,
    tiny_encoder,
    tiny_model,
    validate,
)
from methods.base import FUSED, Method

WANTED = ("a", "b", "c")
EPOCHS = 12
"""Epochs of one batch each: enough for methods that train in stages to pass through them."""


def trained(
    case: Case, encoder: Callable[[str], Encoder] = tiny_encoder
) -> tuple[Method, set[str]]:
    """Return a method after training and `finalize`, and the parameters that training moved."""
    modalities = case.toys(*WANTED)
    batches = make_batches(modalities)
    method = make_method(case.composition, tiny_model(modalities, encoder=encoder), batches=batches)
    loop = Loop(method)
    before = tensors(method.model)
    torch.manual_seed(0)
    for epoch in range(EPOCHS):
        loop.epoch(epoch, batches[epoch % 4 :][:1])
    validate(method, batches)
    named = method.model.named_parameters()
    moved = {name for name, p in named if not torch.equal(p, before[name])}
    method.finalize()
    return method.eval(), moved


def predicts_repeatably(case: Case) -> None:
    """Predicting twice gives the same, and changes neither state nor random streams."""
    method, _ = trained(case)
    batch = make_batch(case.toys(*WANTED), seed=8)
    held = copy.deepcopy(method.state_dict())
    streams = torch.get_rng_state(), method.run.generator.get_state()
    first = method.predict(batch.features)
    assert_same(method.predict(batch.features), first, "second prediction")
    assert_same(dict(method.state_dict()), dict(held), "state")
    assert_same((torch.get_rng_state(), method.run.generator.get_state()), streams, "streams")
    expect(not any(x.requires_grad for x in first.values()), "predictions carry a gradient")


def predicts_each_sample_alone(case: Case) -> None:
    """A sample's prediction does not depend on its batch, with and without missing modalities."""
    method, _ = trained(case, registered_encoder)
    modalities = case.toys(*WANTED)
    batch = make_batch(modalities, seed=8)
    everything = {k: torch.ones(8, dtype=torch.bool) for k in modalities}
    some = everything | _missing(modalities)
    for present in (everything, some):
        together = method.predict(batch.features, present)
        for i in range(4):  # every combination that is missing
            one = {k: x[i : i + 1] for k, x in batch.features.items()}
            alone = method.predict(one, {k: x[i : i + 1] for k, x in present.items()})
            assert_close(alone, {k: x[i : i + 1] for k, x in together.items()}, 1e-9)


def _missing(modalities: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return a mask in which every sample keeps a modality, and the first is sometimes missing."""
    if len(modalities) == 1:
        return {}
    return {modalities[0]: torch.arange(8) % 2 == 0, modalities[-1]: torch.arange(8) % 4 != 2}


def ignores_missing_modalities(case: Case) -> None:
    """A missing modality's values do not matter, and that it is missing does."""
    modalities = case.toys(*WANTED)
    method, _ = trained(case)
    batch, other = make_batch(modalities, seed=8), make_batch(modalities, seed=9)
    everything = {k: torch.ones(8, dtype=torch.bool) for k in modalities}
    full = method.predict(batch.features)[FUSED]
    assert_same(method.predict(batch.features, everything)[FUSED], full, "with all present")
    if len(modalities) == 1:
        return
    same = []
    for k in modalities:
        missing = everything | {k: torch.zeros(8, dtype=torch.bool)}
        logits = method.predict(batch.features, missing)[FUSED]
        replaced = {**batch.features, k: other.features[k]}
        at = f"the fused prediction without {k}"
        assert_close(method.predict(replaced, missing)[FUSED], logits, 1e-12, at)
        same.append(torch.equal(logits, full))
    expect(not all(same), "predictions are the same whichever modality is missing")


def declares_its_unimodal_heads(case: Case) -> None:
    """Unimodal heads predict exactly where training moves them."""
    method, moved = trained(case)
    modalities = method.model.modalities
    owners = {id(p): name for name, p in method.model.named_parameters()}

    def is_trained(head: nn.Module) -> bool:
        return any(owners.get(id(p)) in moved for p in head.parameters())

    heads = {k for k in modalities if is_trained(method.model.branch(k)[-1])}
    declared = set(modalities) if method.trains_unimodal else set()
    expect(
        heads == declared,
        f"unimodal heads trained: {sorted(heads)}; `trains_unimodal` is {method.trains_unimodal}",
    )
    logits = method.predict(make_batch(modalities).features)
    expect(set(logits) == {FUSED, *heads}, f"predictions of {sorted(logits)}")
    shapes = {tuple(x.shape) for x in logits.values()}
    expect(shapes == {(8, CLASSES)}, f"predictions of shapes {shapes}")


def trains_all_it_predicts_with(case: Case) -> None:
    """Everything that a prediction depends on is trained, every encoder included."""
    method, moved = trained(case)
    modalities = method.model.modalities
    batch = make_batch(modalities)
    before = method.predict(batch.features)
    used = set()
    torch.manual_seed(1)
    for name, p in method.eval_model().named_parameters():
        held = p.detach().clone()
        with torch.no_grad():
            p.add_(torch.randn(p.shape, dtype=p.dtype))
            after = method.predict(batch.features)
            p.copy_(held)
        if any(not torch.equal(after[head], before[head]) for head in before):
            used.add(name)
    unused = {f"encoders.{k}.tail.0.weight" for k in modalities} - used
    expect(not unused, f"predictions do not depend on {sorted(unused)}")
    expect(used <= moved, f"predictions depend on untrained {sorted(used - moved)}")


CHECKS = (
    predicts_repeatably,
    predicts_each_sample_alone,
    ignores_missing_modalities,
    declares_its_unimodal_heads,
    trains_all_it_predicts_with,
)
