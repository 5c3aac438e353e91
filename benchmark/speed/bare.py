"""The training steps of a run in a plain loop, without the engine."""

from collections.abc import Sequence
from unittest import mock

import torch

from benchmark.speed.clock import Seconds
from benchmark.speed.selection import Selection
from benchmark.training import train as engine
from benchmark.training.loader import Inputs
from benchmark.training.train import Training
from methods.base import Batch, Model


def set_up(chosen: Selection, method: str) -> Training:
    """Return the run of a method at its start, without the hooks that count passes."""
    with mock.patch.object(engine, "PassCounter"):
        return chosen.training(method)


def train(training: Training, epochs: int, evaluates: bool) -> Seconds:
    """Train with what was set up: the method, the model and the optimizer.

    Batches are loaded beforehand, an epoch at a time, and nothing is logged.

    Args:
        training: at its start; afterwards its model is trained, but it has no validations.
        epochs: how long.
        evaluates: whether to predict the validation part and the target after every epoch, with the
            models that the engine evaluates.

    Returns:
        What it took, without the loading.
    """
    model, method, run = training.model, training.method, training.run_info
    run.logs.enabled = False
    held_out = [
        [training.received(inputs) for inputs in part.evaluation()]
        for part in (training.val_part, training.target_part)
    ]

    def update() -> None:
        training.optimizer.step()  # a method may have it replaced
        method.after_step()

    spent = Seconds()
    for epoch in range(epochs):
        loaded = training.train_part.training_epoch(epoch)
        batches = [training.received(inputs) for inputs in loaded]
        begun = Seconds.now()
        run.epoch = epoch
        method.epoch_start()
        for inputs in batches:
            run.step += 1
            views = [model.stem(x, training=True) for x in (inputs.tensors, *inputs.second)]
            rest = inputs.labels, inputs.domains, inputs.ids
            method.step(Batch(views[0], *rest, *views[1:]), update)
        method.epoch_end()
        if evaluates:
            _evaluate(training, *held_out)
        spent += Seconds.now() - begun
    return spent


@torch.no_grad()
def _evaluate(training: Training, validation: Sequence[Inputs], target: Sequence[Inputs]) -> None:
    method = training.method
    evaluated, student = method.eval_model(), method.model
    models: list[Model] = [evaluated] if evaluated is student else [evaluated, student]
    method.eval()
    for part, predicting in ((validation, models), (target, [evaluated])):
        for inputs in part:
            features = training.model.stem(inputs.tensors, training=False)
            for model in predicting:
                method.predict(features, model=model)
    method.train()
