"""Words that no command takes: one line that says what is wrong, and exit code 2, everywhere."""

from importlib import import_module

import pytest

COMMANDS = (
    "benchmark.run",
    "benchmark.sweep",
    "benchmark.report",
    "benchmark.results",
    "benchmark.predict",
    "benchmark.analyze",
    "benchmark.score",
    "benchmark.speed.__main__",
    "datasets.prepare",
    "methods.__main__",
)


def said(module: str, words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the command ends with."""
    assert import_module(module).main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err.removeprefix("error: ").rstrip()


@pytest.mark.parametrize("module", COMMANDS)
def test_an_option_that_does_not_exist(module, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said(module, "--no-such-option", capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "words", "line"),
    [
        # The grid is there, but the option before it takes it.
        (
            "benchmark.sweep",
            "--retry-failed grid.yaml",
            "GRID is missing: write it first, as in python -m benchmark.sweep GRID ...",
        ),
        (
            "benchmark.sweep",
            "--only seed=0 grid.yaml",
            "GRID is missing: write it first, as in python -m benchmark.sweep GRID ...",
        ),
        (
            "datasets.prepare",
            "--checkpoints utd_mhad",
            "NAME is missing: write it first, as in python -m datasets.prepare NAME ...",
        ),
        ("benchmark.results", "verfy", "COMMAND: invalid choice: 'verfy' (choose from "),
        (
            "benchmark.results",
            "add --results r",
            "--by is missing: python -m benchmark.results add --help",
        ),
        ("methods.__main__", "shwo mbcd", "COMMAND: invalid choice: 'shwo'"),
    ],
)
def test_what_is_missing_is_named_with_where_to_write_it(module, words, line, capsys):
    assert said(module, words, capsys).startswith(line)
