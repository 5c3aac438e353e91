"""Errors of machines are told from those of runs."""

import errno

import pytest
import torch
from support import Silent, tiny_specs

from benchmark.launch import faults
from benchmark.launch.execute import execute
from benchmark.launch.inline import carry_out
from benchmark.launch.todo import Listed
from benchmark.records import claims
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.train import Training

MACHINE = {
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "stale": OSError(errno.ESTALE, "Stale file handle"),
    "io": OSError(errno.EIO, "Input/output error"),
    "illegal address": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "ecc": torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    "no gpu": RuntimeError("No CUDA GPUs are available"),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    "not built": AssertionError("Torch not compiled with CUDA enabled"),
}
RUN = {
    "value": ValueError("CUDA error in a text of somebody's own"),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "cublas memory": RuntimeError("CUDA error: out of memory"),
    "missing": FileNotFoundError(errno.ENOENT, "No such file"),
    "assert": torch.AcceleratorError("CUDA error: device-side assert triggered"),
}


@pytest.mark.parametrize("name", MACHINE)
def test_what_no_run_can_help_is_the_machines(name):
    assert faults.of_machine(MACHINE[name])
    assert faults.ends_process(MACHINE[name])
    try:
        try:
            raise MACHINE[name]
        except Exception as error:
            raise ValueError("wrapped on its way") from error
    except ValueError as wrapped:
        assert faults.of_machine(wrapped)


@pytest.mark.parametrize("name", RUN)
def test_other_errors_are_the_runs(name):
    assert not faults.of_machine(RUN[name])
    # Nothing works on a GPU after an assertion on it, whosever fault it is.
    assert faults.ends_process(RUN[name]) == (name == "assert")


@pytest.mark.parametrize("name", ["full disk", "ecc", "not built"])
def test_a_machine_at_fault_stops_there_and_leaves_runs_to_be_resumed(
    tmp_path, monkeypatch, capsys, name
):
    first, second = tiny_specs(tmp_path, seeds=(0, 1))

    def broken(self, inputs):
        if self.run_info.step == 3:
            raise MACHINE[name]
        return plain(self, inputs)

    plain = Training.train_on
    monkeypatch.setattr(Training, "train_on", broken)
    settings = RunSettings(tmp_path, threads=1, checkpoint_every=0, confirm_failures=True)
    reason = carry_out(Listed([first, second]), 2, settings)
    assert reason.startswith(f"{claims.host()} cannot carry out runs: ")
    status = Store(tmp_path).folder(first).status()
    assert (status.state, status.error, status.failed_on) == ("interrupted", reason, "")
    assert Store(tmp_path).folder(first).checkpoint.exists()
    assert Store(tmp_path).folder(second).status().state == "to do"
    monkeypatch.setattr(Training, "train_on", plain)
    assert execute(first, settings, Silent()).state == "done"
    assert "resumed at step 3" in (Store(tmp_path).folder(first).path / "log.txt").read_text()


def test_a_failure_is_the_runs_if_two_machines_find_it(tmp_path, monkeypatch):
    (spec,) = tiny_specs(tmp_path)
    folder = Store(tmp_path).folder(spec)

    def fails(self, inputs):
        raise LookupError("no such thing")

    monkeypatch.setattr(Training, "train_on", fails)
    settings = RunSettings(tmp_path, threads=1, confirm_failures=True)
    monkeypatch.setenv("SLURMD_NODENAME", "one")
    for _ in range(2):  # however often on the same one
        ending = execute(spec, settings, Silent())
        assert (ending.state, ending.over) == ("interrupted", False)
        assert folder.status().failed_on == "one"
        assert "no such thing (on one; to be tried on another machine)" in folder.status().error
    monkeypatch.setenv("SLURMD_NODENAME", "two")
    assert execute(spec, settings, Silent()).state == "failed"
    assert folder.status().error == "LookupError: no such thing"
    folder.await_retry()
    assert execute(spec, settings, Silent()).state == "interrupted"  # counted anew
    monkeypatch.undo()
    monkeypatch.setenv("SLURMD_NODENAME", "one")
    assert execute(spec, settings, Silent()).state == "done"
    assert folder.status().failed_on == ""


def test_alone_a_machine_decides_at_once(tmp_path, monkeypatch):
    (spec,) = tiny_specs(tmp_path)
    monkeypatch.setattr(Training, "train_on", lambda self, inputs: 1 / 0)
    assert execute(spec, RunSettings(tmp_path, threads=1), Silent()).state == "failed"
