"""YAML files with the line of every value, so that an error can say where it is."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, Union

import yaml

from mmdg_common import UsageError, unknown

MOST_VALUES = 100_000
"""Values in one file, those that aliases repeat included: an alias of aliases grows without end."""

Content: TypeAlias = Union[str, "list[Value]", "dict[str, Value]"]


@dataclass(frozen=True)
class Value:
    """A value of a file: a text, a list, or a mapping.

    Scalars stay the texts that the file holds: YAML would make a number of seconds of `10:30`, and
    False of `no`.
    """

    content: Content
    path: Path
    line: int

    def error(self, message: object) -> UsageError:
        """Return an error that says where it is."""
        return UsageError(f"{self.path}, line {self.line}: {message}")

    def text(self) -> str:
        """Return a single value.

        Raises:
            UsageError: there is a list or a mapping.
        """
        if not isinstance(self.content, str):
            raise self.error("one value is wanted here")
        return self.content

    def texts(self) -> list[str]:
        """Return a list of single values; one alone is a list of one, a mapping `key=value`."""
        if isinstance(self.content, str):
            return [self.content]
        if isinstance(self.content, dict):
            return [f"{key}={value.text()}" for key, value in self.content.items()]
        return [value.text() for value in self.content]

    def items(self) -> "list[Value]":
        """Return the entries of a list.

        Raises:
            UsageError: there is no list, or nothing in it.
        """
        if not isinstance(self.content, list) or not self.content:
            raise self.error("a list is wanted here: lines that start with '- '")
        return self.content

    def mapping(self, valid: Iterable[str] | None = None) -> "Mapping[str, Value]":
        """Return keys and values.

        Args:
            valid: the keys that there may be; None: any.

        Raises:
            UsageError: there is no mapping, or it has another key.
        """
        if not isinstance(self.content, dict):
            raise self.error("'key: value' is wanted here")
        if valid is not None:
            names = list(valid)
            for key, value in self.content.items():
                if key not in names:
                    raise value.error(unknown("key", key, names))
        return self.content


def read(path: Path) -> Value:
    """Return what a YAML file holds.

    Raises:
        UsageError: it cannot be read, or is not YAML.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        whole = None if node is None else _Reader(path).value(node)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(f"{path}{line}: not YAML: {reason}") from None
    except RecursionError:  # also an alias inside of what it stands for
        raise UsageError(f"{path}: lists and mappings are nested too deep") from None
    if whole is None:
        raise UsageError(f"{path} is empty")
    return whole


class _Reader:
    """Turns the nodes of one file into values, and counts them."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def value(self, node: yaml.Node) -> Value:
        self.count += 1
        if self.count > MOST_VALUES:
            raise UsageError(
                f"{self.path}: with its aliases it holds more than {MOST_VALUES} values; "
                "write fewer, or without aliases"
            )
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return Value(dict(self._pairs(node)), self.path, line)
        if isinstance(node, yaml.SequenceNode):
            return Value([self.value(item) for item in node.value], self.path, line)
        return Value(str(node.value), self.path, line)

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, Value]]:
        seen = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(
                    f"{self.path}, line {line}: a key is one word, not a list or a mapping"
                )
            if name in seen:
                raise UsageError(f"{self.path}, line {line}: {name} is there twice")
            seen.add(name)
            # The line of the key: what is wrong with a list is looked for where it is named.
            yield name, Value(self.value(value).content, self.path, line)
