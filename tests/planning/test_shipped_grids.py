"""The grids in sweeps/: the runs that each stands for."""

import re
import shlex
from itertools import combinations, takewhile
from pathlib import Path

import pytest
from support_grids import EPIC, HAC

import methods
from benchmark import sweep
from benchmark.planning import grid
from benchmark.planning.grid import Row
from benchmark.settings import RunSettings

pytest_plugins = ["support_grids"]

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT / "sweeps").glob("*.yaml"))

QUICK = {
    "sp_sw_har": (("back_inv", "back", "front"), ["phone", "watch"]),
    "dsads": (("s1s2", "s3s4", "s5s6", "s7s8"), ["accelerometer", "gyroscope", "magnetometer"]),
    "mex": (("s1s2", "s3s4", "s5s6", "s7s8", "s9s10"), ["accelerometer", "depth"]),
    "utd_mhad": (("s1s2", "s3s4", "s5s6", "s7s8"), ["skeleton", "accelerometer", "gyroscope"]),
}
"""By dataset of the leaderboard: domains, and the modalities that are used."""
UTD = ("s1s2", "s3s4", "s5s6", "s7s8")
PAPER = ("erm", "ema", "joint", "rna_net", "simmmdg", "moosa", "cmrf", "mbcd")
VA, VF, FA, VFA = "video+audio", "video+flow", "flow+audio", "video+flow+audio"
UTD_SETS = [
    "+".join(chosen)
    for size in (2, 3, 4)
    for chosen in combinations(("depth", "skeleton", "accelerometer", "gyroscope"), size)
]


def multi(domains):
    return {(tuple(d for d in domains if d != target), target) for target in domains}


def single(domains):
    return {((source,), target) for source in domains for target in domains if source != target}


def quick(*, alone=False):
    """Return splits and sets of modalities by dataset of the leaderboard."""
    return {
        name: (multi(domains), modalities if alone else ["+".join(modalities)])
        for name, (domains, modalities) in QUICK.items()
    }


# By dataset: splits, sets of modalities and methods of a file; its seeds; how many runs there are
# of each split, set and seed, and how many there are in all.
WANTED = {
    "smoke": (
        {"synthetic": (multi(("d1", "d2", "d3")), ["m1+m2+m3"])},
        ("erm", "ema", "swad+mbcd", "rna_net"),
        (0, 1),
        4,
        3 * 4 * 2,
    ),
    "quick": (quick(), ("erm",), (0, 1, 2), 1, 16 * 3),
    "paper_multi_source": (
        {"hac": (multi(HAC), [VA, VF, FA, VFA]), "epic_kitchens": (multi(EPIC), [VA, VF, FA, VFA])},
        PAPER,
        (0, 1, 2),
        8,
        2 * 3 * 4 * 8 * 3,
    ),
    "paper_single_source": (
        {"hac": (single(HAC), [VFA]), "epic_kitchens": (single(EPIC), [VFA])},
        PAPER,
        (0, 1, 2),
        8,
        2 * 6 * 8 * 3,
    ),
    "ablation": (
        {"epic_kitchens": (multi(EPIC), [FA])},
        ("erm", "ema", "joint", "ema+joint", "mbcd"),
        (0, 1, 2),
        10 * 2,
        3 * 3 * 10 * 2,
    ),
    "dropout": ({"hac": (multi(HAC), [FA])}, ("mbcd",), (0, 1, 2), 4, 3 * 4 * 3),
    "beta": (
        {"utd_mhad": (multi(UTD), ["skeleton+accelerometer+gyroscope"])},
        ("mbcd",),
        (0, 1, 2),
        4 * 2,
        4 * 3 * 4 * 2,
    ),
    "utd_mhad": (
        {"utd_mhad": (multi(UTD) | single(UTD), UTD_SETS)},
        (*PAPER, "swad", "ogm_ge", "agm", "gmp"),
        (0, 1, 2),
        12,
        (4 + 12) * 11 * 12 * 3,
    ),
    "modality_count": (
        {"utd_mhad": (multi(UTD), UTD_SETS)},
        ("erm", "joint", "mbcd"),
        (0, 1, 2),
        3,
        4 * 11 * 3 * 3,
    ),
    "leaderboard": (
        quick(),
        (*methods.names(), "swad+mbcd", "sam+mbcd", "ema+joint"),
        (0, 1, 2),
        41,
        16 * 41 * 3,
    ),
    "one_modality": (
        quick(alone=True),
        ("erm",),
        (0, 1, 2),
        1,
        (3 * 2 + 4 * 3 + 5 * 2 + 4 * 3) * 3,
    ),
    "spurious": (
        {"synthetic": (multi(("d1", "d2", "d3", "d4")), ["m1+m2+m3"])},
        ("erm", "joint", "ema", "mbcd", "ogm_ge", "modality_dropout"),
        (0, 1, 2),
        6 * 3,
        4 * 3 * 6 * 3,
    ),
}


@pytest.fixture(scope="module")
def shipped(roots, tmp_path_factory):
    """Return the rows of a file in sweeps/, planned once."""
    settings = RunSettings(
        tmp_path_factory.mktemp("results"), data_roots=roots, random_weights=True
    )
    planned: dict[str, list[Row]] = {}

    def rows(name: str) -> list[Row]:
        if name not in planned:
            planned[name] = grid.read(PROJECT / "sweeps" / f"{name}.yaml").plan(settings)
        return planned[name]

    return rows


def header(path: Path) -> str:
    return "".join(takewhile(lambda line: line[0] == "#", path.read_text().splitlines(True)))


def one(row: Row):
    """Return one run of a row; method and hyper-parameters are the same in all of them."""
    assert len({(s.method, str(s.hyperparameters)) for s in row.plan.specs}) == 1
    return row.plan.specs[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_plans_what_is_wanted_of_it_and_nothing_else(path, shipped):
    of_dataset, named, seeds, kinds, total = WANTED[path.stem]
    rows = shipped(path.stem)
    specs = grid.specs(rows)
    assert not [reason for row in rows for reason in row.plan.skipped]
    assert {s.dataset for s in specs} == set(of_dataset)
    for dataset, (splits, subsets) in of_dataset.items():
        found: dict[tuple, int] = {}
        for s in (s for s in specs if s.dataset == dataset):
            key = (s.sources, s.target, "+".join(s.modalities), s.seed)
            found[key] = found.get(key, 0) + 1
        wanted = {
            (*split, subset, seed) for split in splits for subset in subsets for seed in seeds
        }
        assert set(found) == wanted
        assert set(found.values()) == {kinds}
        assert {s.method for s in specs if s.dataset == dataset} == set(named)
    assert len(specs) == total
    assert len({s.id for s in specs}) == total


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_no_two_rows_of_a_file_share_a_name_or_a_run(path, shipped):
    rows = shipped(path.stem)
    names = [
        (row.plan.specs[0].dataset, name)
        for row in rows
        for name in ([row.label] if row.label else {s.method for s in row.plan.specs})
    ]
    assert len(set(names)) == len(names)
    assert sum(len(row.plan.specs) for row in rows) == len(grid.specs(rows))
    labels = re.findall(r"label: ([^,}\n]+)", path.read_text())
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_opens_with_the_command_that_runs_it_and_how_many_runs_it_has(path, shipped):
    text = header(path)
    command = re.sub(r" \\\n# +", " ", text).splitlines()[0].removeprefix("# ")
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "benchmark.sweep"]
    args = sweep.parser().parse_args(words[3:])
    assert args.grid == Path("sweeps") / path.name
    *_, total = WANTED[path.stem]
    assert re.findall(r"(\d+) (?:short )?runs", text) == [str(total)]


OFF = {"dropout": "none", "consistency": "none", "distill_fused": 0.0, "distill_unimodal": 0.0}
ON = {"dropout": "adaptive", "consistency": "first", "distill_fused": 1.0, "distill_unimodal": 1.0}
DISTILLATION = {"distill_fused": 1.0, "distill_unimodal": 1.0}


def test_the_rows_of_the_ablation_differ_in_the_parts_that_they_name(shipped):
    # By row: the composition, the parts of MBCD that are on, and beta where there is an average.
    wanted = {
        "none (ERM)": ("erm", None, None),
        "EMA": ("ema", None, 0.999),
        "dropout + EMA": ("mbcd", {"dropout": "adaptive"}, 0.999),
        "consistency + EMA": ("mbcd", {"consistency": "first"}, 0.999),
        "EMA + distillation": ("mbcd", DISTILLATION, 0.999),
        "full": ("mbcd", ON, 0.999),
        "joint": ("joint", None, None),
        "joint + EMA": ("ema+joint", None, 0.999),
        "dropout": ("mbcd", {"dropout": "adaptive"}, 0.0),
        "consistency": ("mbcd", {"consistency": "first"}, 0.0),
    }
    rows = {row.label: row for row in shipped("ablation")}
    assert set(rows) == {name + neck for name in wanted for neck in ("", ", no neck")}
    for name, (method, parts, beta) in wanted.items():
        for neck, kind in {"": "layernorm", ", no neck": "none"}.items():
            spec = one(rows[name + neck])
            assert spec.method == method
            if parts is not None:
                own = spec.hyperparameters["mbcd"]
                assert {key: own[key] for key in OFF} == OFF | parts
            betas = [own["beta"] for own in spec.hyperparameters.values() if "beta" in own]
            assert betas == ([] if beta is None else [beta])
            assert {s.protocol.neck for s in rows[name + neck].plan.specs} == {kind}
            assert spec.protocol.ema_warmup


def test_the_rows_of_the_other_files_set_what_they_name(shipped):
    found = {row.label: one(row).hyperparameters["mbcd"] for row in shipped("dropout")}
    paper = grid.specs(shipped("paper_multi_source"))
    default = next(s for s in paper if s.method == "mbcd").hyperparameters["mbcd"]
    assert found == {
        "no dropout": default | {"dropout": "none"},
        "fixed dropout (redrawn)": default | {"dropout": "fixed", "dropout_rate": 0.5},
        "fixed dropout (literal)": default | {"dropout": "fixed-literal", "dropout_rate": 0.5},
        "adaptive dropout": default,
    }
    betas = {row.label: (one(row).hyperparameters["mbcd"]["beta"], row) for row in shipped("beta")}
    assert {label: beta for label, (beta, _) in betas.items()} == {
        f"beta {beta}{more}": beta
        for beta in (0.9, 0.99, 0.999, 0.9999)
        for more in ("", ", no warm-up")
    }
    for label, (_, row) in betas.items():
        assert {s.protocol.ema_warmup for s in row.plan.specs} == {"no warm-up" not in label}
    for row in shipped("spurious"):
        method, cue = row.label.split(", ")
        assert one(row).method == method
        strength = {"no cue": 0.0, "cue of 2": 2.0, "cue of 4": 4.0}[cue]
        for s in row.plan.specs:
            assert (s.options["spurious_modality"], s.options["spurious_strength"]) == (1, strength)


def test_what_several_files_ask_for_are_the_same_runs(shipped):
    ids = {name: {s.id for s in grid.specs(shipped(name))} for name in WANTED}
    assert ids["modality_count"] <= ids["utd_mhad"]
    adaptive = next(row for row in shipped("dropout") if row.label == "adaptive dropout")
    assert {s.id for s in adaptive.plan.specs} <= ids["paper_multi_source"]
    for row in shipped("ablation"):
        if row.label in ("none (ERM)", "EMA", "joint", "full"):
            assert {s.id for s in row.plan.specs} <= ids["paper_multi_source"]


def test_a_dry_run_counts_the_runs_of_every_row(tmp_path, capsys):
    path = PROJECT / "sweeps" / "spurious.yaml"
    assert sweep.main([str(path), "--dry-run", "--results", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "synthetic ogm_ge, cue of 4 · · · 12 ·" in text
    assert "216 runs · · · 216 ·" in text
    assert not list(tmp_path.iterdir())
