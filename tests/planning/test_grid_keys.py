"""Every option of benchmark.run is a key of a grid, and means the same there."""

import re
from pathlib import Path

import pytest
from support_grids import BASE, planned

from benchmark import run
from benchmark.planning import grid, plan, yaml_values
from benchmark.planning.request import request
from benchmark.settings import RunSettings
from mmdg_common import UsageError

pytest_plugins = ["support_grids"]

SPLIT = "sources: [human, cartoon]\ntarget: animal"
# By option: lines of a file, and the same on the command line. Where an option cannot be given
# alone, or shows nothing alone, another one stands beside it.
GIVEN = {
    "method": ("method: [joint, swad+erm]", "--method joint swad+erm"),
    "dataset": ("dataset: utd_mhad", "--dataset utd_mhad"),
    "dataset-option": (
        "dataset-option: {target_set: test, audio_crop: reference}",
        "--dataset-option target_set=test audio_crop=reference",
    ),
    "on-bad-sample": ("on-bad-sample: skip", "--on-bad-sample skip"),
    "all-splits": (f"all-splits: False\n{SPLIT}", "--sources human cartoon --target animal"),
    "sources": (f"all-splits: false\n{SPLIT}", "--sources cartoon human --target animal"),
    "target": (
        "all-splits: false\nsources: human\ntarget: cartoon",
        "--sources human --target cartoon",
    ),
    "setting": ("setting: both", "--setting both"),
    "modalities": ("modalities: [video+audio, flow]", "--modalities video+audio flow"),
    "all-modalities": ("all-modalities: TRUE", "--all-modalities"),
    "subset-sizes": ("subset-sizes: [2, 3]", "--subset-sizes 2 3"),
    "seeds": ("seeds: [3, -1]", "--seeds 3 -1"),
    "set": ("set:\n  beta: 0.9\n  mbcd.alpha: 1e-2", "--set beta=0.9 mbcd.alpha=0.01"),
    "search": ("search: 3", "--search 3"),
    "search-seed": ("search: 3\nsearch-seed: 7", "--search 3 --search-seed 7"),
    "epochs": ("epochs: 7", "--epochs 7"),
    "steps": ("steps: 70", "--steps 70"),
    "lr": ("lr: 3e-4", "--lr 0.0003"),
    "decay": ("decay: cosine", "--decay cosine"),
    "batch-size": ("batch-size: 9", "--batch-size 9"),
    "weight-decay": ("weight-decay: .5", "--weight-decay 0.5"),
    "validate-every": ("validate-every: 5", "--validate-every 5"),
    "backbone": (
        "backbone: {video: r3d_18, flow: tiny_flow}",
        "--backbone video=r3d_18 flow=tiny_flow",
    ),
    "protocol": ("protocol: reference", "--protocol reference"),
    "neck": ("neck: none", "--neck none"),
    "frozen-bn": ("frozen-bn: {video: train}", "--frozen-bn video=train"),
    # There is no checkpoint here, which is an error that shows that the option is heard.
    "tail-init": ("tail-init: random", "--tail-init random"),
    "embedding-dropout": (
        "embedding-dropout: [audio=0.5, video=0.25]",
        "--embedding-dropout audio=0.5 video=0.25",
    ),
    "ema-warmup": ("ema-warmup: false", "--no-ema-warmup"),
    "average-bn": ("average-bn: copied", "--average-bn copied"),
    "views": ("views: 4", "--views 4"),
    "precision": ("precision: bf16", "--precision bf16"),
    "feature-dtype": ("feature-dtype: bf16", "--feature-dtype bf16"),
}


def outcome(make) -> list[str]:
    """Return the ids that are planned, or the error without its place."""
    try:
        return [s.id for s in make()]
    except UsageError as error:
        return [re.sub(r"^grid.yaml, line \d+: ", "", str(error))]


@pytest.mark.parametrize("option", grid.OF_RUNS)
def test_an_option_can_be_a_key_and_means_the_same_there(option, written, roots):
    lines, words = GIVEN[option]
    usual = {"method": "[mbcd, ema]", "dataset": "hac", "all-splits": "true"}
    keys = yaml_values.read(written(lines)).mapping()
    assert option in keys
    base = "".join(f"{key}: {value}\n" for key, value in usual.items() if key not in keys)
    flags = [
        *("" if "--method" in words else "--method mbcd ema ").split(),
        *("" if "--dataset " in words else "--dataset hac ").split(),
        *("" if "all-splits" in keys else "--all-splits").split(),
        *words.split(),
    ]

    def by_file(text):
        return lambda: grid.specs(planned(written(text), **roots))

    def by_hand():
        settings = RunSettings(Path("results"), data_roots=roots, random_weights=True)
        return plan.make(request(run.parser().parse_args(flags)), settings).specs

    found = outcome(by_file(f"{base}{lines}\n"))
    assert found == outcome(by_hand)
    everything = "".join(f"{key}: {value}\n" for key, value in usual.items())
    assert found != outcome(by_file(everything))


def test_true_and_false_of_a_switch_that_has_both(written):
    ids = {
        text: [s.id for s in grid.specs(planned(written(f"{BASE}method: ema\n{text}\n")))]
        for text in ("", "ema-warmup: true", "ema-warmup: false")
    }
    assert ids[""] == ids["ema-warmup: true"] != ids["ema-warmup: false"]
