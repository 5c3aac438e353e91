"""`python -m benchmark.run`: train methods on splits of a dataset, and keep the records."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmark.planning.options import parser
from mmdg_common import UsageError, exit_code, homes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    stopped = "stopped; the same command goes on from the last checkpoint"
    return exit_code(lambda: _main(argv), stopped)


def _main(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mmdg-smoke-") as scratch:
        return _run(args, args.results or Path(scratch if args.smoke else "results"))


def _run(args: argparse.Namespace, results: Path) -> int:
    from benchmark.launch import reuse, status
    from benchmark.launch.inline import Inline
    from benchmark.planning import flags, plan, request, search

    if args.smoke:
        _make_smoke(args)
    roots = {} if args.data_root is None else {args.dataset: args.data_root}
    settings = request.settings(args, results, homes(), roots)
    asked = request.request(args)
    launcher = Inline()
    launcher.check(settings)
    planned = plan.make(asked, settings)
    plan.check_weights([planned], settings)
    for reason in planned.skipped:
        print(f"skipped: {reason}")
    for note in planned.notes:
        print(note)
    if args.dry_run or args.status:
        status.print_states(planned.specs, results)
        if known := len(reuse.available(planned.specs, settings)):
            print(f"{known} of them are in the committed results, so they are not trained again")
        if settings.features:
            status.print_features(settings.features)
        return 0
    if not args.force:
        reuse.take(planned.specs, settings)
    todo = status.pending(planned.specs, results, force=args.force, retry=args.retry_failed)
    if todo:
        status.make_results_folder(results)
        launcher.launch(todo, settings)
    if asked.search:
        written = search.write(planned.specs, results, asked.search_seed)
        print(f"{len(written)} searches, with all they tried and chose: {results / 'searches'}")
    code = status.summary(planned.specs, results)
    if code == 0 and not args.smoke:
        where = f" --results {shlex.quote(str(results))}" if args.results else ""
        untested = [spec for spec in planned.specs if not spec.target]
        for folder in search.chosen(untested, results):
            print(f"predict new recordings: {flags.predicting(str(folder.path))}")
        if not untested:
            print(f"see the table: python -m benchmark.report{where}")
    return code


def _make_smoke(args: argparse.Namespace) -> None:
    """Turn the options into those of one epoch on the synthetic dataset."""
    if args.dataset not in (None, "synthetic"):
        raise UsageError("--smoke runs on the synthetic dataset; leave --dataset out")
    if args.steps is not None:
        raise UsageError("--smoke trains for one epoch; leave --steps out")
    args.dataset, args.epochs = "synthetic", 1
    args.all_splits = args.all_splits or not args.target


if __name__ == "__main__":
    sys.exit(main())
