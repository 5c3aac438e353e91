"""What is measured on: datasets with several modalities and several domains.

`create("utd_mhad", root="...")` returns a `MultimodalDataset`; adding a dataset is one file
with one class decorated by `@register("name")`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdg_common import Registry

if TYPE_CHECKING:
    from datasets.base import MultimodalDataset

_registry: "Registry[type[MultimodalDataset]]" = Registry("dataset", __name__)
register = _registry.register
names = _registry.names


def get(name: str) -> "type[MultimodalDataset]":
    """Return the dataset class called `name`; raise UsageError with the nearest name."""
    return _registry[name]


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
