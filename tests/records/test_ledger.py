"""The ledger of a set: what it must say, its form, and its history in a real repository."""

import shutil

import pytest
from damage import CRAFTED
from support_committed import add, commit, git, wrong

from benchmark import results
from benchmark.records import labbook, ledger
from benchmark.records.ledger import Entry
from benchmark.records.shape import UnreadableError

HEAD = "run,digest,date,by,why\n"


def entry(run="a", digest="1", why=""):
    return Entry(run, digest, "2026-11-29", "Ada", why)


@pytest.mark.parametrize(
    ("entries", "digests", "said"),
    [
        ([], {}, None),
        ([entry()], {"a": "1"}, None),
        ([entry(), entry("b")], {"a": "1"}, "run b is gone, and the ledger does not say why"),
        ([entry()], {"a": "1", "b": "2"}, "run b is not in the ledger"),
        ([entry()], {"a": "2"}, "run a is not what was added on 2026-11-29 by Ada"),
        ([entry(), entry(digest="2", why="longer")], {"a": "2"}, None),
        ([entry(), entry(digest="2", why="longer")], {"a": "1"}, "run a is not what was added"),
        ([entry(), entry(digest="2")], {"a": "2"}, "run a was changed, and the ledger does not"),
        ([entry(), entry(digest="", why="wrong files")], {}, None),
        ([entry(), entry(digest="", why="wrong files")], {"a": "1"}, "run a is not what was added"),
        ([entry(digest="")], {}, "run a was taken out, and the ledger does not say why"),
    ],
)
def test_what_a_ledger_must_say(entries, digests, said):
    found = ledger.problems(entries, digests)
    if said is None:
        assert found == []
    else:
        (problem,) = found
        assert problem.startswith(said)


def test_runs_are_gone_only_if_all_files_were_read():
    assert ledger.problems([entry()], {}, all_read=False) == []


def test_lines_are_added_and_read_back(tmp_path):
    path = tmp_path / "ledger.csv"
    assert ledger.read(path) == []
    ledger.add(path, [])
    assert path.read_text() == HEAD
    odd = entry(why='longer, "better"\nand more')
    ledger.add(path, [entry()])
    before = path.read_bytes()
    ledger.add(path, [odd, entry("é")])
    assert path.read_bytes().startswith(before)
    assert ledger.read(path) == [entry(), odd, entry("é")]


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(content, id=name) for name, content in CRAFTED.items()),
        *(b"run,digest\n", HEAD.encode() + b"a,1\n", HEAD.encode() + b"a,1,2,3,4,5\n"),
        pytest.param(HEAD.encode() + b"a,1,2,3," + b"x" * 200_000 + b"\n", id="a long field"),
        pytest.param(HEAD.encode() + b'a,1,2,3,"x\n', id="an open quote"),
        pytest.param(HEAD.encode() + b"a,1,2,3,4", id="no end of the line"),
        pytest.param((HEAD + "a,1,2,3,4\n").replace("\n", "\r\n").encode(), id="as of Windows"),
        pytest.param(HEAD.encode() + b'"a",1,2,3,4\n', id="spare quotes"),
        pytest.param(HEAD.encode() + b"a,1,2,3,\x00\n\n", id="an empty line"),
    ],
)
def test_a_ledger_in_another_form_is_refused(tmp_path, text):
    """The next addition would write its lines in another way, and so change them."""
    path = tmp_path / "ledger.csv"
    path.write_bytes(text)
    with pytest.raises(UnreadableError, match=r"ledger\.csv: "):
        ledger.read(path)


# The history


def verified(capsys, *sets):
    """Return the exit code and what is said of a history."""
    code = results.main(["verify", *map(str, sets)])
    shown = capsys.readouterr()
    return code, shown.err + shown.out


@pytest.fixture
def path(packed):
    """The ledger of a set that was committed, and once more after some lines were added."""
    path = packed / "ledger.csv"
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[:5]))
    commit(packed.parent, "Some")
    path.write_text("".join(whole))
    commit(packed.parent, "All")
    return path


def test_lines_that_were_only_added_are_right(path, capsys):
    assert verified(capsys, path.parent)[0] == 0


def edited(text):
    return text.replace(",Ada,", ",Bob,", 1)


def shorter(text):
    return "".join(text.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize("change", [edited, shorter, lambda text: ""])
def test_lines_that_were_changed_are_found_wherever_that_was(path, capsys, change):
    text = path.read_text()
    path.write_text(change(text))
    code, said = verified(capsys, path.parent)
    assert code == 1
    assert "set/ledger.csv: uncommitted changes took lines out of it or changed them" in said
    git(path.parent, "add", "--all")  # staged is not committed either
    assert "uncommitted changes took lines out" in verified(capsys, path.parent)[1]
    commit(path.parents[1], "Mend the ledger")
    name = git(path.parent, "rev-parse", "--short", "HEAD").strip()
    path.write_text(text)
    commit(path.parents[1], "As it was")
    code, said = verified(capsys, path.parent)
    assert code == 1
    assert f"set/ledger.csv: commit {name} took lines out of it or changed them" in said
    assert "uncommitted" not in said and len(wrong(path.parent)) == 0


def test_a_ledger_that_was_removed_for_a_while_is_found(path, capsys):
    text = path.read_text()
    path.unlink()
    assert "uncommitted changes took lines" in verified(capsys, path.parent)[1]
    commit(path.parents[1], "Away")
    path.write_text(text)
    commit(path.parents[1], "Back")
    assert "took lines out of it" in verified(capsys, path.parent)[1]


def test_what_a_merge_takes_away_is_found(path, capsys):
    home, text = path.parents[1], path.read_text()
    git(home, "switch", "--quiet", "--create", "theirs")
    path.write_text(text + "0123456789ab,,2026-11-30,Bob,never there\n")
    commit(home, "Theirs")
    git(home, "switch", "--quiet", "main")
    (home / "other").write_text("x")
    commit(home, "Ours")
    git(home, "merge", "--quiet", "--strategy", "ours", "--message", "Merge", "theirs")
    assert path.read_text() == text
    code, said = verified(capsys, path.parent)
    assert code == 1 and "ledger.csv: commit" in said and "took lines out" in said


def test_branches_that_both_add_lines_are_right_when_both_are_kept(path, capsys):
    home, text = path.parents[1], path.read_text()
    ours, theirs = (f"{name * 12},,2026-11-30,Ada,never there\n" for name in "ab")
    git(home, "switch", "--quiet", "--create", "theirs")
    path.write_text(text + theirs)
    commit(home, "Theirs")
    git(home, "switch", "--quiet", "main")
    path.write_text(text + ours)
    commit(home, "Ours")
    (home / ".git" / "info" / "attributes").write_text("ledger.csv merge=union\n")
    git(home, "merge", "--quiet", "--message", "Merge", "theirs")
    assert ours in path.read_text() and theirs in path.read_text()
    assert verified(capsys, path.parent)[0] == 0


def test_another_name_of_a_set_is_no_change(path, capsys):
    home = path.parents[1]
    git(home, "mv", "set", "first")
    assert verified(capsys, home / "first")[0] == 0
    commit(home, "Another name")
    assert verified(capsys, home / "first")[0] == 0


def test_odd_settings_of_git_hide_nothing(path, capsys):
    home, text = path.parents[1], path.read_text()
    for name, value in (
        ("log.showSignature", "true"),
        ("color.ui", "always"),
        ("diff.noprefix", "true"),
        ("log.decorate", "full"),
        ("diff.external", "true"),
    ):
        git(home, "config", name, value)
    (home / ".gitattributes").write_text("ledger.csv binary\n")
    assert verified(capsys, path.parent)[0] == 1  # it cannot be seen what was changed
    (home / ".gitattributes").unlink()
    assert verified(capsys, path.parent)[0] == 0
    path.write_text(edited(text))
    assert "uncommitted changes took lines" in verified(capsys, path.parent)[1]


def test_a_shallow_clone_says_that_it_is_one(path, capsys):
    home = path.parents[1]
    git(home, "clone", "--quiet", "--depth", "1", f"file://{home}", str(home.parent / "clone"))
    code, said = verified(capsys, home.parent / "clone" / "set")
    assert code == 0 and "note: only the latest history is here; git fetch --unshallow" in said


def test_outside_of_a_repository_that_is_said(packed, capsys, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(packed.parents[1]))
    code, said = verified(capsys, packed)
    assert code == 0 and "note: this is no clone of the repository" in said
    monkeypatch.setenv("PATH", "")
    code, said = verified(capsys, packed)
    assert code == 0 and "history was not checked" in said


def test_the_history_of_a_real_replacement_is_right(packed, runs, capsys):
    commit(packed.parent)
    before = (packed / "ledger.csv").read_text()
    shutil.rmtree(packed / "synthetic" / "multi-source")
    assert add(packed, runs) == 0
    commit(packed.parent)
    assert (packed / "ledger.csv").read_text() == before
    assert verified(capsys, packed)[0] == 0


# The lab book


def test_a_part_of_the_lab_book_is_written_again_only_after_a_stop(tmp_path):
    path = tmp_path / "labbook.md"
    labbook.add(path, [], [], (2, 4), "2026-11-29", "Ada", "first")
    once = path.read_text()
    labbook.add(path, [], [], (2, 4), "2026-11-29", "Ada", "first")
    assert path.read_text() == once
    path.write_bytes(path.read_bytes() + b"By hand: caf\xe9\n")
    labbook.add(path, [], [], (5, 5), "2026-11-30", "Bob", "second")
    found = path.read_bytes()
    assert found.startswith(once.encode() + b"By hand: caf\xe9\n")
    assert found.count(b"\n## ") == 2 and b"## 2026-11-30, Bob: 0 runs" in found
