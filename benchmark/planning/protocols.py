"""What `--protocol` says of a dataset and of a method."""

from collections.abc import Sequence

import datasets
import methods
from datasets.base import PublishedPipeline
from methods.published import PublishedScript
from mmdg_common import UsageError

FAIR = "fair"


def pipeline(name: str, dataset: str) -> PublishedPipeline:
    """Return what a protocol says of a dataset; nothing under `fair`.

    Raises:
        UsageError: the protocol is `reference`, and the dataset has no public scripts.
    """
    if name == FAIR:
        return PublishedPipeline({}, {})
    published = datasets.get(dataset).published
    if published is None:
        having = [other for other in datasets.names() if datasets.get(other).published]
        raise UsageError(
            f"--protocol {name} is not available for {dataset}: it follows "
            f"public scripts, which there are for {' and '.join(having)}. Leave it out"
        )
    return published


def scripts(name: str, asked: Sequence[str]) -> dict[str, PublishedScript]:
    """Return the compositions to run with what a protocol says of each; nothing under `fair`.

    Raises:
        UsageError: a method is unknown, or parts cannot be combined.
    """
    found = {}
    for composition in asked:
        *wrappers, inner = methods.components(composition)
        script = PublishedScript() if name == FAIR else inner.published
        parts = [*(cls.name for cls in wrappers), script.composition or inner.name]
        found[methods.canonical("+".join(parts))] = script
    return found
