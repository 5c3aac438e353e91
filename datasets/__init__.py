"""What is measured on: datasets with several modalities and several domains.

`create("utd_mhad", root="...")` returns a `MultimodalDataset`; adding a dataset is one file
with one class decorated by `@register("name")`.
"""

from collections.abc import Mapping, Sequence
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
            Any dataset takes `hold_out_classes`, names or indices of classes joined by commas:
            it is opened without them.

    Raises:
        UsageError: the name, an option or a class is unknown, the data is missing or broken, or a
            domain has a name that tables cannot show.
    """
    from datasets.card import check_names
    from datasets.without_classes import without_classes

    dataset = get(name)(
        root=None if root is None else Path(root),
        cache=None if cache is None else Path(cache),
        options=_own(options),
    )
    check_names(dataset.card)
    return without_classes(dataset, options)


def to_predict(
    name: str,
    root: Path | None,
    options: Mapping[str, Any],
    modalities: Sequence[str],
    classes: Sequence[str],
) -> "MultimodalDataset":
    """Open recordings that a trained run is to predict; see `MultimodalDataset.to_predict`.

    They may be of classes that the run held out.
    """
    from datasets.without_classes import without_classes

    dataset = get(name).to_predict(root, _own(options), modalities, classes)
    # Recordings without labels have the classes that they are told to have.
    whole = dataset.card.classes == tuple(classes)
    return dataset if whole else without_classes(dataset, options)


def _own(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a dataset's own class knows."""
    from datasets.base import HOLD_OUT

    return {name: value for name, value in options.items() if name != HOLD_OUT}
