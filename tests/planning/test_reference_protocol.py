"""`--protocol reference`: what the public scripts do, dataset by dataset and method by method."""

from pathlib import Path

import pytest
import torch

from benchmark import backbones, run
from benchmark.planning import plan
from benchmark.planning import request as options_of_run
from benchmark.records import selection
from benchmark.settings import RunSettings
from benchmark.training.train import Training
from datasets.hac import Hac
from datasets.hac_files import FOLDERS, names
from mmdg_common import UsageError

TINY = {"video": "r3d_18", "flow": "tiny_flow", "audio": "vggsound_resnet18"}
FAIR_OPTIONS = {
    "validation": "clean",
    "target_set": "all",
    "audio_crop": "clip",
    "frame_index": "exact",
    "flow_test_crop": 224,
    "on_bad_sample": "error",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Split files of seven clips a part, and files that planning looks at but does not open."""
    root = tmp_path_factory.mktemp("hac")
    for domain in Hac.card.domains:
        for part in ("train", "test"):
            rows = [f"{part}_{label}.mp4,{label}" for label in range(7)]
            split = root / "HAC_Splits" / f"HAC_{part}_only_{domain}.csv"
            split.parent.mkdir(exist_ok=True)
            split.write_text("\n".join(rows) + "\n")
    dataset = Hac(root, None, {"on_bad_sample": "skip"})
    for domain in Hac.card.domains:
        for sample in (*dataset.listed(domain, "train"), *dataset.listed(domain, "val")):
            for file in (f for kind in FOLDERS for f in names(domain, sample, kind)):
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_bytes(b"x")
    return root


def specs(root: Path, results: Path, methods, weights=None, **changes):
    request = {
        "methods": methods,
        "dataset": "hac",
        "all_splits": True,
        "protocol": "reference",
        "backbones": TINY,
    }
    settings = RunSettings(
        results, data_roots={"hac": root}, weights=weights or {}, random_weights=True
    )
    return plan.make(plan.Request(**{**request, **changes}), settings).specs


@pytest.fixture(scope="module")
def audio_file(tmp_path_factory):
    """Return an official audio checkpoint of random weights, and its tensors."""
    torch.manual_seed(7)
    encoder = backbones.create("vggsound_resnet18", (1, 257, 1004))
    state = {f"audnet.{k.partition('.')[2]}": v for k, v in encoder.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "vggsound_avgpool.pth.tar"
    torch.save({"model_state_dict": state}, path)
    return path


def test_erm_follows_the_public_script(root, tmp_path, audio_file):
    first, *_ = specs(root, tmp_path, ["erm"], {"audio": str(audio_file)})
    assert first.options == {
        "validation": "with-duplicates",
        "target_set": "all-with-duplicates",
        "audio_crop": "reference",
        "frame_index": "off-by-one",
        "flow_test_crop": 256,
        "on_bad_sample": "error",
    }
    assert first.method == "erm"
    assert vars(first.protocol) == {
        "neck": "none",
        "frozen_bn": {"video": "train", "flow": "train", "audio": "eval"},
        "tail_init": {"video": "pretrained", "flow": "pretrained", "audio": "random"},
        "embedding_dropout": {"video": 0.5, "flow": 0.5, "audio": 0.0},
        "ema_warmup": False,
        "average_bn": "averaged",
        "views": 0,
        "feature_dtype": "fp32",
        "precision": "fp32",
    }
    assert (first.recipe.epochs, first.recipe.weight_decay, first.recipe.lr) == (20, 1e-4, 1e-4)


def test_mbcd_follows_its_own_script(root, tmp_path, audio_file):
    first, *_ = specs(root, tmp_path, ["mbcd"], {"audio": str(audio_file)})
    assert first.method == "dsu+mbcd"
    assert first.hyperparameters["mbcd"]["alpha"] == 1e-4
    assert first.hyperparameters["dsu"]["p"] == 0.5
    assert vars(first.protocol) == {
        "neck": "fixed-layernorm",
        "frozen_bn": "train",
        "tail_init": "pretrained",
        "embedding_dropout": 0.0,
        "ema_warmup": False,
        "average_bn": "averaged",
        "views": 0,
        "feature_dtype": "fp32",
        "precision": "fp32",
    }


def test_wrappers_go_around_what_the_script_trains(root, tmp_path):
    methods = {s.method for s in specs(root, tmp_path, ["swad+mbcd", "ema"])}
    assert methods == {"swad+dsu+mbcd", "ema"}


def test_what_is_asked_for_beats_the_protocol(root, tmp_path):
    first, *_ = specs(
        root,
        tmp_path,
        ["mbcd"],
        dataset_options={"audio_crop": "clip"},
        set=["mbcd.alpha=0.01"],
        switches={"neck": "none", "embedding_dropout": {"audio": 0.25}},
        recipe={"epochs": 3},
    )
    assert first.options["audio_crop"] == "clip"
    assert first.options["frame_index"] == "off-by-one"
    assert first.hyperparameters["mbcd"]["alpha"] == 0.01
    assert first.protocol.neck == "none"
    assert first.protocol.embedding_dropout == {"video": 0.0, "flow": 0.0, "audio": 0.25}
    assert first.recipe.epochs == 3


def test_every_row_works_alone_and_a_spec_does_not_know_the_protocols_name(root, tmp_path):
    reference, *_ = specs(root, tmp_path, ["erm"])
    options = {k: v for k, v in reference.options.items() if v != FAIR_OPTIONS[k]}
    by_hand, *_ = specs(
        root,
        tmp_path,
        ["erm"],
        protocol="fair",
        dataset_options=options,
        switches={
            "neck": "none",
            "frozen_bn": {"video": "train", "flow": "train"},
            "embedding_dropout": {"video": 0.5, "flow": 0.5},
            "ema_warmup": False,
        },
    )
    fair, *_ = specs(root, tmp_path, ["erm"], protocol="fair")
    assert by_hand.id == reference.id
    assert fair.options == FAIR_OPTIONS
    assert fair.id != reference.id


def test_a_subset_of_modalities_takes_its_own_values(root, tmp_path):
    (audio,) = {s.protocol for s in specs(root, tmp_path, ["erm"], modalities=["audio"])}
    assert (audio.frozen_bn, audio.embedding_dropout) == ("eval", 0.0)


def test_a_dataset_without_public_scripts_refuses(tmp_path):
    request = plan.Request(["erm"], "synthetic", all_splits=True, protocol="reference")
    with pytest.raises(UsageError, match="there are for epic_kitchens and hac"):
        plan.make(request, RunSettings(tmp_path))


def test_switches_by_modality_are_read_from_the_command_line(tmp_path, capsys):
    common = ["--method", "erm", "--smoke", "--dry-run", "--results", str(tmp_path)]
    given = ["--embedding-dropout", "m1=0.5", "m2=0.25"]
    args = run.parser().parse_args([*common, *given])
    args.dataset = "synthetic"
    assert options_of_run.request(args).switches == {"embedding_dropout": {"m1": 0.5, "m2": 0.25}}
    for bad, message in {
        "m9=0.5": "unknown modality of synthetic 'm9'",
        "m1=much": "--embedding-dropout much: type a number",
        "1.5": "--embedding-dropout 1.5: give a probability below 1",
    }.items():
        assert run.main([*common, "--embedding-dropout", bad]) == 2
        assert message in capsys.readouterr().err
    assert run.main([*common, "--tail-init", "random"]) == 2
    assert "no encoder starts from a checkpoint" in capsys.readouterr().err


def test_a_random_tail_keeps_the_checkpoint_in_the_stem_alone(audio_file):
    torch.manual_seed(1)
    shape = (1, 257, 1004)
    whole = backbones.create("vggsound_resnet18", shape, str(audio_file)).state_dict()
    part = backbones.create("vggsound_resnet18", shape, str(audio_file), random_tail=True)
    for name, value in part.state_dict().items():
        if name.startswith("stem."):
            assert torch.equal(value, whole[name]), name
    assert not torch.equal(
        part.state_dict()["tail.layer4.0.conv1.weight"], whole["tail.layer4.0.conv1.weight"]
    )


def test_training_starts_the_tail_that_the_protocol_names_from_random_weights(
    root, tmp_path, audio_file, monkeypatch
):
    monkeypatch.setattr(Hac, "prepare", lambda self, modalities: None)  # the clips are not real
    weights = {"audio": str(audio_file)}
    official = backbones.create("vggsound_resnet18", (1, 257, 1004), str(audio_file))
    wanted = official.state_dict()["tail.layer4.0.conv1.weight"]
    for method, same in (("erm", False), ("mbcd", True)):
        first, *_ = specs(root, tmp_path, [method], weights, modalities=["audio"])
        settings = RunSettings(tmp_path, data_roots={"hac": root}, weights=weights, threads=1)
        dataset = settings.open_dataset("hac", first.options)
        training = Training(first, dataset, settings)
        encoder = training.model.encoder("audio").state_dict()
        assert torch.equal(encoder["stem.conv1.weight"], official.state_dict()["stem.conv1.weight"])
        assert torch.equal(encoder["tail.layer4.0.conv1.weight"], wanted) is same


def records(*accuracies):
    return [
        {"val": {"fused": {"accuracy": a, "loss": 1.0}}, "target": {"fused": {"accuracy": 0.5}}}
        for a in accuracies
    ]


def test_the_reference_rule_takes_the_later_of_equals_or_the_last():
    ties = records(0.5, 0.9, 0.9, 0.7)
    assert selection.best_val(ties) == 1
    assert selection.rules("best-val")[selection.REFERENCE](ties) == 2
    assert selection.rules("last")[selection.REFERENCE](ties) == 3
