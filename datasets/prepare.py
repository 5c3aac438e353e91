"""`python -m datasets.prepare`: fetch a dataset, check it on disk, and pre-process it once.

Prints how many recordings each domain and class has, then everything that is wrong.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mmdg_common import UsageError

if TYPE_CHECKING:
    from datasets.base import MultimodalDataset

EPILOG = """examples:
  python -m datasets.prepare utd_mhad --root DIR --cache results/cache
  python -m datasets.prepare hac --root DIR --download
  python -m datasets.prepare hac --root NEW_DIR --fabricate 4   made-up clips, to try things out

exit codes: 0 the data is complete, 1 something is wrong with it, 2 wrong use
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = argparse.ArgumentParser(
        prog="python -m datasets.prepare",
        description="Check a dataset on disk: every file is there and can be read. "
        "Some can be fetched, or made up, first.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("dataset", metavar="NAME", help="a registered dataset")
    p.add_argument("--root", type=Path, metavar="DIR", help="where your copy of it is")
    p.add_argument(
        "--cache", type=Path, metavar="DIR", help="also pre-process complete data into this folder"
    )
    what = p.add_mutually_exclusive_group()
    what.add_argument("--verify", action="store_true", help="only check (the default)")
    what.add_argument(
        "--download", action="store_true", help="first fetch what is not in DIR yet, then check"
    )
    what.add_argument(
        "--fabricate",
        type=int,
        metavar="N",
        help="first write N made-up recordings of each class and domain into DIR, a new folder",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.download or options.fabricate is not None:
            fill(options.dataset, options.root, options.fabricate)
        return check(options.dataset, options.root, options.cache)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def fill(name: str, root: Path | None, fabricated: int | None) -> None:
    """Download a dataset into `root`, or fabricate that many recordings of each class there.

    Raises:
        UsageError: the dataset does not offer it, or it cannot be done.
    """
    import datasets

    cls = datasets.get(name)
    if not cls.needs_root:
        raise UsageError(f"{name} is made in memory: there is nothing to put into a folder")
    if root is None:
        raise UsageError("say where to put the files: --root DIR")
    if fabricated is None:
        cls.download(root)
    else:
        cls.fabricate(root, fabricated)


def check(name: str, root: Path | None, cache: Path | None) -> int:
    """Print what a dataset holds and what is wrong with it; return the exit code.

    Raises:
        UsageError: the name is unknown, or there is nothing to check at `root`.
    """
    import datasets  # not above: `--help` must not wait for torch
    from datasets import duplicates

    if not datasets.get(name).needs_root:
        print(f"{name} is made in memory: there is nothing to prepare.")
        return 0
    dataset = datasets.create(name, root, cache)
    print_counts(dataset)
    problems = 0
    for problem in chain(empty_classes(dataset), dataset.verify(), duplicates.anywhere(dataset)):
        problems += 1
        print(f"wrong: {problem}", flush=True)
    if problems:
        print(f"{name}: wrong in {problems} places. To get the data, {dataset.card.source}")
        return 1
    print(f"{name}: complete.")
    if cache is not None:
        dataset.prepare([modality.name for modality in dataset.card.modalities])
        print(f"pre-processed into {cache}")
    return 0


def class_counts(dataset: "MultimodalDataset", domain: str) -> list[int]:
    """Return the recordings of each class of the card in one domain."""
    counts = Counter(sample.label for sample in dataset.samples(domain, "target"))
    return [counts[label] for label in range(len(dataset.card.classes))]


def print_counts(dataset: "MultimodalDataset") -> None:
    """Print the recordings of every domain, and the range over its classes."""
    counts = {domain: class_counts(dataset, domain) for domain in dataset.card.domains}
    total = sum(map(sum, counts.values()))
    print(
        f"{dataset.card.name}: {total} recordings of {len(dataset.card.classes)} classes "
        f"in {len(counts)} domains"
    )
    for domain, per_class in counts.items():
        span = f"{min(per_class)} to {max(per_class)}"
        print(f"  {domain}: {sum(per_class)} recordings, {span} of each class")


def empty_classes(dataset: "MultimodalDataset") -> Iterator[str]:
    """Yield the domains that lack a class altogether."""
    for domain in dataset.card.domains:
        empty = class_counts(dataset, domain).count(0)
        if empty:
            total = len(dataset.card.classes)
            yield f"{empty} of {total} classes have no recording in domain {domain}"


if __name__ == "__main__":
    sys.exit(main())
