"""Runs that ended in the same way, told together."""

from pathlib import Path

import pytest
from support_reports import toy_spec

from benchmark.launch import failures, status
from benchmark.records import claims
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store


def fail(
    results: Path, spec: RunSpec, error: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Store(results).folder(spec)
    monkeypatch.setenv("SLURMD_NODENAME", host)
    claim = claims.take(folder.path)
    assert claim is not None
    with claim:
        folder.write_status("failed", error=error)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("loss is not finite at step 3: nan", "loss is not finite at step 1200: nan", True),
        ("cannot read /data/a/b.mp4", "cannot read /scratch/7f/c_3.mp4", True),
        ("cannot read clips/a.wav", "cannot read more/clips/b.wav", True),
        ("<Tensor at 0x7f3a9c001d20>", "<Tensor at 0x7fd2aa34be70>", True),
        ("at 1e-05", "at 0.25", True),
        ("KeyError: 'video'", "KeyError: 'audio'", False),
        ("LookupError: no such thing", "ValueError: no such thing", False),
    ],
)
def test_errors_that_differ_in_numbers_and_paths_alone_are_one(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    specs = [toy_spec(seed=seed) for seed in range(2)]
    for spec, error in zip(specs, (one, other), strict=True):
        Store(tmp_path).folder(spec).write_status("failed", error=error)
    found = status.failed(status.look(specs, tmp_path), tmp_path)
    assert [len(group.runs) for group in found] == ([2] if same else [1, 1])
    assert found[0].error == one


def test_a_group_names_its_machines_and_one_log_and_the_largest_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [toy_spec(seed=seed) for seed in range(5)]
    fail(tmp_path, specs[0], "KeyError: 'audio'", "n9", monkeypatch)
    for spec, host in zip(specs[1:4], ("n2", "n1", "n2"), strict=True):
        fail(tmp_path, spec, f"cannot read /d/{spec.seed}.mp4", host, monkeypatch)
    found = status.failed(status.look(specs, tmp_path), tmp_path)
    log = Store(tmp_path).folder(specs[1]).path / "log.txt"
    assert list(failures.told(found)) == [
        f"failed on n1, n2: 3 runs, such as {specs[1].title}: cannot read /d/1.mp4\n  {log}",
        f"failed on n9: {specs[0].title}: KeyError: 'audio'\n  "
        f"{Store(tmp_path).folder(specs[0]).path / 'log.txt'}",
    ]


def test_of_the_traceback_of_a_loading_process_the_last_line_is_told(tmp_path: Path) -> None:
    traceback = "Original Traceback (most recent call last):\n" + '  File "a.py", line 3\n' * 40
    error = (
        f"MediaError: Caught MediaError in worker 0.\n{traceback}MediaError: /d/1.mp4 is cut off\n"
    )
    Store(tmp_path).folder(toy_spec()).write_status("failed", error=error)
    (found,) = status.failed(status.look([toy_spec()], tmp_path), tmp_path)
    assert (
        found.reason == "MediaError: Caught MediaError in worker 0. MediaError: /d/1.mp4 is cut off"
    )


def test_what_is_retried_is_what_holds_the_text(tmp_path: Path) -> None:
    specs = [toy_spec(seed=seed) for seed in range(3)]
    errors = ("KeyError: 'audio'", "cannot read /d/1.mp4", "cannot read /d/2.mp4")
    for spec, error in zip(specs, errors, strict=True):
        Store(tmp_path).folder(spec).write_status("failed", error=error)

    def retried(match: str) -> list[int]:
        return [s.seed for s in status.pending(specs, tmp_path, retry=True, match=match)]

    assert retried("no such") == []
    assert retried("CANNOT read") == [1, 2]
    # One that was stopped before they ended goes on with them.
    assert retried("keyerror") == [0, 1, 2]
