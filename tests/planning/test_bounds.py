"""Values that no run can have, and parts that contradict each other: one clear line at once."""

import subprocess
import sys

import pytest
from support import tiny_specs
from support_commands import refusal

from benchmark import report, run
from benchmark.planning import options
from benchmark.planning.request import Request
from mmdg_common import UsageError

USUAL = ["--method", "erm", "--dataset", "synthetic"]
SPLIT = ["--sources", "d1", "--target", "d2"]


def said(capsys, *words: str) -> str:
    """Return why the runs are refused."""
    return refusal(run.main, [*USUAL, *words], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--threads 5000000", "--threads 5000000: type a whole number from 0 to "),
        ("--threads -1", "--threads -1: type a whole number from 0 to "),
        ("--workers 5000000", "--workers 5000000: type a whole number from 0 to "),
        ("--search 1001", "--search 1001: type a whole number from 0 to 1000; every setting is"),
        ("--search -1", "--search -1: type a whole number"),
        ("--search-seed -1", "--search-seed -1: type a whole number from 0 on"),
        ("--epochs 100001", "--epochs 100001: type a whole number from 1 to 100000; more would"),
        ("--epochs 0", "--epochs 0: type a whole number from 1"),
        ("--steps 100000001", "--steps 100000001: type a whole number from 0"),
        ("--steps -5", "--steps -5: type a whole number from 0"),
        ("--epochs many", "--epochs: invalid int value: 'many'"),
        ("--epochs 1e3", "--epochs: invalid int value: '1e3'"),
        ("--batch-size 0", "--batch-size 0: type a whole number from 1"),
        ("--batch-size 99999999999999", "--batch-size 99999999999999: type a whole number"),
        ("--validate-every -1", "--validate-every -1: type a whole number"),
        ("--lr 0", "--lr 0.0: type a finite number above 0"),
        ("--lr nan", "--lr nan: type a finite number above 0"),
        ("--lr inf", "--lr inf: type a finite number above 0"),
        ("--weight-decay nan", "--weight-decay nan: type a finite number"),
        ("--weight-decay inf", "--weight-decay inf: type a finite number"),
        ("--weight-decay -1", "--weight-decay -1.0: type a finite number"),
        ("--checkpoint-every nan", "--checkpoint-every nan: type a finite number of seconds"),
        ("--checkpoint-every inf", "--checkpoint-every inf: type a finite number of seconds"),
        ("--checkpoint-every -1", "--checkpoint-every -1.0: type a finite number of seconds"),
        ("--embedding-dropout nan", "--embedding-dropout nan: give a probability below 1"),
        ("--embedding-dropout m1=inf", "--embedding-dropout inf: give a probability below 1"),
        ("--method mbcd --set beta=nan", "mbcd.beta=nan: must be finite"),
        ("--seeds 0 99999999999999999999", "--seeds 99999999999999999999: type a whole number of"),
        ("--device meta", "--device meta: runs cannot compute there; try --device cpu"),
        ("--device cuda:99999", "--device cuda:99999: runs cannot compute there"),
        ("--epochs 5 --steps 10", "--epochs and --steps both say how long to train; give one"),
        ("--smoke --steps 10", "--smoke trains for one epoch; leave --steps out"),
        ("--sources d1 --all-splits", "give --all-splits, or --sources and --target, not both"),
        (
            "--setting single-source --sources d1 d3 --target d2",
            "--setting single-source trains on one domain, and --sources names 2: name one",
        ),
        ("--setting both --sources d1 --target d2", "--setting both goes with --all-splits"),
        ("--modalities m1 --all-modalities", "give --modalities or --all-modalities, not both"),
        (
            "--subset-sizes 2 --all-modalities",
            "give --all-modalities or --subset-sizes, not both",
        ),
        ("--subset-sizes 0", "--subset-sizes 0: type a whole number from 1"),
        ("--subset-sizes 2 4", "--subset-sizes 4: synthetic has 3 modalities"),
        (
            "--dataset-option modalities=16 --all-modalities",
            "synthetic has 16 modalities, and 65,519 such subsets are too many; ask for some "
            "sizes, such as --subset-sizes 2, or name --modalities",
        ),
        (
            "--dataset-option modalities=1 --all-modalities",
            "--all-modalities: synthetic has one modality, m1; leave it out",
        ),
        ("--dataset-option domains=99999999999999", "dataset option domains: 99999999999999 is"),
        (
            "--dataset-option classes=99999",
            "dataset option classes: 99999 is impossible; type 1000",
        ),
        ("--dataset-option modalities=65", "dataset option modalities: 65 is impossible; type 64"),
        (
            "--dataset-option samples_per_class=100000",
            "dataset option samples_per_class: 100000 is impossible; with 4 domains of 5 classes "
            "type 50000 or less",
        ),
        ("--dataset-option spurious_strength=nan", "dataset option spurious_strength: nan is"),
        ("--dataset-option snr=inf", "dataset option snr: 'inf' is impossible"),
        ("--no-such-flag", "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_value_that_no_run_can_have_is_refused(words, message, capsys):
    split = [] if {"--sources", "--all-splits", "--smoke"} & {*words.split()} else SPLIT
    assert said(capsys, *split, *words.split()).startswith(message)


def test_generous_values_are_taken():
    most = str(options.MOST_PROCESSES)
    words = ["--threads", most, "--workers", most, "--epochs", "100000", "--device", "cuda:1"]
    args = options.parser().parse_args([*USUAL, *words])
    assert (args.threads, args.workers, args.epochs) == (int(most), int(most), 100000)
    assert int(most) >= 256


@pytest.mark.parametrize("value", ["", " ", "a\nb", "a\x1bb"])
def test_a_path_that_is_none_is_refused(value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "--results: " in said(capsys, *SPLIT, "--results", value)
    for flag in ("--results", "--output", "--figures", "--export"):
        assert refusal(report.main, [flag, value], capsys).startswith(f"{flag}: ")
    assert not list(tmp_path.iterdir())


def test_wrong_use_is_told_before_torch_is_imported():
    code = (
        "import sys; from benchmark import run\n"
        "assert run.main(sys.argv[1:]) == 2\n"
        "assert 'torch' not in sys.modules"
    )
    for words in (["--device", "meta"], ["--lr", "nan"], ["--epochs", "5", "--steps", "10"]):
        command = [sys.executable, "-c", code, *USUAL, *SPLIT, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr.count("\n") == 1, done.stderr


def test_a_request_made_by_hand_is_checked_like_a_command():
    for values in ({"recipe": {"lr": float("nan")}}, {"search": 10**9}, {"seeds": (0, 2**70)}):
        with pytest.raises(UsageError, match="type a"):
            Request(["erm"], "synthetic", **values)


def test_seeds_given_twice_are_planned_once(tmp_path):
    assert [s.seed for s in tiny_specs(tmp_path, seeds=(3, 3, -1, 3))] == [3, -1]


def test_a_split_whose_folder_would_have_too_long_a_name_is_refused(tmp_path, capsys):
    error = said(capsys, "--all-splits", "--dataset-option", "domains=100")
    assert "is longer than 255 bytes; name fewer --sources" in error


def test_zero_steps_leave_it_to_the_epochs(tmp_path):
    (usual,) = tiny_specs(tmp_path, recipe={"epochs": 2})
    (same,) = tiny_specs(tmp_path, recipe={"epochs": 2, "steps": 0})
    assert usual.id == same.id
