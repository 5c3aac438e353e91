"""List the methods, show one, check one against the contract: `python -m methods`."""

import argparse
import importlib
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import methods
from mmdg_common import UsageError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from methods.base import Method

COLUMNS = ("name", "paper", "for", "passes", "hyper-parameters")


def run(args: argparse.Namespace) -> int:
    """Carry out the parsed command and return its exit code.

    Raises:
        UsageError: wrong use.
    """
    if args.command == "check":
        return _check(args.targets)
    if args.command == "show":
        _show(args.names)
    else:
        _list()
    return 0


# list


def _by_family() -> "Iterator[tuple[str, list[type[Method]]]]":
    """Yield each family with its classes, methods before wrappers."""
    from methods.base import FAMILIES

    classes = [methods.components(name)[0] for name in methods.names()]
    unlisted = {cls.family for cls in classes} - set(FAMILIES)
    for family in (*FAMILIES, *sorted(unlisted)):
        members = [cls for cls in classes if cls.family == family]
        if members:
            yield family, sorted(members, key=lambda cls: (cls.is_wrapper, cls.name))


def _row(cls: "type[Method]") -> tuple[str, ...]:
    """Return a class's entries under `COLUMNS`."""
    settings = " ".join(f"{f.name}={f.default}" for f in fields(cls.Hyperparameters))
    name = f"{cls.name}+" if cls.is_wrapper else cls.name
    return name, cls.paper, _limits(cls), _cost(cls), settings


def _limits(cls: "type[Method]") -> str:
    """Return for how many modalities and source domains a method is defined."""
    limits = []
    if cls.max_modalities is not None:
        limits.append(f"{cls.min_modalities} to {cls.max_modalities} modalities")
    elif cls.min_modalities > 1:
        limits.append(f"{cls.min_modalities}+ modalities")
    if cls.min_domains > 1:
        limits.append(f"{cls.min_domains}+ sources")
    return ", ".join(limits) or "any"


def _cost(cls: "type[Method]") -> str:
    """Return the passes, or the error's name: a broken method must not end the list."""
    from benchmark.contract.cost import measure

    try:
        return str(measure(cls.name))
    except Exception as error:  # a method may raise anything
        return type(error).__name__


def _list() -> None:
    console = _console()
    families = [(family, [_row(cls) for cls in members]) for family, members in _by_family()]
    if console.is_terminal:
        _print_live(console, families)
    else:
        print(_plain(families), end="")


def _print_live(console: "Console", families: list[tuple[str, list[tuple[str, ...]]]]) -> None:
    from rich.table import Table
    from rich.text import Text

    for family, rows in families:
        grid = Table(*COLUMNS, title=family, title_style="bold", title_justify="left", expand=True)
        for row in rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    console.print(Text(_legend()))


def _plain(families: list[tuple[str, list[tuple[str, ...]]]]) -> str:
    rows = [COLUMNS, *(row for _, rows in families for row in rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Iterable[str]) -> str:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return "  ".join(cells).rstrip()

    lines = [line(COLUMNS)]
    for family, members in families:
        lines += ["", f"{family}:", *map(line, members)]
    return "\n".join([*lines, "", _legend(), ""])


def _legend() -> str:
    return (
        "NAME+ goes around any method, as in swad+mbcd, and alone around erm. Passes: forward + "
        "backward\npasses through the encoders per batch and training step, measured; ERM has "
        "1 + 1.\n`per epoch`: what an epoch's start and end add per batch of the train part."
    )


# show


def _show(names: Sequence[str]) -> None:
    parts = [methods.components(name)[: name.count("+") + 1] for name in names]
    for cls in dict.fromkeys(cls for classes in parts for cls in classes):
        kind = "wrapper" if cls.is_wrapper else "method"
        print(f"{cls.name}: {kind} of the family {cls.family!r}\n")
        print((sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip() + "\n")
        settings = fields(cls.Hyperparameters)
        print("Hyper-parameters, set with --set " + (f"{cls.name}.NAME=VALUE" if settings else ""))
        for f in settings:
            print(f"  {f.name} = {f.default}{_ranges(f.metadata)}")
            print(textwrap.indent(f.metadata["help"], "      "))
        if not settings:
            print("  none")
        print(f"\nFor: {_limits(cls)}. Encoder passes per step: {_cost(cls)} (ERM: 1 + 1)\n")


def _ranges(metadata: Mapping[str, object]) -> str:
    search, low, high = metadata["search"], metadata["low"], metadata["high"]
    searched = "" if search is None else f", search {search}"
    valid = "" if (low, high) == (-float("inf"), float("inf")) else f", valid {low} to {high}"
    return f"{searched}{valid}"


# check


def _check(targets: Sequence[str]) -> int:
    found = [name for target in targets for name in compositions(target)]
    failures = sum(check(name) for name in dict.fromkeys(found))
    return 1 if failures else 0


def compositions(target: str) -> list[str]:
    """Return the composition of a name, or all methods that a module or file registers.

    Raises:
        UsageError: there is no such thing, or it cannot be imported.
    """
    registered = methods.names()
    if not target.endswith(".py") and any(part in registered for part in target.split("+")):
        return [methods.canonical(target)]
    module = _module_of(Path(target)) if target.endswith(".py") else target
    _import(module, target)
    classes = [methods.components(name)[0] for name in methods.names()]
    found = [c.name for c in classes if f"{c.__module__}.".startswith(f"{module}.")]
    if not found:
        raise UsageError(
            f'{target} registers no method: decorate its class with @methods.register("name")'
        )
    return found


def _module_of(file: Path) -> str:
    """Return the dotted name of a file's module, and make it importable."""
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    parts, folder = [file.stem], file.resolve().parent
    while (folder / "__init__.py").is_file():
        parts, folder = [folder.name, *parts], folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return ".".join(parts)


def _import(name: str, target: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"{target} cannot be imported: {error}") from error
        raise unknown("method, module or file", target, methods.names()) from None
    except SystemExit as error:
        raise UsageError(
            f"{target} ends the process when it is imported: put `sys.exit(main())` below "
            '`if __name__ == "__main__":`'
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may raise anything when imported
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{target} cannot be imported: {reason}") from error
    file = getattr(module, "__file__", None)
    if target.endswith(".py") and (file is None or not Path(file).samefile(target)):
        raise UsageError(f"another module is called {name} ({file}); rename {target}")


def check(composition: str, brief: bool = False) -> int:
    """Run every check, print one line per check, and return how many fail.

    Args:
        composition: whose contract is checked.
        brief: print no line for a check that passes.
    """
    from rich.text import Text

    from benchmark.contract import CHECKS, Case, failure, title
    from benchmark.settings import RunSettings
    from benchmark.training.setup import configure

    console, started, failures = _console(), time.monotonic(), 0
    if not brief:
        console.print(Text(composition, "bold"))
    with tempfile.TemporaryDirectory() as scratch:
        configure(RunSettings(Path(scratch), threads=1))
        case = Case(composition, Path(scratch))
        for one in CHECKS:
            reason = failure(one, case)
            failures += reason is not None
            if brief and reason is None:
                continue
            mark = Text("pass", "green") if reason is None else Text("FAIL", "bold red")
            text = title(one) if reason is None else f"{title(one)}: {reason}"
            console.print(mark + Text(f"  {text}"), soft_wrap=True)
    seconds = time.monotonic() - started
    passed = f"{len(CHECKS) - failures} of {len(CHECKS)} checks pass"
    console.print(Text(f"{composition}: {passed} ({seconds:.1f} s)"), soft_wrap=True)
    return failures


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)
