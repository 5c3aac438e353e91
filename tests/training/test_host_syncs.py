"""Training reads nothing back from the device between validations.

On a GPU every such reading waits until all that was asked of it is done. It is found here by
intercepting what reads a tensor's values into Python, or needs them to know a size.
"""

from collections import Counter

import pytest
import torch
from support_methods import make_batches, make_method, tiny_model
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

METHODS = (
    *("erm", "joint", "unimodal", "late_fusion", "modality_dropout", "mmcosine", "opm", "lfm"),
    *("mla", "reconboost", "gradient_blending", "rna_net", "miro", "ema", "sma", "swa", "swad"),
    *("mbcd", "swad+mbcd"),
)
"""The others take decisions in Python, such as which gradients conflict, or draw on the CPU."""
WAITING_CALLS = {"tolist", "numpy", "cpu", "item", "__array__"}
WAITING_OPERATORS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"}


class Calls(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        self.counts[name] += name in WAITING_CALLS
        return func(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.counts[name] += name in WAITING_OPERATORS or by_mask
        return func(*args, **(kwargs or {}))


def readings(composition, steps=3):
    method = make_method(composition, tiny_model())
    optimizer = torch.optim.Adam(method.param_groups(), fused=True)

    def update():
        optimizer.step()
        method.after_step()

    batches = make_batches(count=steps + 1)
    method.epoch_start()
    method.step(batches[0], update)  # the first may look things up
    with Calls() as calls, Operators() as operators:
        for batch in batches[1:]:
            method.step(batch, update)
    return {name: n for name, n in (calls.counts + operators.counts).items() if n}


@pytest.mark.parametrize(
    "read", [float, bool, int, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy]
)
def test_every_way_to_read_a_value_is_seen(read):
    with Calls() as calls, Operators() as operators:
        read(torch.ones(()))
    assert (calls.counts + operators.counts).total()
    with Operators() as operators:
        torch.ones(3)[torch.ones(3, dtype=torch.bool)]
        torch.ones(3).nonzero()
    assert operators.counts.total() == 2


@pytest.mark.parametrize("composition", METHODS)
def test_a_step_reads_nothing(composition):
    assert readings(composition) == {}
