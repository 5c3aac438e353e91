"""Write the tables of methods and datasets into their pages: `python docs/generate.py`.

Each table stands between two comments of its page. A test compares them with the registries.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import methods
from benchmark.reporting.write import markdown

if TYPE_CHECKING:
    from datasets.base import Card, MultimodalDataset, Recipe
    from methods.base import Method

DOCS = Path(__file__).resolve().parent
SUITE = ("methods.", "datasets.")
"""Modules of the suite; installed packages may register methods and datasets of their own."""


def methods_table() -> str:
    """Return one row per method and wrapper, by family."""
    from methods.base import FAMILIES

    own = [cls for cls in map(_method, methods.names()) if cls.__module__.startswith(SUITE)]
    own.sort(key=lambda cls: (FAMILIES.index(cls.family), cls.name))
    rows = [
        (
            f"`{cls.name}`" + (" (wrapper)" if cls.is_wrapper else ""),
            cls.family,
            _first_line(cls),
            cls.paper,
        )
        for cls in own
    ]
    return table(("name", "family", "what it does", "paper"), rows)


def datasets_table() -> str:
    """Return one row per dataset."""
    head = ("name", "what it holds", "modalities (default encoder)", "domains", "classes", "recipe")
    return table(head, [_dataset_row(name) for name in _own_datasets()])


def options_table() -> str:
    """Return one row per dataset that has options: the options with their defaults."""
    rows = []
    for name in _own_datasets():
        options = [f"`{f.name}={f.default}`" for f in fields(datasets.get(name).Options)]
        if options:
            rows.append((f"`{name}`", " ".join(options)))
    return table(("dataset", "options and their defaults"), rows)


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "methods.md": {"methods": methods_table},
    "datasets.md": {"datasets": datasets_table, "options": options_table},
}
"""By page, what makes each of its tables."""


def generated(page: str) -> str:
    """Return a page with its tables as the registries have them now.

    Raises:
        ValueError: the page lacks the comments between which a table stands.
    """
    return markdown.filled((DOCS / page).read_text(), TABLES[page], "docs/generate.py")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _method(name: str) -> "type[Method]":
    return methods.components(name)[0]


def _first_line(cls: type) -> str:
    return (cls.__doc__ or "").splitlines()[0].rstrip(".")


def _own_datasets() -> list[str]:
    return [n for n in datasets.names() if datasets.get(n).__module__.startswith(SUITE)]


def _dataset_row(name: str) -> tuple[str, ...]:
    cls = datasets.get(name)
    what = (f"`{name}`", _first_line(cls))
    card, default = _card(name, cls)
    if card is None:
        return (*what, "yours", "yours", "yours", _recipe(getattr(cls, "recipe", None)))
    modalities = ", ".join(f"{m.name} (`{m.encoder}`)" for m in card.modalities)
    numbers = (", ".join(card.domains), str(len(card.classes)))
    return (*what, *(f"{text}{default}" for text in (modalities, *numbers)), _recipe(card.recipe))


def _card(name: str, cls: "type[MultimodalDataset]") -> "tuple[Card | None, str]":
    """Return the card of a dataset, if it has one without files, and what limits its truth."""
    if card := getattr(cls, "card", None):
        return card, ""
    if not cls.needs_root:
        return datasets.create(name).card, " by default"
    return None, ""


def _recipe(recipe: "Recipe | None") -> str:
    if recipe is None:
        return "yours"
    length = f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs} epochs"
    parts = [length, f"lr {recipe.lr:g}", f"batch {recipe.batch_size}"]
    if recipe.weight_decay:
        parts.append(f"weight decay {recipe.weight_decay:g}")
    if recipe.decay != "none":
        parts.append(f"{recipe.decay} decay")
    if recipe.validate_every:
        parts.append(f"validation every {recipe.validate_every} steps")
    return ", ".join(parts)


def main() -> None:
    """Write every page that has a generated table."""
    for page in TABLES:
        (DOCS / page).write_text(generated(page))
        print(f"written: docs/{page}")


if __name__ == "__main__":
    main()
