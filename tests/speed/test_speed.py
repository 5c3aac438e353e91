"""`python -m benchmark.speed`: its help, and what it does not know."""

import subprocess
import sys

import pytest
from support_commands import refusal

from benchmark.speed import __main__ as command


@pytest.mark.parametrize("what", ["step", "run", "decode"])
def test_help_waits_for_nothing_slow(what: str) -> None:
    code = (
        "import sys\nfrom benchmark.speed.__main__ import main\n"
        f"try: main(['{what}', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "slow = {'torch', 'av', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [[], ["nope"], ["step", "--nope"], ["run", "3"]])
def test_what_it_does_not_know_is_one_line_and_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refusal(command.main, words, capsys)
