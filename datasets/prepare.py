"""`python -m datasets.prepare`: fetch a dataset, check it on disk, and pre-process it once.

Prints how many recordings each domain and class has, then everything that is wrong. Fetches what
the encoders of a dataset start from, too.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mmdg_common import INTERRUPTED, Parser, UsageError, exit_code, homes

if TYPE_CHECKING:
    from datasets.base import MultimodalDataset

EPILOG = """examples:
  python -m datasets.prepare hac --download               the data, and what its encoders start from
  python -m datasets.prepare utd_mhad --root DIR --cache results/cache
  python -m datasets.prepare sp_sw_har utd_mhad dsads mex several at once, each in its usual place
  python -m datasets.prepare epic_kitchens --checkpoints  only what its encoders start from
  python -m datasets.prepare hac --root NEW_DIR --fabricate 4   made-up clips, to try things out

exit codes: 0 the data is complete, 1 something is wrong with it, 2 wrong use
"""

STOPPED = "stopped; the same command goes on from here"


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    p = Parser(
        prog="python -m datasets.prepare",
        description="Check a dataset on disk: every file is there and can be read. "
        "Some can be fetched, or made up, first.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("dataset", metavar="NAME", nargs="+", help="registered datasets")
    p.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="where your copy of it is (default: $MMDG_DATA/NAME, else data/NAME); for one NAME",
    )
    p.add_argument(
        "--cache", type=Path, metavar="DIR", help="also pre-process complete data into this folder"
    )
    what = p.add_mutually_exclusive_group()
    what.add_argument("--verify", action="store_true", help="only check (the default)")
    what.add_argument(
        "--download",
        action="store_true",
        help="first fetch what is not there yet, the official checkpoints of the dataset's "
        "encoders included, then check",
    )
    what.add_argument(
        "--checkpoints",
        nargs="*",
        metavar="ENCODER",
        help="only fetch official checkpoints into $MMDG_DATA/checkpoints, else data/checkpoints: "
        "those of the encoders named (default: the dataset's encoders)",
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
    return exit_code(lambda: _main(parser().parse_args(arguments), homes()), STOPPED)


def _main(options: argparse.Namespace, places: Sequence[Path]) -> int:
    names = list(dict.fromkeys(options.dataset))
    if len(names) > 1 and options.root is not None:
        raise UsageError(f"--root is the folder of one dataset, and there are {len(names)}")
    codes = []
    for name in names:  # a dataset that is missing does not keep the others from being checked
        codes.append(exit_code(partial(_prepare, name, options, places), STOPPED))
        if codes[-1] == INTERRUPTED:
            break
    return max(codes)


def _prepare(name: str, options: argparse.Namespace, places: Sequence[Path]) -> int:
    import datasets  # not above: `--help` must not wait for torch

    root = options.root
    if root is None and datasets.get(name).needs_root:
        root = datasets.place(name, places)
        if options.checkpoints is None:
            print(f"{name}: no --root given, so in {root}")
    if options.checkpoints is not None:
        fetch_checkpoints(options.checkpoints or default_encoders(name, root), places)
        return 0
    if options.download or options.fabricate is not None:
        fill(name, root, options.fabricate)
    if options.download:
        fetch_checkpoints(default_encoders(name, root), places)
    return check(name, root, options.cache)


def fill(name: str, root: Path | None, fabricated: int | None) -> None:
    """Download a dataset into `root`, or fabricate that many recordings of each class there.

    Raises:
        UsageError: the dataset does not offer it, or it cannot be done.
    """
    import datasets
    from datasets.media.fabricate import is_fabricated

    cls = datasets.get(name)
    if not cls.reads_root:
        raise UsageError(f"{name} is made in memory: there is nothing to put into a folder")
    if root is None:
        raise UsageError(f"{name}: name the folder to write to: --root NEW_DIR")
    if fabricated is not None:
        cls.fabricate(root, fabricated)
    elif is_fabricated(root):
        raise UsageError(
            f"{root} holds made-up recordings of {name}; delete it, or download into another "
            "folder: --root DIR"
        )
    else:
        cls.download(root)


def default_encoders(name: str, root: Path | None) -> list[str]:
    """Return the encoders that a dataset's modalities have unless another is asked for."""
    import datasets

    # The card of some datasets depends on what is in the folder.
    card = getattr(datasets.get(name), "card", None) or datasets.create(name, root).card
    return [modality.encoder for modality in card.modalities]


def fetch_checkpoints(encoders: Iterable[str], places: Sequence[Path]) -> None:
    """Download the official checkpoints of encoders, leaving out what is there already.

    Raises:
        UsageError: an encoder is unknown, or its checkpoint cannot be fetched.
    """
    # Here alone, because datasets know nothing of what reads them.
    from benchmark import backbones
    from benchmark.backbones import download

    for encoder in dict.fromkeys(encoders):
        checkpoint = backbones.checkpoint(encoder)
        if checkpoint is None:
            print(f"{encoder}: has no checkpoint, and is trained from scratch")
        else:
            print(f"{encoder}: {download.fetch(checkpoint, places)}")


def check(name: str, root: Path | None, cache: Path | None) -> int:
    """Print what a dataset holds and what is wrong with it; return the exit code.

    Raises:
        UsageError: the name is unknown, or there is nothing to check at `root`.
    """
    import datasets
    from datasets import duplicates

    if not datasets.get(name).reads_root:
        print(f"{name} is made in memory: there is nothing to prepare.")
        return 0
    dataset = datasets.create(name, root, cache)
    unreadable = None
    try:
        print_counts(dataset)
    except UsageError as error:  # of one file; `verify` names all
        unreadable, looks = error, dataset.verify()
    else:
        looks = chain(empty_classes(dataset), dataset.verify(), duplicates.anywhere(dataset))
        for remark in dataset.remarks():
            print(f"note: {remark}")
    problems = 0
    for problem in looks:
        problems += 1
        print(f"wrong: {problem}", flush=True)
    if unreadable is not None and not problems:
        raise unreadable
    if problems:
        places = f"{problems} place{'s' * (problems > 1)}"
        print(f"{name}: wrong in {places}. To get the data, {dataset.card.source}")
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
