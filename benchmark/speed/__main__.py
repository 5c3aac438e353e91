"""`python -m benchmark.speed`: measure how fast parts of the suite are on this machine."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.speed import decode, report, sweep
from mmdg_common import INTERRUPTED, UsageError

EPILOG = """examples:
  python -m benchmark.speed decode
  python -m benchmark.speed decode --keyframe-every 12
  python -m benchmark.speed decode --videos path/to/hac/human/videos --clips 50
  python -m benchmark.speed sweep
  python -m benchmark.speed sweep --submit 10000 --profile my_site.yaml
  python -m benchmark.speed report

exit codes: 0 done, 2 wrong use
"""
MEASURE = {"decode": decode.run, "sweep": sweep.run, "report": report.run}


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = argparse.ArgumentParser(
        prog="python -m benchmark.speed",
        description="Measure how fast parts of the suite are on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_decode(
        what.add_parser(
            "decode",
            help="decoding the frames that training needs, against decoding whole clips",
            description="Decode training clips from videos, taking only the frames that are "
            "needed and taking them out of all frames, in turns and in one thread.",
        )
    )
    _add_sweep(
        what.add_parser(
            "sweep",
            help="planning sweeps, asking how they stand and submitting them, by their size",
            description="Plan made-up grids, deduplicate them, and ask how their runs stand and "
            "which are left, with made-up records of some. Nothing is trained.",
        )
    )
    sizes = " ".join(map(str, report.SIZES))
    what.add_parser(
        "report",
        help="reading records and making tables of them, by their number",
        description="Read made-up records with predictions, and make tables and the page of them.",
    ).add_argument(
        "--runs",
        type=int,
        nargs="+",
        metavar="N",
        help=f"sizes, rounded up to multiples of {report.PER_METHOD} (default {sizes})",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        MEASURE[options.what](options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def _add_decode(p: argparse.ArgumentParser) -> None:
    add = p.add_argument
    add("--videos", type=Path, metavar="DIR", help="your own mp4 files; default: made-up ones")
    add("--clips", type=int, default=8, metavar="N", help="videos; of DIR the first N (default 8)")
    add("--rounds", type=int, default=5, metavar="N", help="clips out of each video (default 5)")
    add = p.add_argument_group("made-up videos").add_argument
    default = {name: f"(default {value})" for name, value in decode.MADE_UP.items()}
    add("--frames", type=int, metavar="N", help=f"frames of each {default['frames']}")
    add("--size", metavar="WxH", help=f"in pixels {default['size']}")
    add(
        "--keyframe-every",
        type=int,
        metavar="N",
        help=f"frames between two at which decoding can start {default['keyframe_every']}",
    )


def _add_sweep(p: argparse.ArgumentParser) -> None:
    sizes = " ".join(map(str, sweep.SIZES))
    p.add_argument(
        "--runs",
        type=int,
        nargs="+",
        metavar="N",
        help=f"sizes of grids, rounded up to multiples of {sweep.PER_SEED} (default {sizes}; with "
        "--submit none)",
    )
    add = p.add_argument_group("SLURM").add_argument
    add(
        "--submit",
        type=int,
        metavar="N",
        help="submit N/10 and N runs that may not start, and cancel them",
    )
    add("--profile", metavar="NAME", help="a file of sweeps/profiles, or any other .yaml")
    add("--array-size", type=int, metavar="N", help="tasks in one array (default: the site's most)")


if __name__ == "__main__":
    sys.exit(main())
