"""`python -m methods`: list the methods, show one, or check it against the contract.

The engine carries the command out, in `benchmark.contract.command`: the only module of the engine
that this package imports.
"""

import argparse
import sys
from collections.abc import Sequence

from mmdg_common import Parser, exit_code

EPILOG = """examples:
  python -m methods                            every method and wrapper
  python -m methods show mbcd                  its paper, equations and hyper-parameters
  python -m methods check my_package.my_method   does it keep the contract?
  python -m methods check my_method.py swad+mbcd

passes: forward + backward passes through the encoders per batch and training step; ERM has 1 + 1.
exit codes: 0 done, all checks pass; 1 some fail; 2 wrong use; 130 stopped by Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m methods",
        description="List the methods, show one, or check one against the contract.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="every method and wrapper, by family (the default)")
    show = commands.add_parser("show", help="a method's paper, equations and hyper-parameters")
    show.add_argument("names", nargs="+", metavar="NAME", help="a registered method or wrapper")
    check = commands.add_parser("check", help="run every check of the contract, one line per check")
    check.add_argument(
        "targets",
        nargs="+",
        metavar="WHAT",
        help="a .py file or a dotted module, all of whose methods are checked; or a registered "
        "method or composition",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: _main(arguments), "stopped")


def _main(arguments: Sequence[str] | None) -> int:
    args = parser().parse_args(arguments)
    from benchmark.contract.command import run  # here, because `--help` must not wait for it

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
