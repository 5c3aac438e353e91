"""Flags: declared once, read into requests, and written back as the command of a run."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest
from support import SPEC, tiny_specs
from support_reports import make_result

from benchmark import run
from benchmark.planning import flags, plan
from benchmark.planning.options import HOW, WHAT, WHERE
from benchmark.planning.request import request, settings
from benchmark.records import committed
from benchmark.records.spec import Asked, Protocol, RunSpec
from benchmark.records.store import Store
from benchmark.reporting.model import Missing
from benchmark.settings import RunSettings
from datasets.base import Recipe

pytest_plugins = ["support_grids"]

# A value of every field that a flag has, as the request holds it.
VALUES = {
    "methods": ["erm", "swad+mbcd"],
    "dataset": "synthetic",
    "dataset_options": {"domains": "3", "on_bad_sample": "skip"},
    "all_splits": True,
    "sources": ["d1", "d 2"],
    "target": "d3",
    "settings": ("multi-source", "single-source"),
    "modalities": ["m1+m2", "m3"],
    "all_modalities": True,
    "subset_sizes": [2, 3],
    "seeds": [0, -1, 7],
    "set": ["mbcd.beta=0.5", "alpha=1e-05"],
    "search": 3,
    "search_seed": 4,
    "recipe": {
        "epochs": 3,
        "steps": 0,
        "lr": 1e-05,
        "decay": "cosine",
        "batch_size": 9,
        "weight_decay": 0.25,
        "validate_every": 5,
    },
    "backbones": {"m1": "mlp"},
    "protocol": "reference",
    "switches": {
        "neck": "none",
        "frozen_bn": {"m1": "train"},
        "tail_init": "random",
        "embedding_dropout": {"m1": 0.5, "m2": 0.25},
        "ema_warmup": False,
        "average_bn": "copied",
        "views": 4,
        "feature_dtype": "bf16",
        "precision": "bf16",
    },
}


def test_every_flag_is_read_as_it_is_written():
    words = flags.words(VALUES)
    assert flags.read(run.parser().parse_args(words), (*WHAT, *HOW)) == VALUES
    written = {word for word in words if word.startswith("--")}
    assert {word.replace("--no-", "--") for word in written} == {
        f"--{flag.name}" for flag in (*WHAT, *HOW)
    }


def test_what_is_not_given_is_left_to_the_request():
    args = run.parser().parse_args(["--method", "erm", "--dataset", "synthetic"])
    given = {"methods": ["erm"], "dataset": "synthetic"}
    switches_off = {"all_splits": False, "all_modalities": False}
    assert flags.read(args, (*WHAT, *HOW)) == given | switches_off
    assert flags.read(args, WHERE) == {"device": "auto"}


@pytest.mark.parametrize("words", [["--no-reuse"], ["--reuse", "none"]])
def test_no_reuse_means_no_folder(words, tmp_path):
    args = run.parser().parse_args(["--method", "erm", "--dataset", "synthetic", *words])
    assert settings(args, tmp_path, (), {}).reuse is None


def test_committed_results_are_reused_unless_told_otherwise(tmp_path):
    args = run.parser().parse_args(["--method", "erm", "--dataset", "synthetic"])
    assert settings(args, tmp_path, (), {}).reuse == committed.HOME


def gap_of(spec: RunSpec, seed: int) -> Missing:
    return Missing("row", "column", {seed: "not run"}, spec, False, None)


def planned(words: str, settings: RunSettings) -> list[RunSpec]:
    return plan.make(request(run.parser().parse_args(shlex.split(words))), settings).specs


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("--method mbcd --dataset synthetic", Asked()),
        (
            "--method swad+mbcd --dataset hac --set swad.ratio=0.4",
            Asked(("swad.ratio=0.4",), ("--weights", "none")),
        ),
        (
            "--method mbcd --dataset synthetic --epochs 3 --lr 0.001 --set beta=0.999 alpha=0.5",
            Asked(("mbcd.alpha=0.5",), ("--epochs", "3")),
        ),
        ("--method erm --dataset synthetic --steps 10", Asked((), ("--steps", "10"))),
        (
            "--method ema --dataset synthetic --embedding-dropout m2=0.5 --no-ema-warmup "
            "--dataset-option domains=4 seed=1 --backbone m1=mlp m2=mlp",
            Asked(
                (),
                shlex.split(
                    "--dataset-option seed=1 --backbone m2=mlp --embedding-dropout m2=0.5 "
                    "--no-ema-warmup"
                ),
            ),
        ),
        (
            "--method erm --dataset hac --on-bad-sample skip --frozen-bn video=train "
            "--modalities video+audio",
            Asked(
                (),
                shlex.split("--on-bad-sample skip --frozen-bn video=train --weights none"),
            ),
        ),
    ],
)
def test_a_run_knows_the_words_by_which_it_differs(words, asked, roots, tmp_path):
    settings = RunSettings(tmp_path, data_roots=roots, random_weights=True)
    for spec in planned(f"{words} --all-splits", settings):
        assert spec.asked == Asked(asked.set, tuple(asked.others))


@pytest.mark.parametrize(
    "words",
    [
        "--method all --dataset synthetic --all-splits",
        "--method mbcd sam+agm --dataset synthetic --all-splits --setting single-source",
        "--method erm --dataset synthetic --all-splits --setting upper-bound --steps 7",
        "--method swad --dataset synthetic --all-splits --dataset-option domains=2 snr=2,1",
        "--method mbcd swad --dataset synthetic --setting all-domains --lr 0.5",
        "--method mbcd jat nel moosa erm --dataset hac --all-splits --protocol reference",
        "--method mbcd --dataset hac --all-splits --protocol reference --neck layernorm "
        "--modalities video+audio audio --set beta=0.9 --dataset-option audio_crop=clip",
        "--method mbcd --dataset utd_mhad --all-splits --decay inverse --validate-every 5",
    ],
)
def test_the_command_asks_for_the_missing_run_alone(words, roots, tmp_path):
    settings = RunSettings(tmp_path, data_roots=roots, random_weights=True)
    specs = planned(words, settings)
    for spec in {(s.method, s.modalities): s for s in specs}.values():
        stored = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
        command = flags.command([gap_of(stored, 5)])
        found = planned(command.removeprefix("python -m benchmark.run "), settings)
        assert replace(spec, seed=5).id in {s.id for s in found}
        if "--all-splits" not in command:
            assert len(found) == 1


def test_a_command_says_only_what_differs(tmp_path):
    (spec,) = tiny_specs(tmp_path, "mbcd", set=["beta=0.5"])
    assert flags.command([gap_of(spec, 3)], ["some where"]) == (
        "python -m benchmark.run --method mbcd --dataset synthetic --sources d1 d2 --target d3 "
        "--setting multi-source --modalities m1+m2+m3 --seeds 3 --set mbcd.beta=0.5 "
        "--dataset-option classes=3 domains=3 samples_per_class=10 --epochs 2 --batch-size 8 "
        "--results 'some where'"
    )


def test_a_record_without_its_words_is_written_out():
    spec = replace(SPEC, protocol=Protocol(embedding_dropout={"m1": 0.5, "m2": 0.0}))
    assert spec.asked is None
    assert flags.method_flags(spec) == ["--set", "mbcd.beta=0.999"]
    words = flags.command([gap_of(spec, 0)])
    assert words.endswith(
        "--seeds 0 --set mbcd.beta=0.999 --dataset-option seed=0 --epochs 2 --lr 0.001 "
        "--decay none --batch-size 8 --weight-decay 0.0 --validate-every 0 "
        "--backbone m1=mlp m2=signal_cnn --embedding-dropout m1=0.5"
    )
    stepped = replace(spec, recipe=Recipe(epochs=1, lr=0.1, batch_size=2, steps=30))
    assert "--steps 30 " in (words := flags.command([gap_of(stepped, 0)]))
    assert "--epochs" not in words


def test_a_report_with_a_gap_imports_neither_torch_nor_methods_nor_datasets(tmp_path):
    store = Store(tmp_path)
    for spec in tiny_specs(
        tmp_path, "mbcd", set=["beta=0.5"], all_splits=True, sources=(), target=None
    )[1:]:
        folder = store.folder(spec)
        folder.write_spec(spec)
        folder.write_result(make_result(0.5))
    code = (
        "import sys; from benchmark import report\n"
        "assert report.main(sys.argv[1:]) == 0\n"
        "names = set(sys.modules)\n"
        "heavy = {n for n in names if n == 'torch' or n.split('.')[0] == 'methods'}\n"
        "light = {'datasets.base', 'datasets.card'}\n"
        "heavy |= {n for n in names - light if n.startswith('datasets.')}\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--set mbcd.beta=0.5 --dataset-option" in done.stdout
