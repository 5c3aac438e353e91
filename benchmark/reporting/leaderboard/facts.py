"""What a method is, from its class: family, paper, what it does, hyper-parameters."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import methods
from mmdg_common import UsageError

if TYPE_CHECKING:  # takes a second
    from methods.base import Method


@dataclass(frozen=True)
class Part:
    """A component of a composition."""

    name: str
    family: str
    paper: str
    does: str
    """The first paragraph of the docstring."""
    hyperparameters: Sequence[tuple[str, str, str]]
    """Name, default and meaning of each."""
    wrapper: bool
    """Whether it goes around a method."""


@dataclass(frozen=True)
class Facts:
    """A method or composition."""

    method: str
    parts: Sequence[Part]
    """From the outside in; none where the method is not registered here."""

    @property
    def families(self) -> list[str]:
        """Return the families that it belongs to, the outermost component's first."""
        return list(dict.fromkeys(part.family for part in self.parts)) or [UNKNOWN]

    @property
    def does(self) -> str:
        """Return what it does, from the outside in."""
        if not self.parts:
            return "Not registered where this page was made."
        first, *others = self.parts
        said = [first.does, *(f"Here {part.name}: {part.does}" for part in others)]
        # A wrapper alone wraps ERM, which its name leaves out.
        return " ".join([*said, *(["Here ERM."] if self.parts[-1].wrapper else [])])


UNKNOWN = "unknown"
"""The family of methods that are not registered here."""


def facts(method: str) -> Facts:
    """Return what the registry knows of a method or composition."""
    try:
        classes = methods.components(method)
    except UsageError:
        return Facts(method, ())
    return Facts(method, [_part(cls) for cls in classes[: method.count("+") + 1]])


def _part(cls: "type[Method]") -> Part:
    first = (cls.__doc__ or "").strip().partition("\n\n")[0]
    return Part(
        cls.name,
        cls.family,
        cls.paper,
        " ".join(first.split()),
        [(f.name, str(f.default), f.metadata["help"]) for f in fields(cls.Hyperparameters)],
        cls.is_wrapper,
    )
