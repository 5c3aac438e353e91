"""Kinds of flags: how each is declared, read and written back as words."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdg_common import UsageError

NO_FOLDER = "none"
REST = "*"
"""The key of a value that holds for all keys that are not named."""


@dataclass(frozen=True)
class Range:
    """The numbers that a flag takes, both limits included; never NaN."""

    least: float
    most: float
    says: str
    """The advice to a user who gives another value."""

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the range."""
        return self.least <= value <= self.most


@dataclass(frozen=True)
class Pattern:
    """The texts that a flag takes."""

    pattern: str
    says: str
    """The advice to a user who gives another value."""

    def holds(self, value: str) -> bool:
        """Return whether the whole text matches."""
        return re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class Flag:
    """A flag that takes one value."""

    name: str
    """As typed, without the dashes."""
    entry: str
    """The field that the value is for, or `field.key` where the field is a mapping."""
    help: str | None = None
    metavar: str | None = None
    kind: Callable[[str], Any] = str
    """Turns a word into a value; ValueError or ArgumentTypeError if it cannot."""
    choices: tuple[str, ...] | None = None
    limit: Range | Pattern | None = None
    default: Any = None
    """The value where the flag is not given; None leaves it to the field's own default."""

    @property
    def dest(self) -> str:
        """Return the name in a namespace."""
        return self.name.replace("-", "_")

    @property
    def place(self) -> tuple[str, str]:
        """Return the field, and the key in it or an empty text."""
        field, _, key = self.entry.partition(".")
        return field, key

    def declare(self, group: "argparse._ActionsContainer") -> None:
        """Add the flag to a parser or to one of its groups."""
        group.add_argument(
            f"--{self.name}",
            help=self.help,
            metavar=self.metavar,
            type=self.kind,
            choices=self.choices,
            default=self.default,
        )

    def read(self, given: Any) -> Any:
        """Return the value of the field.

        Args:
            given: by argparse.

        Raises:
            UsageError: the value is malformed or out of range.
        """
        self.check(given)
        return given

    def check(self, value: Any) -> None:
        """Raise UsageError unless a value of the field is within the limit."""
        if self.limit and not self.limit.holds(value):
            raise UsageError(f"--{self.name} {value}: {self.limit.says}")

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into this value."""
        return [f"--{self.name}", str(value)]


@dataclass(frozen=True)
class Many(Flag):
    """A flag that takes one value or several."""

    def declare(self, group: "argparse._ActionsContainer") -> None:
        """Add the flag to a parser or to one of its groups."""
        group.add_argument(
            f"--{self.name}",
            nargs="+",
            help=self.help,
            metavar=self.metavar,
            type=self.kind,
            default=[],
        )

    def check(self, value: Any) -> None:
        """Raise UsageError unless every value is within the limit."""
        for one in value:
            super().check(one)

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into these values; none without a value."""
        return [f"--{self.name}", *map(str, value)] if value else []


@dataclass(frozen=True)
class Pairs(Many):
    """A flag that takes `KEY=VALUE`, once or several times."""

    def read(self, given: Any) -> Any:
        """Return the values by key."""
        return pairs(f"--{self.name}", given)

    def check(self, value: Any) -> None:
        """Do nothing: whoever knows the keys checks the values."""

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into these values."""
        return super().words([f"{key}={one}" for key, one in value.items()])


@dataclass(frozen=True)
class PairsAndRest(Pairs):
    """A flag that takes `KEY=VALUE`, and one word alone for all keys that are not named.

    The word stands under the key `REST`.
    """

    rest: str = "none"

    def read(self, given: Any) -> Any:
        """Return the values by key."""
        if wrong := [text for text in given if text != self.rest and "=" not in text]:
            raise UsageError(f"--{self.name} {wrong[0]}: write {self.metavar}, or {self.rest}")
        named = super().read([text for text in given if text != self.rest])
        return named | ({REST: self.rest} if self.rest in given else {})

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into these values."""
        return Many.words(
            self, [one if key == REST else f"{key}={one}" for key, one in value.items()]
        )


@dataclass(frozen=True)
class ByModality(Pairs):
    """A flag that takes one value for all modalities, or `MODALITY=VALUE` for some of them."""

    is_number: bool = False

    def read(self, given: Any) -> Any:
        """Return the one value, or the values by modality."""
        if len(given) == 1 and "=" not in given[0]:
            return self._value(given[0])
        return {name: self._value(text) for name, text in super().read(given).items()}

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into this value or these values."""
        return super().words(value) if isinstance(value, Mapping) else Flag.words(self, value)

    def _value(self, text: str) -> str | float:
        if not self.is_number:
            return text
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"--{self.name} {text}: type a number") from None


@dataclass(frozen=True)
class Switch(Flag):
    """A flag without a value, which is off unless given."""

    def declare(self, group: "argparse._ActionsContainer") -> None:
        """Add the flag to a parser or to one of its groups."""
        group.add_argument(f"--{self.name}", action="store_true", help=self.help)

    def words(self, value: Any) -> list[str]:
        """Return the flag where it is on."""
        return [f"--{self.name}"] if value else []


@dataclass(frozen=True)
class OnOff(Switch):
    """A flag that can also be given as `--no-NAME`."""

    def declare(self, group: "argparse._ActionsContainer") -> None:
        """Add both forms to a parser or to one of its groups."""
        group.add_argument(
            f"--{self.name}", action=argparse.BooleanOptionalAction, default=None, help=self.help
        )

    def words(self, value: Any) -> list[str]:
        """Return one of the two forms."""
        return [f"--{self.name}" if value else f"--no-{self.name}"]


@dataclass(frozen=True)
class FolderOrNone(Flag):
    """A flag that takes a folder, or `none`, which can also be given as `--no-NAME`."""

    def declare(self, group: "argparse._ActionsContainer") -> None:
        """Add both forms to a parser or to one of its groups."""
        super().declare(group)
        group.add_argument(
            f"--no-{self.name}",
            action="store_const",
            const=Path(NO_FOLDER),
            dest=self.dest,
            help=f"the same as --{self.name} {NO_FOLDER}",
        )

    def read(self, given: Any) -> Any:
        """Return the folder; None for none."""
        return None if str(given) == NO_FOLDER else given

    def words(self, value: Any) -> list[str]:
        """Return the words that `read` turns into this value."""
        return [f"--no-{self.name}"] if value is None else super().words(value)


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """Return `key=value` texts as a mapping.

    Raises:
        UsageError: one of them has no key or no equals sign.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {text}: write key=value")
        found[key] = value
    return found


def path(text: str) -> Path:
    """Return the path that a user names.

    Raises:
        ArgumentTypeError: the text is empty, or holds a line break or another control character.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("type a path, not an empty text")
    if not is_line(text):
        raise argparse.ArgumentTypeError(f"a path cannot hold control characters: {text!r}")
    return Path(text)


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Return the seconds of a time with its unit, such as `90m`, `200h` or `2.5d`.

    Raises:
        ArgumentTypeError: it has another form.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text.strip())
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"type a time such as 90m, 200h or 2d, not {text!r}")
    return float(match[1]) * SECONDS[match[2]]


def is_line(text: str) -> bool:
    """Return whether a text is at most one line, without control characters."""
    return not re.search(r"[\x00-\x1f\x7f]", text)
