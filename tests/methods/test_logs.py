"""What methods log: averages, and the check that losses are finite."""

import math

import pytest
import torch

from methods.logs import Logs, NonFiniteLossError


def test_values_are_averaged_by_name_until_they_are_flushed():
    logs = Logs()
    for value in (1.0, torch.tensor(2.0), torch.tensor([6.0], dtype=torch.float64)):
        logs.add("a", value)
    logs.add("b", 4)
    logs.add_losses(1, {"fused": torch.tensor(0.5)})
    logs.add_losses(2, {"fused": torch.tensor(1.5)})
    assert logs.flush() == {"a": 3.0, "b": 4.0, "loss/fused": 1.0}
    assert logs.flush() == {}


def test_a_value_is_what_it_was_when_it_was_logged_and_holds_no_graph():
    logs = Logs()
    weight = torch.tensor(3.0, requires_grad=True)
    logs.add("a", weight * 2)
    logs.add_losses(1, {"b": weight * 4})
    with torch.no_grad():
        weight.zero_()
    assert logs.flush() == {"a": 6.0, "loss/b": 12.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_told_with_its_step_and_all_terms(bad):
    logs = Logs()
    logs.add_losses(3, {"fused": torch.tensor(1.0), "distill": torch.tensor(2.0)})
    logs.add_losses(4, {"fused": torch.tensor(0.25), "distill": torch.tensor(bad)})
    logs.add_losses(5, {"fused": torch.tensor(math.nan), "distill": torch.tensor(math.nan)})
    with pytest.raises(NonFiniteLossError, match=rf"at step 4: fused=0.25, distill={bad:g}$"):
        logs.settle()


def test_losses_are_checked_but_not_counted_while_logs_are_off():
    logs = Logs()
    logs.enabled = False
    logs.add("a", 1.0)
    logs.add_losses(1, {"fused": torch.tensor(1.0)})
    assert logs.flush() == {}
    logs.add_losses(2, {"fused": torch.tensor(math.nan)})
    with pytest.raises(NonFiniteLossError, match="step 2"):
        logs.state()


def test_averages_go_on_from_a_saved_state():
    logs, other = Logs(), Logs()
    logs.add("a", torch.tensor(1.0))
    other.restore(logs.state())
    other.add("a", 4.0)
    assert other.flush() == {"a": 2.5}
