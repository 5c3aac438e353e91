"""`python -m benchmark.speed`: measure how fast parts of the suite are on this machine."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from benchmark.speed import SubCommand, cache, decode, engine, step
from mmdg_common import Parser, exit_code

EPILOG = """examples:
  python -m benchmark.speed step --method erm mbcd swad+mbcd
  python -m benchmark.speed step --published --dataset sp_sw_har --threads 1
  python -m benchmark.speed run --dataset utd_mhad --modalities skeleton+accelerometer
  python -m benchmark.speed cache --dataset hac --method mbcd --views 2
  python -m benchmark.speed decode
  python -m benchmark.speed decode --keyframe-every 12
  python -m benchmark.speed decode --videos path/to/hac/human/videos --clips 50

exit codes: 0 done, 1 a file cannot be read or written, 2 wrong use
"""
SUB_COMMANDS: Mapping[str, SubCommand] = {
    "step": step,
    "run": engine,
    "cache": cache,
    "decode": decode,
}


def parser() -> Parser:
    """Return the command's options."""
    p = Parser(
        prog="python -m benchmark.speed",
        description="Measure how fast parts of the suite are on this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, command in SUB_COMMANDS.items():
        command.add_options(
            what.add_parser(name, help=command.HELP, description=command.DESCRIPTION)
        )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: _main(arguments), "stopped")


def _main(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
    SUB_COMMANDS[options.what].run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
