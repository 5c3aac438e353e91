"""What sites have: hidden partitions, containers, several needs, on a real cluster."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from slurm_cluster import Cluster, running
from slurm_sweeps import SLURM, Sweeps, queue
from support import until

from benchmark.records.store import Store

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

PARTITIONS = (
    "PartitionName=night Nodes=ALL State=UP Hidden=YES\nPartitionName=few Nodes=ALL State=UP\n"
)
# As MaxSubmitJobs=3 of an association, which needs a database: each task of an array counts.
FEW = """
local taken = 0
function slurm_job_submit(job, partitions, user)
  if job.partition ~= "few" then return slurm.SUCCESS end
  local last = tonumber(string.match(job.array_inx or "0", "%d+-(%d+)") or 0)
  if taken + last + 1 > 3 then
    slurm.log_user("AssocMaxSubmitJobLimit")
    return slurm.ESLURM_ACCOUNTING_POLICY
  end
  taken = taken + last + 1
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user) return slurm.SUCCESS end
return slurm.SUCCESS
"""
APPTAINER = """#!/bin/bash
# As the real one: options, the image, and what runs in it.
echo "$@" >> {log}
while [ "$1" != /images/mmdg.sif ]; do shift; done
shift
[ "$1" = python3 ] && shift && set -- {python} "$@"
exec "$@"
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Cluster]:
    with running(options=PARTITIONS, submit_lua=FEW) as cluster:
        yield cluster


@pytest.fixture
def sweeps(tmp_path, site) -> Sweeps:
    return Sweeps(tmp_path, {"MMDG_DATA": "/nowhere"})


def test_jobs_run_in_the_container_and_partition_of_the_profile(sweeps):
    tools = sweeps.folder / "tools"
    tools.mkdir()
    log = sweeps.folder / "asked"
    (tools / "apptainer").write_text(APPTAINER.format(log=log, python=sys.executable))
    (tools / "apptainer").chmod(0o755)
    (sweeps.folder / "site.yaml").write_text(
        f"cluster: test\npartition: debug,night\ntime: 30\nsetup: ['export PATH={tools}:$PATH']\n"
        "apptainer: /images/mmdg.sif\nbinds: [/scratch]\nsrun: {mpi: none}\n"
    )
    sweeps.grid("method: erm\nepochs: 1\n")
    sweeps.submit("--jobs", "1")
    (job,) = [re.split("[_ ]", line)[0] for line in queue()]
    shown = subprocess.check_output(["scontrol", "show", "job", job], text=True)
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert re.search(r"Partition=(debug|night|debug,night)\s", shown), shown
    (line,) = log.read_text().splitlines()
    results = sweeps.folder / "slurm"
    expected = f"exec --bind {results} --bind /scratch /images/mmdg.sif python3 -u -m submitit"
    assert line.startswith(expected), line
    script = next(results.rglob("*_submission.sh")).read_text()
    assert re.search(r"^srun .* --mpi=none apptainer exec ", script, re.M), script
    assert "--clusters" not in script


def test_runs_with_other_needs_are_arrays_of_their_own(sweeps, site):
    (sweeps.folder / "site.yaml").write_text(
        "partition: night\ntime: 30\nmemory: 1G\n"
        "overrides:\n- when: {method: joint}\n  memory: 2G\n  gpus: 2\n"
    )
    sweeps.grid("method: [erm, joint]\nepochs: 1\n")
    site.drain()
    try:
        sweeps.submit("--jobs", "4")
        asked = ["squeue", "-hr", "-o%m %b %A"]
        jobs = sorted(subprocess.check_output(asked, text=True).splitlines())
        sizes = [line.rsplit(" ", 1)[0] for line in jobs]
        assert sizes == ["1G N/A", "1G N/A", "2G gres:gpu:2", "2G gres:gpu:2"]
        out = sweeps.submit("--jobs", "4")
        assert "6 runs were in the queue already, 0 are new" in out and "submitted" not in out
        assert re.search(r"6 runs +· +· +6 ", sweeps.run("--status")[1])
    finally:
        site.resume()
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    records = {spec.id: spec.method for spec, _ in Store(sweeps.folder / "slurm").all()}
    files = [json.loads(p.read_text()) for p in (sweeps.folder / "slurm/slurm/jobs").glob("*")]
    of_arrays = [sorted({records[run] for run in array["runs"]}) for array in files]
    assert sorted(of_arrays) == [["erm"], ["joint"]]


def test_where_a_user_may_have_few_jobs_these_share_all_runs(sweeps, site):
    # A job that was never needed may outlive the watch of the test before.
    until("an empty queue", lambda: not queue())
    (sweeps.folder / "site.yaml").write_text("partition: few\ntime: 30\n")
    sweeps.grid("method: [erm, joint]\nepochs: 1\n")
    site.drain()
    try:
        out = sweeps.submit("--jobs", "6")
        assert "the site takes no more than 3 of the 6 jobs now: sbatch: error: Assoc" in out, out
        assert len(queue()) == 3 and re.search(r"6 runs +· +· +6 ", sweeps.run("--status")[1])
        code, out, err = sweeps.run(*SLURM, "--jobs", "6")
        assert (code, err) == (0, ""), (out, err)
        assert "the site takes no more than 3 of the 6 jobs now" in out and len(queue()) == 3
    finally:
        site.resume()
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert re.search(r"6 runs +6 ", out), out
    sweeps.grid("method: ema\nepochs: 1\n")
    code, _, err = sweeps.run(*SLURM)
    assert code == 2 and err.startswith("error: sbatch refused: sbatch: error: AssocMaxSubmit"), err


def test_what_the_site_lacks_is_refused_before_anything_is_submitted(sweeps):
    sweeps.grid("method: erm\nepochs: 1\n")
    for profile, error in (
        ("partition: night,nihgt", "unknown partition 'nihgt'. Did you mean 'night'?"),
        ("sbatch: {bogus: 1}", "sbatch: unrecognized option '--bogus=1'; correct `sbatch` in"),
        ("srun: {bogus: true}", "srun: unrecognized option '--bogus'; correct `srun` in the pro"),
        ("gpus: a100:1", "sbatch refused: sbatch: error: Batch job submission failed: Requested"),
        (
            "overrides:\n- {when: {method: joint}, partition: nope}",
            "unknown partition 'nope'.",
        ),
    ):
        (sweeps.folder / "site.yaml").write_text(profile + "\n")
        code, _, err = sweeps.run(*SLURM)
        assert code == 2 and err.startswith(f"error: {error}") and err.count("\n") == 1, err
    until("an empty queue", lambda: not queue())
