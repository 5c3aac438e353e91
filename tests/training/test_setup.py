"""How many loading processes a run has."""

import os
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from support import tiny_specs

from benchmark.settings import RunSettings
from benchmark.training import setup

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Return a function that asks on a made-up machine with a GPU."""

    def make(cores=16, free=10**12, decodes=True, device="cuda", **settings):
        (spec,) = tiny_specs(tmp_path)
        how = RunSettings(tmp_path, **settings)
        dataset = how.open_dataset(spec.dataset, spec.options)
        monkeypatch.setattr(type(dataset), "decodes", decodes)
        monkeypatch.setattr(RunSettings, "torch_device", lambda self: torch.device(device))
        if cores is not None:
            monkeypatch.setattr(setup, "available_cores", lambda: cores)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free, 0, free))
        return setup.workers(replace(spec, seed=1), dataset, how)

    return make


def test_a_gpu_gets_the_cores_that_are_left_where_samples_are_decoded(ask):
    assert ask() == 15
    assert ask(threads=4) == 12
    assert ask(cores=2, threads=8) == 0
    assert ask(processes=4, threads=1) == 3
    assert ask(decodes=False) == ask(device="cpu") == 0


def test_shared_memory_must_hold_the_batches_under_way(ask):
    assert ask(free=0) == 0
    assert 0 < ask(free=10**5) < 15


def test_a_number_that_is_given_counts(ask):
    assert ask(workers=3, device="cpu", decodes=False) == 3
    assert ask(workers=0) == 0


def test_a_job_loads_on_its_own_cores_and_not_on_all_of_its_node(ask, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert ask(cores=None) == 1
