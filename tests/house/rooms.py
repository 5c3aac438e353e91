"""The rooms of the house and what they import of each other: `python tests/house/rooms.py`.

A room is `datasets/`, `methods/`, a package of `benchmark/`, or a module at its top; a command,
which can be run with `python -m`, is a room of its own. An arrow is an import from one room to
another, wherever in a file it stands, type annotations included. A room's floor is one above the
highest room that it imports; rooms of a circle share a floor.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("datasets", "methods", "benchmark")


def modules(root: Path = PROJECT) -> dict[str, Path]:
    """Return the file of every module by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room_of(module: str, files: Mapping[str, Path]) -> str:
    """Return the room that a module lies in."""
    if '\nif __name__ == "__main__":' in files[module].read_text():
        return module
    if not module.startswith("benchmark"):
        return module.partition(".")[0]
    package = module if files[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if package == "benchmark" else package


def imported(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    """Yield the project's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in files:
                    yield inner
                elif node.module in files:
                    yield node.module


def arrows(root: Path = PROJECT) -> dict[str, set[str]]:
    """Return by room the rooms that it imports."""
    files = modules(root)
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        room = room_of(module, files)
        others = {room_of(name, files) for name in imported(path, files)} - {room}
        found.setdefault(room, set()).update(others)
    # A package that holds nothing but other rooms is no room.
    return {room: to for room, to in found.items() if to or any(room in t for t in found.values())}


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the groups of rooms that import each other, directly or not."""
    reach = {room: _reached(room, graph) for room in graph}
    groups = []
    for room in graph:
        group = {other for other in reach[room] if room in reach[other]}
        if group and group not in groups:
            groups.append(group)
    return groups


def floors(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of every room, 0 the lowest."""
    circle = {room: group for group in circles(graph) for room in group}
    found: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in found:
            members = circle.get(room, {room})
            below = {to for member in members for to in graph.get(member, ())} - members
            level = max((floor(to) + 1 for to in below), default=0)
            found.update(dict.fromkeys(members, level))
        return found[room]

    for room in graph:
        floor(room)
    return found


def _reached(room: str, graph: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [room]
    while todo:
        for to in graph.get(todo.pop(), ()):
            if to not in seen:
                seen.add(to)
                todo.append(to)
    return seen


def main() -> None:
    """Print the rooms by floor with what they import, and the counts."""
    graph = arrows(Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT)
    level = floors(graph)
    for room in sorted(graph, key=lambda r: (-level[r], r)):
        print(f"{level[room]:2} {room:28} -> {' '.join(sorted(graph[room]))}")
    print(
        f"{len(graph)} rooms on {max(level.values()) + 1} floors, "
        f"{sum(map(len, graph.values()))} arrows, {len(circles(graph))} circles"
    )


if __name__ == "__main__":
    main()
