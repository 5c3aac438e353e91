"""Which room may import which: the one table of it, and that the code keeps to it."""

from rooms import arrows, circles

COMMANDS = (
    *("benchmark.run", "benchmark.sweep", "benchmark.score", "benchmark.report"),
    *("benchmark.predict", "benchmark.results", "benchmark.analyze"),
    "benchmark.speed.__main__",
)

MAY_IMPORT: dict[str, set[str]] = {
    "datasets": set(),
    "methods": set(),
    "benchmark.records": {"datasets"},
    "benchmark.backbones": set(),
    "benchmark.cores": set(),
    "benchmark.settings": {"datasets", "benchmark.records", "benchmark.backbones"},
    "benchmark.planning": {
        *("datasets", "methods"),
        *("benchmark.records", "benchmark.backbones", "benchmark.settings"),
    },
    "benchmark.training": {
        *("datasets", "methods"),
        *("benchmark.records", "benchmark.backbones", "benchmark.cores", "benchmark.settings"),
    },
    "benchmark.launch": {
        "datasets",  # a profile names some
        *("benchmark.records", "benchmark.settings", "benchmark.planning", "benchmark.training"),
        "benchmark.cores",
    },
    # Of training, the metrics: an ensemble is scored as a run is.
    "benchmark.reporting": {
        *("methods", "benchmark.records", "benchmark.planning", "benchmark.training"),
    },
    "benchmark.analysis.corruptions": {"datasets", "benchmark.training"},
    "benchmark.analysis.adapt": {"methods", "benchmark.training"},
    "benchmark.analysis": {
        *("datasets", "methods", "benchmark.records", "benchmark.settings", "benchmark.training"),
        *("benchmark.analysis.corruptions", "benchmark.analysis.adapt"),
    },
    "benchmark.reporting.kinds.layouts": {"benchmark.reporting"},
    "benchmark.reporting.kinds": {
        *("benchmark.records", "benchmark.planning", "benchmark.reporting"),
        "benchmark.reporting.kinds.layouts",
    },
    "benchmark.reporting.figures": {
        *("benchmark.records", "benchmark.reporting", "benchmark.reporting.kinds"),
        "benchmark.reporting.kinds.layouts",
    },
    "benchmark.reporting.write": {
        *("benchmark.records", "benchmark.planning", "benchmark.reporting"),
        *("benchmark.reporting.kinds", "benchmark.reporting.figures"),
    },
    "benchmark.reporting.leaderboard": {
        *("methods", "benchmark.records", "benchmark.reporting"),
        *("benchmark.reporting.kinds", "benchmark.reporting.figures", "benchmark.reporting.write"),
    },
    "benchmark.contract": {
        *("datasets", "methods", "benchmark.records", "benchmark.settings", "benchmark.planning"),
        *("benchmark.backbones", "benchmark.training", "benchmark.launch"),
    },
    "methods.__main__": {"benchmark.contract"},
    "datasets.prepare": {"datasets", "benchmark.backbones"},
}
"""By room, the rooms below it that it may use. Commands, and `benchmark.speed`, which measures all
others, may use everything but each other."""


def test_every_room_imports_only_what_it_may():
    free = {*COMMANDS, "benchmark.speed"}
    for room, found in arrows().items():
        allowed = MAY_IMPORT.get(room)
        if room in free:
            assert not found & set(COMMANDS), f"{room} imports another command"
            continue
        assert allowed is not None, f"{room} is new: say in the table what it may import"
        assert found <= allowed, f"{room} imports {', '.join(sorted(found - allowed))}"


def test_the_table_names_no_room_or_arrow_that_is_not_there():
    found = arrows()
    for room, allowed in MAY_IMPORT.items():
        assert room in found, f"{room} is gone: take it out of the table"
        assert allowed <= found[room], f"{room} no longer imports {allowed - found[room]}"


def test_no_rooms_import_each_other():
    assert circles(arrows()) == []


def test_rooms_arrows_and_circles_are_counted_as_by_hand(tmp_path):
    """Two rooms in a circle above a third, one of them importing inside a function."""
    for name, text in {
        "benchmark/a/one.py": "import datasets.base\nfrom benchmark.b import two\n",
        "benchmark/a/__init__.py": "",
        "benchmark/b/two.py": "def late():\n    from benchmark.a.one import x\n",
        "benchmark/b/__init__.py": "",
        "benchmark/__init__.py": "",
        "datasets/base.py": "from datasets.media import video\n",
        "datasets/media/video.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = arrows(tmp_path)
    assert found == {
        "benchmark.a": {"datasets", "benchmark.b"},
        "benchmark.b": {"benchmark.a"},
        "datasets": set(),
    }
    assert circles(found) == [{"benchmark.a", "benchmark.b"}]
