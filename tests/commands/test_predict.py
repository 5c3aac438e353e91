"""`benchmark.predict`: new recordings, classified as the run that kept its weights does."""

import csv
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support_folder import save, table

import datasets
from benchmark import predict, run
from benchmark.records import predictions, read
from benchmark.records.run_folder import RunFolder
from datasets.dsads import Dsads

CLASSES = ("run", "sit", "walk")
QUICK = ("--epochs", "3", "--threads", "1", "--modalities", "features+motion")


def write(root: Path, names: Sequence[str], scale: float = 1.0, offset: float = 0.0) -> None:
    """Write a vector and a time series for each name, which says the class: `walk_0`."""
    for name in names:
        rng = np.random.default_rng(sum(map(ord, name)))
        label = CLASSES.index(name.split("_")[0])
        wave = np.sin(np.linspace(0, 3 + 9 * label, 40)) + 0.3 * rng.standard_normal((2, 40))
        save(root, f"x/{name}.npy", label + rng.standard_normal(5))
        save(root, f"s/{name}.npy", offset + scale * wave)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Labelled recordings of three domains; the second one moves more, from another place."""
    root = tmp_path_factory.mktemp("data")
    lines = [["label", "domain", "features", "motion"]]
    for domain, (scale, offset) in {"a": (1, 0), "b": (3, 5), "c": (2, -4)}.items():
        for label in CLASSES:
            names = [f"{label}_{domain}{i}" for i in range(8)]
            write(root, names, scale, offset)
            lines += [[label, domain, f"x/{name}.npy", f"s/{name}.npy"] for name in names]
    return table(root, lines)


def trained(data: Path, results: Path, *words: str) -> RunFolder:
    """Return the folder of the one run that a command makes on these recordings."""
    how = ["--dataset", "folder", "--data-root", str(data), "--results", str(results), *QUICK]
    # Numbers as they are: only what the encoder learned of the sources scales them.
    how += ["--dataset-option", "standardise=none", "--backbone", "motion=window_cnn"]
    assert run.main([*words, *how]) == 0
    (record,) = read.read([results]).records
    assert record.folder is not None
    return RunFolder(record.folder)


SPLIT = ("--sources", "a", "c", "--target", "b", "--keep-checkpoints", "best")
ALL = ("--setting", "all-domains")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> RunFolder:
    """A run on all domains."""
    return trained(data, tmp_path_factory.mktemp("whole"), "--method", "erm", *ALL)


def predicted(
    folder: RunFolder, root: Path | None, output: Path, *more: str
) -> dict[str, dict[str, str]]:
    """Return the rows of the CSV file by id, in its order."""
    where = [] if root is None else ["--data-root", str(root)]
    assert predict.main([str(folder.path), *where, "--output", str(output), *more]) == 0
    with output.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def shares(rows: Mapping[str, Mapping[str, str]], classes: Sequence[str] = CLASSES) -> np.ndarray:
    return np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows.values()])


@pytest.mark.parametrize("method", ["erm", "unimodal", "late_fusion", "mla", "swad+mbcd"])
def test_a_run_predicts_its_own_target_as_it_did_when_it_was_tested(data, tmp_path, method):
    folder = trained(data, tmp_path / "res", "--method", method, *SPLIT)
    rows = predicted(folder, data, tmp_path / "new" / "p.csv")
    assert len(rows) == 72
    rule = "own" if "own" in folder.result()["rules"] else "best-val"
    stored = predictions.read(folder.path / "predictions.npz", rule)
    assert len(stored.ids) == 24
    mine = {i: rows[i] for i in stored.ids}
    assert [row["predicted"] for row in mine.values()] == [CLASSES[c] for c in stored.classes]
    again = torch.from_numpy(stored.logits.astype(np.float64)).softmax(1).numpy()
    assert np.abs(shares(mine) - again).max() < 2e-3  # stored as float16
    right = [row["predicted"] == i.split("/")[1].split("_")[0] for i, row in mine.items()]
    assert np.mean(right) == pytest.approx(folder.result()["rules"][rule]["target"]["accuracy"])


def test_a_row_has_the_class_its_probability_and_those_of_all_classes(data, whole, tmp_path):
    rows = predicted(whole, data, tmp_path / "p.csv")
    header = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert header == "id,predicted,probability,p_run,p_sit,p_walk"
    found = shares(rows)
    assert np.allclose(found.sum(1), 1, atol=3e-6)
    assert [CLASSES[i] for i in found.argmax(1)] == [row["predicted"] for row in rows.values()]
    assert [row["probability"] for row in rows.values()] == [f"{p:.6f}" for p in found.max(1)]
    assert len(set(rows)) == 72 and found.std() > 0.1


def test_new_recordings_need_no_label_no_domain_and_no_other_column(whole, data, tmp_path):
    new = tmp_path / "new"
    names = ["walk_n0", "run_n1", "sit_n2"]
    write(new, names)
    lines = [[f"x/{n}.npy", f"s/{n}.npy"] for n in names]
    plain = table(new, [["features", "motion"], *lines])
    rows = predicted(whole, plain, tmp_path / "p.csv")
    assert list(rows) == [f"x/{n}.npy" for n in names]
    # Columns in another order, unknown labels, empty cells and what is no modality change nothing.
    more = [
        ["label", "notes", "motion", "id", "features", "domain", "video"],
        *([lab, "a, b?".replace(",", ""), s, f"no {i}", x, "", ""]
          for i, (lab, (x, s)) in enumerate(zip(["hop", "", "sit"], lines, strict=True))),
    ]  # fmt: skip
    again = predicted(whole, table(new, more), tmp_path / "p.csv")
    assert list(again) == ["no 0", "no 1", "no 2"]
    assert np.array_equal(shares(again), shares(rows))


def test_what_scales_a_recording_comes_from_training_and_not_from_the_new_ones(
    data, whole, tmp_path
):
    """Raw signals of a far place: alone, or among others, a recording is predicted the same."""
    names = [f"{label}_n{i}" for label in CLASSES for i in range(4)]
    write(tmp_path / "far", names, scale=50, offset=300)
    write(tmp_path / "far", ["walk_m0"], scale=2, offset=1)
    lines = [[f"x/{n}.npy", f"s/{n}.npy"] for n in ["walk_m0", *names]]
    far = table(tmp_path / "far", [["features", "motion"], *lines])
    together = predicted(whole, far, tmp_path / "p.csv")
    alone = table(tmp_path / "far", [["features", "motion"], lines[0]])
    (row,) = predicted(whole, alone, tmp_path / "p.csv").values()
    first = together["x/walk_m0.npy"]
    assert np.abs(shares({"": row}) - shares({"": first})).max() < 2e-6
    # The statistics in the file are those of the training signals.
    weights = torch.load(whole.path / "weights-best.pt", weights_only=True)
    mean = weights["encoders.motion.tail.0.running_mean"]
    signals = np.stack([np.load(path) for path in sorted((data / "s").glob("*.npy"))])
    assert np.abs(mean.numpy() - signals.mean((0, 2))).max() < 1.0


def test_the_weights_of_the_last_validation_serve_where_they_were_kept(data, tmp_path):
    words = ("--method", "erm", *SPLIT[:-1], "last")
    folder = trained(data, tmp_path / "res", *words)
    rows = predicted(folder, data, tmp_path / "p.csv")
    stored = predictions.read(folder.path / "predictions.npz", "last")
    assert [rows[i]["predicted"] for i in stored.ids] == [CLASSES[c] for c in stored.classes]


def test_data_that_is_made_in_memory_is_predicted_without_a_folder(tmp_path, capsys):
    words = ["--dataset", "synthetic", "--epochs", "1", "--threads", "1", "--method", "erm"]
    words += [*SPLIT[:1], "d1", "d2", "--target", "d3", *SPLIT[-2:]]
    assert run.main([*words, "--results", str(tmp_path)]) == 0
    (record,) = read.read([tmp_path]).records
    rows = predicted(RunFolder(record.folder), None, tmp_path / "p.csv")
    stored = record.predicted("best-val")
    names = record.result["classes"]
    assert [rows[i]["predicted"] for i in stored.ids] == [names[c] for c in stored.classes]
    assert predict.main([str(record.folder), "--data-root", str(tmp_path)]) == 2
    assert "leave --data-root out" in capsys.readouterr().err
    assert predict.main([str(record.folder), "--on-bad-sample", "skip"]) == 2
    assert "leave --on-bad-sample out" in capsys.readouterr().err


def test_recordings_in_an_official_layout_are_read_and_what_it_says_of_labels_is_ignored(tmp_path):
    data, new = tmp_path / "data", tmp_path / "new"
    Dsads.fabricate(data, 2)
    words = ["--method", "erm", "--dataset", "dsads", "--data-root", str(data), "--steps", "20"]
    words += [*ALL, "--threads", "1", "--modalities", "gyroscope", "--results", str(tmp_path / "r")]
    assert run.main(words) == 0
    (record,) = read.read([tmp_path / "r"]).records
    folder, classes = RunFolder(record.folder), record.result["classes"]
    known = predicted(folder, data, tmp_path / "p.csv")
    assert len(known) == len(datasets.create("dsads", data).recordings()) == 19 * 8 * 2
    moved = {"a03/p2/s01": "a11/p5/s01", "a19/p8/s02": "a11/p5/s02"}  # of other classes and people
    for name, place in moved.items():
        (new / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(data.rglob(f"{name}.txt")), new / "data" / f"{place}.txt")
    rows = predicted(folder, new, tmp_path / "p.csv")
    assert set(rows) == set(moved.values())
    for name, place in moved.items():
        mine, before = ({"": found} for found in (rows[place], known[name]))
        assert np.abs(shares(mine, classes) - shares(before, classes)).max() < 2e-6


# What goes wrong


def refused(capsys, *words: object) -> str:
    """Return the one line in which the command refuses."""
    capsys.readouterr()
    assert predict.main([str(word) for word in words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_without_weights_the_error_is_the_command_that_keeps_them(data, tmp_path, capsys):
    folder = trained(data, tmp_path / "res", "--method", "mbcd", *SPLIT[:-2], "--set", "beta=0.9")
    error = refused(capsys, folder.path, "--data-root", data)
    command = shlex.split(error.partition("This keeps them: ")[2])
    assert command[:3] == ["python", "-m", "benchmark.run"]
    assert run.main([*command[3:], "--threads", "1"]) == 0
    assert len(predicted(folder, data, tmp_path / "p.csv")) == 72
    assert folder.path.with_name(f"{folder.path.name}~1").is_dir()


def test_a_run_on_all_domains_whose_weights_are_gone_is_trained_again(
    data, whole, tmp_path, capsys
):
    root = tmp_path / "res"
    shutil.copytree(whole.path.parents[5], root)
    (record,) = read.read([root]).records
    (record.folder / "weights-best.pt").unlink()
    error = refused(capsys, record.folder, "--data-root", data)
    command = shlex.split(error.partition("This keeps them: ")[2])
    assert "--sources" not in command and "--keep-checkpoints" not in command
    assert run.main([*command[3:], "--threads", "1"]) == 0
    assert (record.folder / "weights-best.pt").is_file()


def test_a_folder_that_is_none_of_a_run_or_of_one_that_is_not_done(data, whole, tmp_path, capsys):
    assert "is not the folder of a run" in refused(capsys, tmp_path, "--data-root", data)
    assert "is not the folder of a run" in refused(capsys, whole.path.parent)
    copy = tmp_path / "copy"
    shutil.copytree(whole.path, copy)
    (copy / "result.json").unlink()
    assert "is not done but to do" in refused(capsys, copy, "--data-root", data)
    (copy / "result.json").write_text("{}")
    assert "of schema unknown" in refused(capsys, copy, "--data-root", data)
    (copy / "spec.json").write_text("{}")
    assert "no spec of this version" in refused(capsys, copy, "--data-root", data)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_weights_that_are_damaged_or_of_another_model(data, whole, tmp_path, capsys, content):
    copy = tmp_path / "copy"
    shutil.copytree(whole.path, copy)
    path = copy / "weights-best.pt"
    if content is None:
        weights = torch.load(path, weights_only=True)
        torch.save({k: v for k, v in weights.items() if "running_mean" not in k}, path)
    else:
        path.write_bytes(content)
    error = refused(capsys, copy, "--data-root", data)
    assert "weights-best.pt" in error and "Train again: python -m benchmark.run" in error
    assert "--results" not in error  # as a copy may be anywhere


@pytest.mark.parametrize(
    ("header", "content", "says"),
    [
        (["features"], None, "there is no column 'motion', only features"),
        (["features", "motion", "motion"], None, "2 columns are named 'motion'"),
        (["features", "motion"], (np.zeros(7), np.zeros((2, 40))), "features has the shape [7]"),
        (["features", "motion"], (np.zeros(5), np.zeros((3, 40))), "motion has the shape [3, 128]"),
        (["features", "motion"], (np.zeros(5), np.full((2, 40), np.nan)), "row 2: "),
        (["features", "motion"], "", "one row per recording"),
    ],
)
def test_recordings_that_do_not_fit_are_one_line(whole, tmp_path, capsys, header, content, says):
    new = tmp_path / "new"
    files = ["x.npy", "s.npy", "s.npy"][: len(header)]
    arrays = content or (np.zeros(5), np.zeros((2, 40)))
    for name, values in zip(["x.npy", "s.npy"], arrays, strict=True):
        save(new, name, values)
    table(new, [header, *([files] if content != "" else [])])
    assert says in refused(capsys, whole.path, "--data-root", new)


def test_without_a_samples_csv_the_error_says_which_columns_it_needs(whole, tmp_path, capsys):
    error = refused(capsys, whole.path, "--data-root", tmp_path)
    assert "a column of paths for each of: features, motion" in error
    assert "label" not in error


def test_broken_recordings_stop_it_or_are_left_out_by_name(whole, tmp_path, capsys):
    new = tmp_path / "new"
    write(new, ["walk_n0", "walk_n1"])
    (new / "s" / "walk_n1.npy").write_bytes(b"broken")
    lines = [[f"x/{n}.npy", f"s/{n}.npy"] for n in ("walk_n0", "walk_n1")]
    table(new, [["features", "motion"], *lines])
    error = refused(capsys, whole.path, "--data-root", new)
    assert "row 3" in error and "--on-bad-sample skip" in error and "prepare" not in error
    output = tmp_path / "p.csv"
    assert list(predicted(whole, new, output, "--on-bad-sample", "skip")) == ["x/walk_n0.npy"]
    shown = capsys.readouterr()
    assert "left out: x/walk_n1.npy: row 3" in shown.err and "1 recording: " in shown.out
    (new / "s" / "walk_n0.npy").write_bytes(b"")
    words = ("--data-root", new, "--on-bad-sample", "skip")
    assert "walk" in refused(capsys, whole.path, *words)


def test_an_output_that_cannot_be_written(data, whole, tmp_path, capsys):
    error = refused(capsys, whole.path, "--data-root", data, "--output", tmp_path)
    assert error.startswith(f"error: cannot write {tmp_path}")
