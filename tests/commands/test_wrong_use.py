"""Words that no command takes: one line that says what is wrong, and exit code 2, everywhere."""

import pytest
from support_commands import COMMANDS, refusal


@pytest.mark.parametrize("module", COMMANDS)
def test_an_option_that_does_not_exist(module, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal(COMMANDS[module].main, ["--no-such-option"], capsys)
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
        ("methods", "shwo mbcd", "COMMAND: invalid choice: 'shwo'"),
    ],
)
def test_what_is_missing_is_named_with_where_to_write_it(module, words, line, capsys):
    assert refusal(COMMANDS[module].main, words.split(), capsys).startswith(line)
