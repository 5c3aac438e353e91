"""The lines of a job's script: what comes before its process, how that starts, what comes after."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmark.launch.execute import MOST_DEATHS, OUT_OF_TIME
from benchmark.launch.job import AGAIN, ELSEWHERE, GIVE_UP
from benchmark.launch.profile import Profile, megabytes

MOST_ENDS = MOST_DEATHS + 2
"""Unexpected ends in a row after which a job is not queued again: its runs have failed before."""

# The script around the process queues the job again. Requeueing a job ends its script, so that
# the signal is ignored until what changes for the next start is said. One task of an array has the
# number of the whole array, which scontrol takes for all its tasks.
AGAIN_SCRIPT = """
status=$?
trap '' TERM
job=$SLURM_JOB_ID
[ -z "$SLURM_ARRAY_TASK_ID" ] || job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
queue_again() {{
  if ! command -v scontrol > /dev/null; then
    echo "this node has no scontrol to queue the job again: repeat the sweep command," \
      "which submits the runs that are left, or leave --watch running" >&2
    return
  fi
  for wait in 0 2 5 10; do sleep $wait; scontrol requeue $job && break; done
  [ $# -eq 0 ] || scontrol update JobId=$job "$@"
}}
notes={notes}/$SLURM_JOB_ID
case $status in
0 | {give_up}) ;;
{again} | {out_of_time}) queue_again ;;
{elsewhere})
  nodes=$(echo {excluded} $(cat "$notes.excluded") | tr ' ' ,)
  queue_again ExcNodeList=$nodes
  ;;
*)
  mkdir -p {notes}
  echo "ended with code $status on $(hostname)" >> "$notes.ends"
  ends=$(wc -l < "$notes.ends")
  set -- {memory}
  for _ in $(seq $ends); do [ $# -le 1 ] || shift; done
  if [ $ends -lt {most} ]; then
    queue_again ${{1:+MinMemoryNode=$1}}
  else
    echo "$ends unexpected ends in a row: this job is not queued again" >&2
  fi
  ;;
esac
exit $status
"""


def setup(profile: Profile, code: Path) -> list[str]:
    """Return the lines before the process: the site's, and such that Python imports this code."""
    return [
        *profile.setup,
        f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1  # not the working directory's code first",
    ]


def python(profile: Profile, folders: Iterable[Path]) -> str:
    """Return the command that starts Python, in a container where the profile names one.

    Args:
        profile: of the job.
        folders: that the process reads and writes, which a container must show.
    """
    if not profile.apptainer:
        return profile.python or shlex.quote(sys.executable)
    binds = dict.fromkeys([*(shlex.quote(str(folder)) for folder in folders), *profile.binds])
    return " ".join(
        [
            "apptainer exec",
            *(["--nv"] if profile.gpus != "0" else []),
            *(f"--bind {bind}" for bind in binds),
            profile.apptainer,
            profile.python or "python3",
        ]
    )


def teardown(profile: Profile, notes: Path) -> list[str]:
    """Return the lines after the process, which queue the job again where there is need to."""
    text = AGAIN_SCRIPT.format(
        notes=shlex.quote(str(notes)),
        give_up=GIVE_UP,
        again=AGAIN,
        out_of_time=OUT_OF_TIME,
        elsewhere=ELSEWHERE,
        excluded=profile.exclude and shlex.quote(profile.exclude),
        memory=" ".join(str(megabytes(text)) for text in profile.memory),
        most=MOST_ENDS,
    )
    return text.strip().splitlines()
