"""Grids that are wrong: one line that says what and where."""

from pathlib import Path

import pytest
from support_commands import refusal
from support_grids import BASE

from benchmark import sweep

pytest_plugins = ["support_grids"]

PROJECT = Path(__file__).resolve().parents[2]

NAMES = "abcdefghij"
BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}' if before else 'x'] * 10)}]\n"
    for before, name in zip(["", *NAMES], NAMES, strict=False)
)
"""Ten lines that stand for ten billion values."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{BASE}method: erm\nmodalites: m1+m2\n",
            "line 4: unknown key 'modalites'. Did you mean 'modalities'? Valid: method, dataset, ",
        ),
        (f"{BASE}method: erm\nall_modalities: true\n", "line 4: unknown key 'all_modalities'. Did"),
        (f"{BASE}runs:\n  - method: erm\n    sed: 1\n", "line 5: unknown key 'sed'. Did you mean"),
        (f"{BASE}method: erm\nvariants:\n  - {{nek: none}}\n", "line 5: unknown key 'nek'. Did"),
        (f"{BASE}method: erm\nlabel: mine\n", "line 4: unknown key 'label'."),
        (f"{BASE}method: erm\nepochs: many\n", "line 4: --epochs: invalid int value: 'many'"),
        (f"{BASE}method: erm\nepochs:\n", "line 4: --epochs: invalid int value: ''"),
        (f"{BASE}method: erm\nseeds: [0, x]\n", "line 4: --seeds: invalid int value: 'x'"),
        (f"{BASE}method: erm\nseeds: []\n", "line 4: --seeds: expected at least one argument"),
        (f"{BASE}method: erm\nthreads: two\n", "line 4: --threads: invalid int value: 'two'"),
        (f"{BASE}method: erm\nsetting: all\n", "line 4: --setting: invalid choice: 'all'"),
        ("method: erm\nall-splits: yes\n", "line 2: all-splits is true or false, not 'yes'"),
        (f"{BASE}method: erm\nema-warmup: 1\n", "line 4: ema-warmup is true or false, not '1'"),
        (f"{BASE}method: erm\nepochs: 1\n\nepochs: 2\n", "line 6: epochs is there twice"),
        (f"{BASE}method: mbcd\nset:\n  beta: 0\n  beta: 1\n", "line 6: beta is there twice"),
        (f"{BASE}method: [erm\nepochs: 1\n", "line 4: not YAML: "),
        (f"{BASE}method: *erm\n", "line 3: not YAML: found undefined alias 'erm'"),
        (f"{BASE}method: erm\n\tepochs: 1\n", "line 4: not YAML: "),
        (f"{BASE}method: erm\n---\n{BASE}", "line 4: not YAML: "),
        (f"{BASE}method: e\x00rm\n", "grid.yaml: not YAML: unacceptable character #x0000"),
        (b"method: \xff\n", "grid.yaml: not YAML: 'utf-8' codec can't decode"),
        (f"{BASE}method: {{[erm]: joint}}\n", "line 3: a key is one word"),
        ("a: &a [*a]\n", "grid.yaml: lists and mappings are nested too deep"),
        (BOMB, "grid.yaml: with its aliases it holds more than 100000 values; write fewer"),
        (f"{BASE}method: erm\nlr: nan\n", "line 4: --lr nan: type a finite number above 0"),
        (f"{BASE}method: erm\nsearch: 99999999\n", "line 4: --search 99999999: type a whole"),
        (f"{BASE}method: erm\nthreads: 5000000\n", "line 4: --threads 5000000: type a whole"),
        (f"{BASE}method: erm\ncheckpoint-every: nan\n", "line 4: --checkpoint-every nan: type"),
        (f"{BASE}method: erm\ndevice: meta\n", "line 4: --device meta: runs cannot compute there"),
        (f"{BASE}method: erm\nresults: ''\n", "line 4: --results: type a path, not an empty text"),
        (f'{BASE}method: erm\nresults: "a\\nb"\n', "line 4: --results: a path cannot hold control"),
        (f"{BASE}runs:\n- {{method: erm, epochs: 5, steps: 9}}\n", "line 4: --epochs and --steps"),
        (f"{BASE}method: erm\nsources: d1\n", "line 1: give --all-splits, or --sources and"),
        ("", "grid.yaml is empty"),
        ("# nothing\n", "grid.yaml is empty"),
        ("---\n", "line 2: 'key: value' is wanted here"),
        ("- method: erm\n", "line 1: 'key: value' is wanted here"),
        (f"{BASE}runs: erm\n", "line 3: a list is wanted here"),
        (f"{BASE}runs: []\n", "line 3: a list is wanted here"),
        (f"{BASE}runs:\n  method: erm\n", "line 3: a list is wanted here"),
        (f"{BASE}runs:\n  - method: erm\n  - joint\n", "line 5: 'key: value' is wanted here"),
        (f"{BASE}method: erm\nvariants: []\n", "line 4: a list is wanted here"),
        ("dataset: [hac, synthetic]\nmethod: erm\n", "line 1: one value is wanted here"),
        (f"{BASE}method: erm\nlr: {{a: 1}}\n", "line 4: one value is wanted here"),
        (f"{BASE}method: [erm, [joint]]\n", "line 3: one value is wanted here"),
        (f"{BASE}method: mbcd\nset: {{beta: [0, 1]}}\n", "line 4: one value is wanted here"),
        (f"{BASE}method: [erm, --smoke]\n", "line 3: method cannot be '--smoke'"),
        (f"{BASE}method: [erm, --all-modalities]\n", "line 3: method cannot be '--all-modal"),
        (BASE, "line 1: say which method, such as method: mbcd"),
        (f"{BASE}runs:\n  - method: erm\n  - epochs: 1\n", "line 5: say which method"),
        ("method: erm\nall-splits: true\n", "line 1: say which dataset, such as dataset: synth"),
        ("method: erm\ndataset: synthetik\n", "line 2: unknown dataset 'synthetik'. Did you mean"),
        (
            f"{BASE}runs:\n  - method: erm\n  - seeds: 1\n    method: emr\n",
            "line 5: unknown method 'emr'. Did you mean 'erm'?",
        ),
        (
            f"{BASE}runs:\n  - {{method: mbcd, set: {{bta: 1}}}}\n",
            "line 4: unknown hyper-parameter",
        ),
        (
            f"{BASE}runs:\n  - {{method: erm, epochs: 0}}\n",
            "line 4: --epochs 0: type a whole number from 1",
        ),
        (f"{BASE}runs:\n  - {{method: erm, threads: 2}}\n", "line 4: threads holds for the whole"),
        (f"{BASE}runs:\n  - {{method: erm, runs: []}}\n", "line 4: runs holds for the whole grid"),
        (f"{BASE}method: erm\nvariants:\n  - data-root: a\n", "line 5: data-root holds for the"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_place(written, capsys, text, message):
    said = refusal(sweep.main, [str(written(text)), "--dry-run"], capsys)
    place = "" if message.startswith("grid.yaml") else "grid.yaml, "
    assert said.startswith(f"{place}{message}")


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert sweep.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: cannot read {tmp_path}: Is a directory\n"
    assert sweep.main(["sweeps/smok.yaml"]) == 2
    assert "unknown grid 'sweeps/smok.yaml'" in (err := capsys.readouterr().err)
    assert "Did you mean 'sweeps/smoke.yaml'?" in err and err.count("\n") == 1
