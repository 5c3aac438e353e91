"""What the tests of averages of weights share."""

import torch
from support_methods import (
    adam,
    tensors,
    train,
)


def floating(values):
    return {name: x for name, x in values.items() if x.is_floating_point()}


def integer(values):
    return {name: x for name, x in values.items() if not x.is_floating_point()}


def students_and_averages(method, batches, lr=1e-2):
    """Return the tensors of student and evaluated model before training and after every step."""
    optimizer = adam(method, lr)
    students, averages = [tensors(method.model)], [tensors(method.eval_model())]
    for batch in batches:
        train(method, [batch], optimizer)
        students.append(tensors(method.model))
        averages.append(tensors(method.eval_model()))
    return students, averages


def means_of(states):
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in floating(states[0])}


def finalized(method):
    method.finalize()
    return tensors(method.eval_model())
