"""What is measured on: datasets with several modalities and several domains.

`create("utd_mhad", root="...")` returns a `MultimodalDataset`; adding a dataset is one file
with one class decorated by `@register("name")`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdg_common import Registry, UsageError

if TYPE_CHECKING:
    from datasets.base import MultimodalDataset

_registry: "Registry[type[MultimodalDataset]]" = Registry("dataset", __name__)
register = _registry.register
names = _registry.names


def get(name: str) -> "type[MultimodalDataset]":
    """Return the dataset class called `name`; raise UsageError with the nearest name."""
    return _registry[name]


def place(name: str, homes: Sequence[Path]) -> Path:
    """Return the folder of a dataset where none is given: the first home that has one.

    Where no home has one, it belongs into the first; see `mmdg_common.homes`.
    """
    places = [home / name for home in homes]
    return next((place for place in places if place.is_dir()), places[0])


def not_found(name: str, homes: Sequence[Path], option: str) -> UsageError:
    """Return the error for a dataset that is in no home; `option` is how to give its folder."""
    *given, default = [str(home / name) for home in homes]
    named = given[0] if given else "not set"
    text = (
        f"{name} is in none of the places where it was looked for: --data-root (not given), "
        f"$MMDG_DATA/{name} ({named}), {default}. Name your copy with {option}"
    )
    cls = get(name)
    if cls.offers_download():
        return UsageError(f"{text}, or fetch one: python -m datasets.prepare {name} --download")
    return UsageError(f"{text}. To get the data, {cls.card.source}")


def create(
    name: str, root: str | Path | None = None, cache: str | Path | None = None, **options: Any
) -> "MultimodalDataset":
    """Open the dataset called `name`.

    Args:
        name: a registered dataset.
        root: the folder that holds the user's own copy; unused by datasets made in memory.
        cache: a folder for pre-processed data, rebuilt whenever it is missing.
        options: the dataset's own options, by name; texts are converted to the option's type.

    Raises:
        UsageError: the name or an option is unknown, the data is missing or broken, or a domain
            has a name that tables cannot show.
    """
    from datasets.base import check_names

    dataset = get(name)(
        root=None if root is None else Path(root),
        cache=None if cache is None else Path(cache),
        options=options,
    )
    check_names(dataset.card)
    return dataset
