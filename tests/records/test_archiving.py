"""Packing runs: nothing is lost, whoever is killed, packs as well, or changes runs meanwhile."""

import io
import json
import os
import signal
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import SPEC, until
from support_reports import make_result, whole

from benchmark.launch import status
from benchmark.records import analyses, archive, archiving, claims
from benchmark.records.analyses import Measured
from benchmark.records.read import read
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.records.store import Store
from mmdg_common import UsageError

SPLIT = "runs/synthetic/mbcd/d1+d2_to_d3"
SCORES = {"fused": {"loss": 0.25, "accuracy": 0.5}}


def spec_of(seed: int) -> RunSpec:
    return replace(SPEC, seed=seed)


def finish(store: Store, seed: int, accuracy: float = 0.5) -> RunFolder:
    """Write the record of a run that is done, with all that a real one has."""
    spec = spec_of(seed)
    folder = store.folder(spec)
    folder.claim = claims.take(folder.path)
    assert folder.claim is not None
    with folder.claim:
        folder.write_spec(spec)
        folder.log("started")
        folder.write_metrics([{"epoch": 0, "step": 9, "val": SCORES, "target": SCORES}])
        logits = np.full((3, 3), seed, np.float16)
        folder.write_predictions({"last/target/fused": logits})
        folder.write_result({**whole(make_result(accuracy)), "id": spec.id})
        folder.write_status(State.DONE)
    return store.folder(spec)


def measured(value: float) -> Measured:
    return Measured("shapley", 1, {"samples": 3}, {"m1": value}, {"device": "cpu"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A results folder with three runs that are done, one of them measured."""
    found = Store(tmp_path / "results")
    for seed in range(3):
        finish(found, seed)
    analyses.write(found.folder(spec_of(0)).path, measured(0.25))
    return found


def kept(store: Store) -> dict[str, bytes]:
    """Return what is packed of runs, or will be, as it is in folders."""
    return {
        str(path.relative_to(store.root / SPLIT)): path.read_bytes()
        for path in (store.root / SPLIT).rglob("*")
        if path.name in archiving.KEPT or path.parent.name == analyses.FOLDER
    }


def packed(store: Store) -> dict[str, bytes]:
    with zipfile.ZipFile(store.root / SPLIT / archive.NAME) as pack:
        assert len(pack.namelist()) == len({*pack.namelist()})
        return {name: pack.read(name) for name in pack.namelist()}


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.runs)) for p in store.runs.rglob("*") if p.is_file())


def told(store: Store) -> list[object]:
    """Return all that readers see of the runs."""
    found = read([store.root])
    assert found.problems == []
    return [
        (r.spec, r.state, r.result, r.metrics(), r.has_predictions, r.measured("shapley"))
        for r in found.records
    ]


def in_a_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own, and return how it ended."""
    if (child := os.fork()) == 0:
        try:
            work()
        except UsageError:
            os._exit(2)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# What is packed


def test_one_file_takes_the_place_of_all_and_is_read_alike(store: Store, tmp_path: Path) -> None:
    before, was = told(store), kept(store)
    assert len(was) == 3 * 5 + 1
    found = archiving.pack(store)
    assert (found.runs, found.packs, found.left, found.problems) == (3, 1, {}, [])
    assert found.dropped == {"logs": 3, "claims": 3}
    assert found.done == {spec_of(seed).id for seed in range(3)}
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]
    assert packed(store) == was  # bit for bit
    assert told(store) == before and len(before) == 3
    folder = store.folder(spec_of(2))
    assert folder.status().state is State.DONE and folder.noted().time is not None
    assert status.pending([spec_of(seed) for seed in range(4)], store.root) == [spec_of(3)]
    assert folder.place == store.root / SPLIT / archive.NAME

    # Any program gives the folders back.
    with zipfile.ZipFile(folder.place) as pack:
        assert {one.external_attr >> 16 & 0o777 for one in pack.infolist()} == {0o644}
        assert {one.date_time[0] >= 2020 for one in pack.infolist()} == {True}
        pack.extractall(tmp_path / "again" / SPLIT)
    assert kept(Store(tmp_path / "again")) == was
    assert told(Store(tmp_path / "again")) == before


def test_the_predictions_of_packed_runs_are_those_of_their_own(store: Store) -> None:
    archiving.pack(store)
    for seed in range(3):
        data = store.folder(spec_of(seed)).read("predictions.npz")
        assert data is not None
        assert (np.load(io.BytesIO(data))["last/target/fused"] == seed).all()


def test_runs_that_end_later_go_into_the_same_file(store: Store) -> None:
    archiving.pack(store)
    was = packed(store)
    told(store)  # so that readers know where members begin
    finish(store, 3)
    analyses.write(store.folder(spec_of(1)).path, measured(0.5))
    both = told(store)
    assert len(both) == 4
    was |= kept(store)
    found = archiving.pack(store)
    assert (found.runs, len(found.done)) == (1, 4)
    assert packed(store) == was and len(was) == 4 * 5 + 2
    assert told(store) == both
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]


def test_packing_again_changes_nothing(store: Store) -> None:
    archiving.pack(store)
    path = store.root / SPLIT / archive.NAME
    was = path.stat()
    found = archiving.pack(store)
    assert (found.runs, found.packs, len(found.done)) == (0, 0, 3)
    now = path.stat()
    assert (was.st_ino, was.st_mtime_ns) == (now.st_ino, now.st_mtime_ns)


def test_weights_and_files_of_others_stay_where_they_are(store: Store) -> None:
    folder = store.folder(spec_of(1)).path
    (folder / "weights-best.pt").write_bytes(b"weights")
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint-3.pt").write_bytes(b"of a process that was killed when it was done")
    (folder / ".status.json.4711.0a1b2c3d").touch()
    before = told(store)
    found = archiving.pack(store)
    assert found.dropped == {"logs": 3, "claims": 3, "checkpoints": 1, "temporary files": 1}
    assert {p.name for p in folder.iterdir()} == {"weights-best.pt", "notes.txt"}
    assert told(store) == before


def test_runs_that_are_not_done_or_damaged_stay_as_they_are(store: Store) -> None:
    archiving.pack(store)
    failed, running, claimed, cut, spoiled = (finish(store, seed) for seed in range(3, 8))
    for folder in (failed, running, claimed):
        (folder.path / "result.json").unlink()
    failed.write_status(State.FAILED, error="KeyError: 'a'")
    claim = claims.take(running.path)
    running.write_status(State.RUNNING)
    (claimed.path / "status.json").unlink()  # as a run that is about to start
    data = (cut.path / "predictions.npz").read_bytes()
    (cut.path / "predictions.npz").write_bytes(data[:-30])
    (spoiled.path / "status.json").unlink()
    (spoiled.path / "status.json").mkdir()
    was, there = packed(store), files(store)
    assert claim is not None
    with claim:
        found = archiving.pack(store)
    assert found.left == {"not done": 2, "running": 1, "damaged": 2}
    assert (found.runs, found.packs, len(found.done)) == (0, 0, 3)
    assert (packed(store), files(store)) == (was, there)


# Killed


@pytest.fixture
def unlinks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the process be killed before it removes its n-th file."""

    def after(number: int) -> None:
        left, plain = [number], os.unlink

        def unlink(*args: object, **options: object) -> None:
            left[0] -= 1
            if not left[0]:
                die()
            plain(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "unlink", unlink)

    return after


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8, 9, 17])
def test_killed_amid_the_removal_nothing_is_lost_or_doubled(
    store: Store, number: int, unlinks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, was = told(store), kept(store)
    unlinks(number)
    assert in_a_child(lambda: archiving.pack(store)) == -signal.SIGKILL
    monkeypatch.undo()
    assert packed(store) == was and len(files(store)) > 1
    assert told(store) == before
    assert status.pending([spec_of(seed) for seed in range(3)], store.root) == []
    path = store.root / SPLIT / archive.NAME
    inode = path.stat().st_ino
    found = archiving.pack(store)
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]
    assert path.stat().st_ino == inode and found.packs == 0
    assert told(store) == before


@pytest.mark.parametrize("name", ["writestr", "close"])
def test_killed_amid_the_writing_the_folders_are_untouched(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, there = told(store), files(store)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, name, die)
        assert in_a_child(lambda: archiving.pack(store)) == -signal.SIGKILL
    (left,) = {*files(store)} - {*there}
    assert f".{archive.NAME}." in left
    assert told(store) == before
    archiving.pack(store)
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]
    assert told(store) == before


# At the same time


def test_of_processes_that_pack_at_once_one_does_and_no_run_is_lost(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told(store)
    plain = archiving._write

    def beside_others(*args: object) -> None:
        until("two refusals", lambda: len(list(tmp_path.glob("refused-*"))) == 2)
        plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(archiving, "_write", beside_others)
    children = []
    for number in range(3):
        if (child := os.fork()) == 0:
            if code := in_a_child(lambda: archiving.pack(store)):
                (tmp_path / f"refused-{number}").touch()
            os._exit(code % 256)
        children.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [0, 2, 2]
    assert told(store) == before
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]


def test_a_process_that_was_given_up_replaces_no_pack_any_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read the runs, sleeps, and another one packs these and more."""
    plain = archiving._copy
    taken: list[claims.Claim] = []

    def overtaken(*args: object) -> None:
        path = max((store.cache / "packing").glob("claim-*.json"))
        values = json.loads(path.read_text()) | {"machine": "another"}
        path.write_text(json.dumps(values))
        os.utime(path, (0, 0))
        claim = claims.take(store.cache / "packing")
        assert claim is not None
        taken.append(claim)
        plain(*args)  # type: ignore[arg-type]

    archiving.pack(store)
    was = packed(store)
    finish(store, 3)
    before, there = told(store), files(store)
    monkeypatch.setattr(archiving, "_copy", overtaken)
    with pytest.raises(claims.ClaimLostError):
        archiving.pack(store)
    assert (packed(store), files(store)) == (was, there)
    assert told(store) == before and len(taken) == 1


def test_whoever_reads_meanwhile_sees_every_run_done_at_any_time(store: Store) -> None:
    before = told(store)
    stop, many = store.root / "stop", store.root / "many"

    def reads() -> None:
        specs = [spec_of(seed) for seed in range(3)]
        while not stop.exists():
            assert [one for one in told(store) if one[0] in specs] == before  # type: ignore[index]
            assert status.pending(specs, store.root) == []
            with many.open("a") as marks:
                marks.write(".")

    if (child := os.fork()) == 0:
        os._exit(in_a_child(reads) % 256)
    for seed in range(3, 9):
        archiving.pack(store)
        finish(store, seed)
        until("another read", lambda seed=seed: many.exists() and many.stat().st_size > seed - 3)
    stop.touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def forced(store: Store, seed: int) -> RunFolder:
    folder = store.folder(spec_of(seed))
    folder.await_forced("7-ab")
    return folder


@pytest.mark.parametrize("when", ["_write", "_remove"])
def test_a_run_that_is_forced_meanwhile_starts_anew_and_keeps_both_records(
    store: Store, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (store.folder(spec_of(1)).path / "result.json").read_bytes()
    plain = getattr(archiving, when)
    done: list[RunFolder] = []

    def with_force(*args: object) -> None:
        if not done:
            done.append(forced(store, 1))
        plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(archiving, when, with_force)
        archiving.pack(store)
    folder = store.folder(spec_of(1))
    aside = folder.path.with_name(f"{folder.path.name}~1")
    assert (aside / "result.json").read_bytes() == first
    assert sorted(p.name for p in folder.path.iterdir()) == ["status.json"]
    assert (folder.status().state, folder.noted().forced) == (State.TO_DO, "7-ab")
    assert [r.state for r in read([store.root]).records].count(State.TO_DO) == 0  # it has no spec
    finish(store, 1, accuracy=0.75)
    archiving.pack(store)
    assert read([store.root]).problems == []
    result = store.folder(spec_of(1)).result()
    assert result is not None and result["rules"]["best-val"]["target"]["accuracy"] == 0.75
    texts = [data for name, data in packed(store).items() if name.endswith("result.json")]
    assert (first in texts) == (when == "_remove")  # it was packed before it was put aside


def test_a_forced_run_wins_over_the_packed_one_which_is_kept(store: Store) -> None:
    archiving.pack(store)
    first = {name: data for name, data in packed(store).items() if spec_of(1).id in name}
    specs = [spec_of(seed) for seed in range(3)]
    assert status.pending([specs[1]], store.root, force=True) == [specs[1]]
    folder = store.folder(specs[1])
    assert folder.status().state is State.TO_DO and folder.result() is None
    assert folder.read("spec.json") is None and folder.metrics() == []
    assert status.pending(specs, store.root) == [specs[1]]

    analyses.write(finish(store, 1, accuracy=0.75).path, measured(0.5))
    for _ in range(2):  # before and after it is packed in its turn
        found = {r.spec.seed: r for r in read([store.root]).records}
        rules = {seed: (found[seed].result or {})["rules"] for seed in found}
        accuracies = {seed: of["best-val"]["target"]["accuracy"] for seed, of in rules.items()}
        assert accuracies == {0: 0.5, 1: 0.75, 2: 0.5}
        assert [one.values for one in found[1].measured("shapley")] == [{"m1": 0.5}]
        archiving.pack(store)
    now = packed(store)
    for name, data in first.items():
        assert now[name.replace(f"{spec_of(1).id}/", f"{spec_of(1).id}~1/")] == data
    assert len(now) == 4 * 5 + 2
    assert len(list(store.all())) == 3


def test_a_force_that_was_stopped_leaves_what_it_has_packed(store: Store) -> None:
    specs = [spec_of(seed) for seed in range(3)]
    assert status.pending(specs, store.root, force=True) == specs
    token = store.folder(specs[0]).noted().forced
    folder = finish(store, 0, accuracy=0.75)
    archiving.pack(store)
    assert folder.path.exists() is False and folder.noted().forced == token
    assert status.pending(specs, store.root, force=True) == specs[1:]
    # The next force is another one.
    finish(store, 1), finish(store, 2)
    assert status.pending(specs, store.root, force=True) == specs


def test_what_is_measured_meanwhile_is_neither_lost_nor_outdated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = archiving._remove
    done: list[object] = []

    def after_another(*args: object) -> None:
        if not done:
            done.append(analyses.write(store.folder(spec_of(0)).path, measured(0.75)))
        plain(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(archiving, "_remove", after_another)
        archiving.pack(store)
    for _ in range(2):
        (record, *_) = [r for r in read([store.root]).records if r.spec.seed == 0]
        assert [one.values for one in record.measured("shapley")] == [{"m1": 0.75}]
        archiving.pack(store)
    assert files(store) == ["synthetic/mbcd/d1+d2_to_d3/packed.zip"]


def test_a_run_that_nothing_may_be_reused_for_is_to_do_again(store: Store) -> None:
    archiving.pack(store)
    folder = store.folder(spec_of(0))
    folder.await_forced()
    assert (folder.status().state, folder.noted().forced) == (State.TO_DO, "")
    assert sorted(p.name for p in folder.path.parent.iterdir()) == [folder.path.name]


# Damage


@pytest.mark.parametrize("size", [0, 100, -40, -1])
def test_a_pack_that_is_cut_off_is_named_once_and_left_alone(store: Store, size: int) -> None:
    """Its last file may be a zip file of its own, in which zipfile finds a whole directory."""
    finish(store, 3)
    (store.folder(spec_of(3)).path / "status.json").unlink()
    archiving.pack(store)
    finish(store, 4)
    path = store.root / SPLIT / archive.NAME
    was = path.read_bytes()[:size]
    path.write_bytes(was)
    found = read([store.root])
    assert [r.spec.seed for r in found.records] == [4]
    (problem,) = found.problems
    assert problem.startswith(f"{path}: cannot be read (") and "its runs are left" in problem
    one = store.folder(spec_of(0)).status()
    assert one.state is State.TO_DO and f".json: {path}: cannot be read (" in one.problem
    there = files(store)
    (problem,) = archiving.pack(store).problems
    assert problem.startswith(f"{path}: cannot be read") and "move it away" in problem
    assert (path.read_bytes(), files(store)) == (was, there)
    forced(store, 0)  # which puts nothing aside, as nothing can be read
    assert store.folder(spec_of(0)).status().problem == ""


def test_one_damaged_byte_costs_one_file(store: Store) -> None:
    archiving.pack(store)
    path = store.root / SPLIT / archive.NAME
    data = store.folder(spec_of(1)).read("result.json")
    assert data is not None
    whole_pack = path.read_bytes()
    at = whole_pack.index(data) + len(data) // 2
    path.write_bytes(whole_pack[:at] + bytes([whole_pack[at] ^ 1]) + whole_pack[at + 1 :])
    found = read([store.root])
    states = {r.spec.seed: r.state for r in found.records}
    assert states == {0: State.DONE, 1: State.TO_DO, 2: State.DONE}
    folder = store.folder(spec_of(1)).path
    assert found.problems == [f"{folder}/result.json: damaged in {path}; the run counts as to do"]
    finish(store, 3)
    was, there = path.read_bytes(), files(store)
    (problem,) = archiving.pack(store).problems
    assert problem.startswith(f"{path}: Bad CRC-32 for file")
    assert (path.read_bytes(), files(store)) == (was, there)


def test_a_pack_that_another_program_compressed_is_refused_with_what_to_do(store: Store) -> None:
    archiving.pack(store)
    path = store.root / SPLIT / archive.NAME
    contents = packed(store)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in contents.items():
            pack.writestr(name, data)
    (problem,) = read([store.root]).problems
    assert "its files are compressed; unzip it and remove it" in problem
