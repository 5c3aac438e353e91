"""The published steps of ERM and MBCD: the losses are ours, the work is not."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from support_mbcd import THREE
from support_methods import (
    WITH_BATCH_NORM,
    adam,
    assert_close,
    make_batches,
    make_method,
    tiny_model,
)
from torch import Tensor, nn

from benchmark.speed import __main__ as command
from benchmark.speed import selection
from benchmark.speed.published import PublishedERM, PublishedMBCD
from benchmark.speed.step import Row, published
from benchmark.training.loader import Inputs
from benchmark.training.model import MultimodalModel
from benchmark.training.train import Training
from methods.base import Batch

RATES = {"alpha": 0.05, "beta": 0.9}


def model_with_stems(modalities: tuple[str, ...]) -> MultimodalModel:
    """Return a tiny model with frozen stages, and heads so unlike that modalities are dropped."""
    model = tiny_model(modalities)
    with torch.no_grad():
        for i, k in enumerate(modalities):
            model.encoder(k).stem = nn.Tanh()
            model.heads[k][-1].weight.mul_(6 * i + 1)
    return model


def inputs_of(batch: Batch) -> Inputs:
    return Inputs(batch.features, batch.labels, batch.domains, batch.ids)


@pytest.mark.parametrize("modalities", [("a",), ("a", "b"), WITH_BATCH_NORM, THREE])
def test_losses_equal_ours_over_several_steps(modalities: tuple[str, ...]) -> None:
    mine, theirs = model_with_stems(modalities), model_with_stems(modalities)
    method = make_method("mbcd", mine, **RATES, consistency="first")
    optimizer = adam(method)
    other = PublishedMBCD(
        theirs,
        torch.optim.Adam(theirs.parameters(), lr=1e-2),
        torch.Generator().manual_seed(7),  # as that of the toys
        **RATES,
    )
    terms = dict[str, list[dict[str, Any]]](ours=[], published=[])
    for owner, name in ((method, "ours"), (other, "published")):

        def kept(batch: Any, real: Any = owner.loss, name: str = name) -> Any:
            terms[name].append(real(batch))
            return terms[name][-1]

        owner.loss = kept
    for seed, batch in enumerate(make_batches(modalities, 8)):
        inputs = inputs_of(batch)
        torch.manual_seed(seed)
        features = mine.stem(inputs.tensors, training=True)
        method.compute_grads(Batch(features, batch.labels, batch.domains, batch.ids))
        optimizer.step()
        method.after_step()
        torch.manual_seed(seed)
        other.train_on(inputs)
    for ours, found in zip(terms["ours"], terms["published"], strict=True):
        assert list(found) == list(ours)
        for name, term in ours.items():
            assert_close(found[name], term, 1e-5, name)
    assert terms["ours"][-1]["distill"].item() > 1e-3
    if len(modalities) > 1:
        logs = method.run.logs.flush()
        assert sum(logs[f"effective_drop_rate/{k}"] for k in modalities) > 0.05


@pytest.mark.parametrize("modalities", [("a",), WITH_BATCH_NORM])
def test_erm_learns_the_same_weights(modalities: tuple[str, ...]) -> None:
    mine, theirs = model_with_stems(modalities), model_with_stems(modalities)
    method = make_method("erm", mine)
    optimizer = adam(method)
    other = PublishedERM(theirs, lr=1e-2, weight_decay=0.0)
    for batch in make_batches(modalities, 5):
        inputs = inputs_of(batch)
        torch.manual_seed(1)
        features = mine.stem(inputs.tensors, training=True)
        method.compute_grads(Batch(features, batch.labels, batch.domains, batch.ids))
        optimizer.step()
        torch.manual_seed(1)
        other.train_on(inputs)
    before = model_with_stems(modalities).state_dict()
    for name, value in theirs.state_dict().items():
        assert_close(mine.state_dict()[name], value, 1e-5, name)
    assert any(not torch.equal(before[name], x) for name, x in theirs.state_dict().items())


class Counted(nn.Module):
    """A frozen stage that counts how often it runs, also in copies."""

    ran: ClassVar[Counter[str]] = Counter()

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality = modality

    def forward(self, x: Tensor) -> Tensor:
        self.ran[self.modality] += 1
        return x


@pytest.mark.parametrize(("kind", "times"), [(published, 3), (partial(Row, "mbcd"), 1)])
def test_its_frozen_stages_run_three_times_a_step_and_ours_once(
    kind: Callable[[Training], Row], times: int
) -> None:
    options = command.parser().parse_args(["step", "--modalities", "m1+m2"])
    with selection.selected(options, {"steps": 2}, also=["mbcd"]) as chosen:
        training = chosen.training("mbcd")
        for k in ("m1", "m2"):
            training.model.encoder(k).stem = Counted(k)
        row = kind(training)
        Counted.ran.clear()
        row.measure(2)
    assert Counted.ran == {"m1": 2 * times, "m2": 2 * times}
