"""Grids: what the files in sweeps/ stand for, and what is said of a file that is wrong."""

import re
import shlex
from argparse import Namespace
from itertools import combinations, product, takewhile
from pathlib import Path

import pytest
from support import numbers, tiny_run
from torch import nn

import datasets
from benchmark import run, sweep
from benchmark.planning import grid, plan, yaml_values
from benchmark.planning import request as from_options
from benchmark.planning.grid import Row
from benchmark.planning.options import add_how, add_what
from benchmark.planning.request import request
from benchmark.settings import RunSettings
from datasets import epic_files, hac_files
from methods.shared.averaging import ExponentialAverage
from mmdg_common import UsageError

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT / "sweeps").glob("*.yaml"))

HAC = ("human", "animal", "cartoon")
EPIC = ("D1", "D2", "D3")
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
    "dropout": ({"hac": (multi(HAC), [FA])}, ("mbcd",), (0, 1, 2), 3, 3 * 3 * 3),
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
    "spurious": (
        {"synthetic": (multi(("d1", "d2", "d3", "d4")), ["m1+m2+m3"])},
        ("erm", "joint", "ema", "mbcd", "ogm_ge", "modality_dropout"),
        (0, 1, 2),
        6 * 3,
        4 * 3 * 6 * 3,
    ),
}


def touched(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def make_hac(root: Path) -> None:
    for domain, part in product(HAC, ("train", "test")):
        split = hac_files.split_file(root, domain, part)
        split.parent.mkdir(parents=True, exist_ok=True)
        split.write_text(f"{part}.mp4,0\n")
        for name in (f"videos/{part}.mp4", f"audio/{part}.wav"):
            touched(root / domain / name)
        for half in "xy":
            touched(root / domain / "flow" / f"{part}_flow_{half}.mp4")


def make_epic(root: Path) -> None:
    for domain, part in product(EPIC, epic_files.PARTS):
        row = epic_files._row(0, "P00_01", 100, 104, "take", 0)
        epic_files.write_table(epic_files.table_file(root, domain, part), [row])
        rgb, flow = (root / kind / part / domain / "P00_01" for kind in ("rgb", "flow"))
        touched(rgb.with_suffix(".wav"))
        for folder, number in ((rgb, 100), (flow / "u", 50), (flow / "v", 50)):
            touched(folder / f"frame_{number:010d}.jpg")


def make_utd(root: Path) -> None:
    for action, subject, trial in product((1, 2), range(1, 9), (1, 2)):
        for folder in ("Depth", "Skeleton", "Inertial"):
            name = f"a{action}_s{subject}_t{trial}_{folder.lower()}.mat"
            touched(root / folder / name)


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Files that planning looks at but does not open."""
    folder = tmp_path_factory.mktemp("data")
    for name, make in {"hac": make_hac, "epic_kitchens": make_epic, "utd_mhad": make_utd}.items():
        make(folder / name)
    return {name: folder / name for name in ("hac", "epic_kitchens", "utd_mhad")}


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


# --- the files of sweeps/ ------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_plans_what_is_wanted_of_it_and_nothing_else(path, shipped):
    of_dataset, methods, seeds, kinds, total = WANTED[path.stem]
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
        assert {s.method for s in specs if s.dataset == dataset} == set(methods)
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
    total = WANTED[path.stem][-1]
    # Data and checkpoints are found where they lie by default.
    assert not args.data_root and not args.weights
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
        "fixed dropout": default | {"dropout": "fixed", "dropout_rate": 0.5},
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


def record(results: Path, method: str, **changes):
    spec, folder = tiny_run(results, method, **changes)
    return numbers(folder), (folder.path / "predictions.npz").read_bytes(), spec.id


def assert_same(one, other):
    assert one[2] != other[2]
    assert one[:2] == other[:2]


def test_mbcd_with_every_part_off_is_joint_and_its_average(tmp_path):
    off = [f"{key}={value}" for key, value in OFF.items()]
    joint = record(tmp_path, "joint")
    averaged = record(tmp_path, "ema+joint")
    assert_same(record(tmp_path, "mbcd", set=[*off, "beta=0"]), joint)
    assert_same(record(tmp_path, "mbcd", set=off), averaged)
    assert averaged[:2] != joint[:2]
    # ... and a part that is on alone does something.
    for part in ("dropout", "consistency"):
        rest = [text for text in off if not text.startswith(part)]
        assert record(tmp_path, "mbcd", set=[*rest, "beta=0"])[1] != joint[1]


def test_with_the_warm_up_slow_averages_are_equal_in_short_runs_and_only_with_it(tmp_path):
    slow = [record(tmp_path, "mbcd", set=[f"beta={beta}"]) for beta in (0.99, 0.9999)]
    assert_same(*slow)
    constant = {"switches": {"ema_warmup": False}}
    slow = [record(tmp_path, "mbcd", set=[f"beta={beta}"], **constant) for beta in (0.99, 0.9999)]
    assert slow[0][1] != slow[1][1]


def test_the_warm_up_reaches_099_at_step_890(monkeypatch):
    def weights(beta):
        moved = []
        monkeypatch.setattr(ExponentialAverage, "move_towards", lambda self, s, w: moved.append(w))
        average = ExponentialAverage(nn.Linear(1, 1), beta, warmup=True)
        for _ in range(900):
            average.update(average.model)
        return moved

    assert weights(0.99)[:890] == weights(0.9999)[:890]
    assert weights(0.99)[890] != weights(0.9999)[890]


@pytest.mark.data
def test_a_run_on_utd_mhad_is_shorter_than_that(utd_root):
    dataset = datasets.create("utd_mhad", utd_root, None)
    recipe = dataset.card.recipe
    sizes = [len(dataset.samples(domain, "train")) for domain in UTD]
    assert recipe.epochs * (sum(sizes) - min(sizes)) / recipe.batch_size < 890


def test_a_dry_run_counts_the_runs_of_every_row(tmp_path, capsys):
    path = PROJECT / "sweeps" / "spurious.yaml"
    assert sweep.main([str(path), "--dry-run", "--results", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "synthetic ogm_ge, cue of 4 · · · 12 ·" in text
    assert "216 runs · · · 216 ·" in text
    assert not list(tmp_path.iterdir())


# --- the format ----------------------------------------------------------------------------------

BASE = "dataset: synthetic\nall-splits: true\n"
"""Two lines."""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that writes a grid into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        path = Path("grid.yaml")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def planned(path: Path, **roots: Path) -> list[Row]:
    settings = RunSettings(Path("results"), data_roots=roots, random_weights=True)
    return grid.read(path).plan(settings)


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
        ("a: &a [*a]\n", "grid.yaml: lists and mappings lie too deep in each other"),
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
        (f"{BASE}runs:\n  - {{method: erm, epochs: 0}}\n", "line 4: --epochs 0: out of range"),
        (f"{BASE}runs:\n  - {{method: erm, threads: 2}}\n", "line 4: threads holds for the whole"),
        (f"{BASE}runs:\n  - {{method: erm, runs: []}}\n", "line 4: runs holds for the whole grid"),
        (f"{BASE}method: erm\nvariants:\n  - data-root: a\n", "line 5: data-root holds for the"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_place(written, capsys, text, message):
    assert sweep.main([str(written(text)), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.endswith("\n")
    place = "" if message.startswith("grid.yaml") else "grid.yaml, "
    assert err.startswith(f"error: {place}{message}")


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(PROJECT)
    assert sweep.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: cannot read {tmp_path}: Is a directory\n"
    assert sweep.main(["sweeps/smok.yaml"]) == 2
    assert "unknown grid 'sweeps/smok.yaml'" in (err := capsys.readouterr().err)
    assert "Did you mean 'sweeps/smoke.yaml'?" in err and err.count("\n") == 1


def test_texts_stay_what_the_file_says(written):
    path = written(
        "time: 10:30\nplain: no\nnumber: 0o17\nnull: ~\nquoted: '1e-3'\nlist: [on, 1_0]\n"
    )
    found = yaml_values.read(path).mapping()
    assert {key: value.content for key, value in found.items() if key != "list"} == {
        "time": "10:30",
        "plain": "no",
        "number": "0o17",
        "null": "~",
        "quoted": "1e-3",
    }
    assert found["list"].texts() == ["on", "1_0"]
    assert found["list"].line == 6


def test_a_value_reaches_the_command_as_it_is_written(written):
    text = f"{BASE}method: no\n"
    with pytest.raises(UsageError, match="unknown method 'no'"):
        planned(written(text))


def test_what_is_said_at_the_top_holds_below_unless_it_is_said_anew(written):
    rows = planned(
        written(
            f"{BASE}epochs: 3\nlr: 0.1\nseeds: [0, 1]\n"
            "dataset-option: {domains: 3, classes: 4}\n"
            "set: {beta: 0.9, alpha: 0.1}\n"
            "method: mbcd\n"
            "runs:\n"
            "  - {}\n"
            "  - {label: own, epochs: 4, dataset-option: {classes: 3}, set: {beta: 0.5}}\n"
            "variants:\n"
            "  - {lr: 0.2, seeds: 5, dataset-option: {samples_per_class: 6}}\n"
            "  - {label: last, epochs: 9, all-splits: false, sources: [d1, d2], target: d3,\n"
            "     dataset-option: {classes: 5}, set: {beta: 0.3}}\n"
        )
    )
    assert [row.label for row in rows] == ["", "mbcd, last", "own", "own, last"]
    found = [
        (
            s.recipe.epochs,
            s.recipe.lr,
            tuple(sorted({spec.seed for spec in row.plan.specs})),
            (s.options["domains"], s.options["classes"], s.options["samples_per_class"]),
            s.hyperparameters["mbcd"]["beta"],
            s.hyperparameters["mbcd"]["alpha"],
            len(row.plan.specs),
        )
        for row in rows
        for s in row.plan.specs[:1]
    ]
    assert found == [
        (3, 0.2, (5,), (3, 4, 6), 0.9, 0.1, 3),
        (9, 0.1, (0, 1), (3, 5, 20), 0.3, 0.1, 2),
        (4, 0.2, (5,), (3, 3, 6), 0.5, 0.1, 3),
        (9, 0.1, (0, 1), (3, 5, 20), 0.3, 0.1, 2),
    ]
    # Two rows may ask for the same run, which is then done once.
    assert len(grid.specs(rows)) == 3 + 2 + 3


def test_a_row_is_named_by_its_labels_and_by_its_method_where_that_is_not_enough(written):
    rows = planned(
        written(
            f"{BASE}runs:\n"
            "  - {label: one, method: erm}\n"
            "  - {label: two, method: [erm, joint], epochs: 1}\n"
            "  - {method: [ema, swad+erm]}\n"
            "variants:\n"
            "  - {}\n"
            "  - {label: no neck, neck: none}\n"
        )
    )
    wanted = {
        "one": {"erm"},
        "one, no neck": {"erm"},
        "erm, two": {"erm"},
        "joint, two": {"joint"},
        "erm, two, no neck": {"erm"},
        "joint, two, no neck": {"joint"},
        "": {"ema", "swad"},
        "ema, no neck": {"ema"},
        "swad, no neck": {"swad"},
    }
    assert {row.label: {s.method for s in row.plan.specs} for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert all(len(row.plan.specs) == 4 * len(wanted[row.label]) for row in rows)


def test_options_of_the_command_line_win_over_those_of_the_file(written):
    path = written(f"{BASE}method: erm\nthreads: 3\nresults: there\nworkers: 1\n")

    def settings(*words):
        return sweep._Sweep(path, [str(path), "--dry-run", *words]).settings

    found = settings()
    assert (found.threads, found.workers, found.results) == (3, 1, Path("there"))
    found = settings("--threads", "2", "--results", "here")
    assert (found.threads, found.workers, found.results) == (2, 1, Path("here"))
    # Without either, one thread: the same everywhere, so that the bits are the same.
    written(f"{BASE}method: erm\n")
    found = settings()
    assert (found.threads, found.workers, found.results) == (1, 0, Path("results"))


def test_folders_and_checkpoints_can_be_mappings(written, roots):
    lines = "".join(f"  {name}: {root}\n" for name, root in roots.items())
    path = written(f"{BASE}method: erm\nweights: {{m1: a, m2: b}}\ndata-root:\n{lines}")
    given = grid.read(path).given
    assert given["weights"] == ["m1=a", "m2=b"]
    assert from_options.data_roots(given["data_root"], {"hac", "utd_mhad"}, [Path("data")]) == roots
    args = sweep.parser().parse_args([str(path), "--weights", "m3=c"], Namespace(**given))
    assert args.weights == ["m3=c"]


# --- keys are the options of benchmark.run -------------------------------------------------------

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
}


def all_options():
    parser = grid._Parser(add_help=False)
    add_what(parser, method_required=False)
    add_how(parser)
    return [action.option_strings[0].removeprefix("--") for action in parser._actions]


def outcome(make) -> list[str]:
    """Return the ids that are planned, or the error without its place."""
    try:
        return [s.id for s in make()]
    except UsageError as error:
        return [re.sub(r"^grid.yaml, line \d+: ", "", str(error))]


@pytest.mark.parametrize("option", all_options())
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
