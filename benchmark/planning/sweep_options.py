"""The options of `benchmark.sweep`."""

import argparse

from benchmark.planning import choice, options
from benchmark.planning.flag_kinds import path
from mmdg_common import Parser, UsageError

EPILOG = """examples:
  python -m benchmark.sweep sweeps/smoke.yaml                         # one run after the other
  python -m benchmark.sweep sweeps/smoke.yaml --launcher local        # several at a time
  python -m benchmark.sweep sweeps/paper_multi_source.yaml --launcher slurm --profile one_gpu \\
      --data-root hac=DIR epic_kitchens=DIR                           # submits, and returns
  python -m benchmark.sweep sweeps/paper_multi_source.yaml --status      # of what was launched
  python -m benchmark.sweep sweeps/leaderboard.yaml --only seed=0 dataset=mex --dry-run

Every command is safe to repeat: done runs are skipped, queued ones are not submitted again,
interrupted ones resume. Options on the command line win over those in the grid.
exit codes: 0 done, submitted or left to processes that are at it, 1 some runs failed or are left to
do, 2 wrong use
"""
MOST_JOBS = 100_000
FORMATS = ("text", "html")


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.sweep",
        description="Carry out every run of a grid, here or on a SLURM cluster.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("grid", type=path, metavar="GRID", help="a YAML file, such as sweeps/smoke.yaml")
    where = options.add_where(p)
    options.add_data_roots(where)
    # The same everywhere, so that the same sweep gives the same bits wherever it runs.
    p.set_defaults(threads=1)
    how = p.add_argument_group("how to carry it out")
    how.add_argument(
        "--launcher",
        default="inline",
        metavar="NAME",
        help="inline (the default), local, slurm, or that of an installed package",
    )
    options.PROCESSES.declare(how)
    how.add_argument(
        "--profile", metavar="NAME", help="slurm: a file of sweeps/profiles, or any other .yaml"
    )
    how.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="slurm: how many jobs share the runs (default: one for each run, but at most 16)",
    )
    how.add_argument(
        "--notify",
        metavar="COMMAND",
        help="run this in a shell when the sweep ends that is carried out here or watched; it "
        "finds what happened in $MMDG_TEXT, $MMDG_DONE, $MMDG_FAILED, ...",
    )
    choice.declare(p.add_argument_group("which runs, and in which order"))
    shown = p.add_argument_group("how to show it")
    shown.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="html: with --status, write a page for a phone instead of printing",
    )
    shown.add_argument(
        "--output",
        type=path,
        metavar="FILE",
        help="of the page (default: RESULTS/status.html)",
    )
    mode = p.add_argument_group("instead").add_mutually_exclusive_group()
    mode.add_argument(
        "--dry-run", action="store_true", help="count the runs and estimate their cost"
    )
    mode.add_argument(
        "--status", action="store_true", help="show the state of the runs, queue included"
    )
    mode.add_argument(
        "--watch",
        action="store_true",
        help="the same, live, until all runs have ended; with --launcher slurm, submit again what "
        "no job is left for",
    )
    mode.add_argument(
        "--cancel", action="store_true", help="take the sweep's jobs out of the queue"
    )
    mode.add_argument(
        "--retry-failed",
        nargs="?",
        const="",
        metavar="TEXT",
        help="run only the failed runs, from their start; with TEXT, those whose error holds it",
    )
    return p


def check(args: argparse.Namespace) -> None:
    """Raise UsageError where options are out of range, or contradict each other."""
    options.PROCESSES.check(args.processes)
    if not 0 <= args.jobs <= MOST_JOBS:
        raise UsageError(f"--jobs is a number from 1 to {MOST_JOBS}, not {args.jobs}")
    if args.format == "html" and not args.status:
        raise UsageError("--format html is a page of the state of the runs: add --status")
    if args.output is not None and args.format != "html":
        raise UsageError("--output is for a page: add --format html")
    if args.watch and args.budget:
        raise UsageError("--budget is for one submission: leave --watch out, and watch afterwards")
