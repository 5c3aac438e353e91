"""sp_sw_har: the packaged windows, and those made from the official files."""

import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import datasets
from datasets import sp_sw_har_files
from datasets.base import Sample
from datasets.prepare import main
from datasets.sp_sw_har import ORIENTATIONS, SpSwHar
from datasets.sp_sw_har_files import CHANNELS, CLASSES, UNITS
from mmdg_common import UsageError

COUNTS = {
    "back_inv": (91, 153, 839, 284, 176),
    "back": (52, 89, 509, 181, 108),
    "front": (65, 98, 528, 185, 119),
}
"""Windows of each class in the official files."""


@pytest.fixture(scope="module")
def packaged() -> SpSwHar:
    return opened()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sp_sw_har") / "new"
    SpSwHar.fabricate(root, 2)
    return root


@pytest.fixture
def tree(stand_in: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(stand_in, tmp_path / "tree"))


def opened(root: Path | None = None, cache: Path | None = None, **options: str) -> SpSwHar:
    dataset = datasets.create("sp_sw_har", root, cache, **options)
    assert isinstance(dataset, SpSwHar)
    return dataset


def counts(samples: list[Sample]) -> tuple[int, ...]:
    found = Counter(sample.label for sample in samples)
    return tuple(found[label] for label in range(5))


def test_windows_per_domain_and_class_are_those_of_the_official_files(packaged: SpSwHar) -> None:
    assert packaged.card.domains == ("back_inv", "back", "front")
    found = {d: counts(list(packaged.samples(d, "target"))) for d in packaged.card.domains}
    assert found == COUNTS


def test_no_subject_is_in_two_domains_and_what_is_left_out_is_little(packaged: SpSwHar) -> None:
    of = {d: {s.group[0] for s in packaged.samples(d, "target")} for d in packaged.card.domains}
    assert of == {domain: set(subjects) for domain, subjects in ORIENTATIONS.items()}
    assert len(packaged._all) - len(packaged.windows()) == 33


def test_groups_of_subjects_keep_every_window() -> None:
    dataset = opened(domains_by="subjects")
    sizes = [len(dataset.samples(d, "target")) for d in dataset.card.domains]
    assert len(sizes) == 5 and sum(sizes) == sum(map(sum, COUNTS.values())) + 33


def test_whole_executions_validate_so_no_moment_is_on_both_sides(packaged: SpSwHar) -> None:
    for domain in packaged.card.domains:
        train, val = (packaged.samples(domain, role) for role in ("train", "val"))
        assert {s.group[1] for s in train}.isdisjoint(s.group[1] for s in val)
        assert {s.group[0] for s in train} == {s.group[0] for s in val}  # every subject on both
        assert len(train) + len(val) == len(packaged.samples(domain, "target"))
        assert 0.12 < len(val) / (len(train) + len(val)) < 0.28


def test_the_upper_bound_holds_whole_executions_out_too(packaged: SpSwHar) -> None:
    parts = packaged.parts(("front",), "front")
    executions = {role: {s.group[1] for s in part} for role, part in parts.items()}
    assert all(parts.values())
    assert executions["train"].isdisjoint(executions["val"])
    assert executions["target"].isdisjoint(executions["train"] | executions["val"])


def test_sensors_are_the_channels_of_devices(packaged: SpSwHar) -> None:
    by_sensor = opened(modalities_by="sensor")
    names = [m.name for m in by_sensor.card.modalities]
    assert names == [f"{d}_{s}" for d in ("phone", "watch") for s in ("accelerometer", "gyroscope")]
    for sample in list(packaged.samples("back", "target"))[::200]:
        whole = packaged.load(sample, ["phone", "watch"], None)
        parts = by_sensor.load(sample, names, None)
        assert whole["phone"].shape == (6, 50)
        assert whole["watch"][:3].equal(parts["watch_accelerometer"])
        assert whole["phone"][3:].equal(parts["phone_gyroscope"])


def test_standing_and_sitting_people_feel_gravity(packaged: SpSwHar) -> None:
    seated = [s for s in packaged.samples("front", "target") if s.label == 0]
    for device in ("phone", "watch"):
        values = [packaged.load(s, [device], None)[device][:3] for s in seated]
        size = np.median([float(v.norm(dim=0).mean()) for v in values])
        assert size == pytest.approx(9.81, abs=0.4)


def test_a_tensor_that_is_changed_leaves_the_data_as_it_is(packaged: SpSwHar) -> None:
    sample = packaged.samples("back", "target")[0]
    first = packaged.load(sample, ["phone"], None)["phone"]
    before = first.clone()
    first.zero_()
    assert packaged.load(sample, ["phone"], None)["phone"].equal(before)


def windows_by_hand(folder: Path, execution: str) -> list[tuple[int, int, np.ndarray]]:
    """The rule in plain Python: label, beginning and the phone's values at 50 Hz."""
    read = {}
    for device in ("sp", "sw"):
        with (folder / f"{execution}_{device}.csv").open() as file:
            read[device] = list(csv.DictReader(file))
    times = {d: [float(row["timestamp"]) for row in rows] for d, rows in read.items()}
    start, end = max(t[0] for t in times.values()), min(t[-1] for t in times.values())
    found, at = [], start
    while at + 1000 <= end:
        inside = [
            r["label"] for r, t in zip(read["sp"], times["sp"], strict=True) if at <= t < at + 1000
        ]
        name, count = Counter(inside).most_common(1)[0]
        if count >= 0.7 * len(inside):
            by_time: dict[float, list[list[float]]] = {}
            for row, time in zip(read["sp"], times["sp"], strict=True):
                by_time.setdefault(time, []).append([float(row[c]) for c in CHANNELS])
            known = sorted(by_time)
            means = np.array([np.mean(by_time[t], axis=0) for t in known])
            grid = [at + 20 * i for i in range(50)]
            values = np.stack([np.interp(grid, known, means[:, c]) for c in range(6)])
            found.append((int(at - start), CLASSES.index(name), values))
        at += 500
    return found


def test_windows_follow_their_rule(tree: Path) -> None:
    # Batches: several measurements with one time, and the label of the watch does not count.
    path = tree / "s02" / "s02_01_sp.csv"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([*lines[:20], *(line.replace(",180,", ",170,") for line in lines[20:])])
    )
    dataset = opened(tree)
    expected = windows_by_hand(tree / "s02", "s02_01")
    found = [w for w in dataset.windows() if w.block == "s02_01"]
    assert [w.sample.id for w in found] == [f"s02_01/{start}" for start, _, _ in expected]
    assert [w.sample.label for w in found] == [label for _, label, _ in expected]
    for window, (_, _, values) in zip(found, expected, strict=True):
        mine = dataset.load(window.sample, ["phone"], None)["phone"].numpy()
        assert (np.abs(mine - values).max(axis=1) <= UNITS / 2 + 1e-5).all()


def test_made_up_files_are_complete_and_marked(stand_in: Path) -> None:
    dataset = opened(stand_in)
    assert dataset.fabricated and not list(dataset.verify())
    assert {s.label for d in dataset.card.domains for s in dataset.samples(d, "val")} == set(
        range(5)
    )


def test_files_are_read_once_and_again_when_they_change(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tree, tmp_path / "cache").content(["phone"])
    monkeypatch.setattr(sp_sw_har_files, "_windows", lambda *_: pytest.fail("read again"))
    assert opened(tree, tmp_path / "cache").content(["phone"]) == first
    path = tree / "s01" / "s01_02_sw.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(pytest.fail.Exception):
        opened(tree, tmp_path / "cache").content(["phone"])


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    "file, old, new, said",
    [
        ("s01/s01_01_sp.csv", "timestamp", "time", "has no column 'timestamp'"),
        ("s01/s01_01_sp.csv", ",10,SEATED", ",x,SEATED", "line 3: timestamp is 'x'"),
        ("s01/s01_01_sw.csv", ",20,SEATED", ",5,SEATED", "line 4: the time 5 is before"),
        ("s01/s01_01_sp.csv", "10,SEATED", "10,ASLEEP", "line 3: the label is 'ASLEEP'"),
        ("executions_info.csv", "s01_01,back_inv", "s01_01,upside", "the orientation of s01_01"),
        ("executions_info.csv", "s01_01,back_inv", "s01_09,back_inv", "has no row for s01_01"),
        ("executions_info.csv", "orientation", "way", "has no column 'orientation'"),
    ],
)
def test_broken_content_is_one_clear_line(
    tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    root = tmp_path / "r"
    SpSwHar.fabricate(root, 2)
    changed(root / file, old, new)
    with pytest.raises(UsageError) as caught:
        opened(root).content(["phone"])
    assert said in str(caught.value) and str(root / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_in_another_subjects_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        opened(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no execution"):
        opened(tmp_path).content(["phone"])
    folder = tmp_path / "s03"
    folder.mkdir()
    (folder / "s03_01_sp.csv").write_text("")
    with pytest.raises(UsageError, match=r"s03_01_sw\.csv is missing, but s03_01_sp\.csv is there"):
        opened(tmp_path).content(["phone"])
    (folder / "s05_01_sp.csv").write_text("")
    with pytest.raises(UsageError, match=r"s05_01_sp\.csv is a file of s05 in the folder of s03"):
        opened(tmp_path).content(["phone"])
    (folder / "notes.csv").write_text("")
    with pytest.raises(UsageError, match=r"notes\.csv is not named like an execution"):
        opened(tmp_path).content(["phone"])


def test_values_that_no_sensor_measures_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "r"
    SpSwHar.fabricate(root, 2)
    path = root / "s01" / "s01_01_sp.csv"
    lines = path.read_text().splitlines()
    lines[99] = "1e6" + lines[99][lines[99].index(",") :]  # at 980 ms, a multiple of 20
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="beyond what its sensors can measure"):
        opened(root).content(["phone"])


def test_the_package_is_ready_without_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sp_sw_har"]) == 0
    out = capsys.readouterr().out
    assert "note: the windows that the package carries" in out and "sp_sw_har: complete." in out
    assert main(["sp_sw_har", "--fabricate", "2"]) == 2
    assert "--root NEW_DIR" in capsys.readouterr().err


def test_every_broken_file_and_what_differs_is_told(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "FABRICATED").unlink()
    changed(tree / "s01" / "s01_01_sp.csv", "timestamp", "time")
    changed(tree / "s02" / "s02_02_sw.csv", ",10,SEATED", ",x,SEATED")
    assert main(["sp_sw_har", "--root", str(tree)]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if "wrong" in line]
    for file in ("s01_01_sp.csv", "s02_02_sw.csv"):
        assert sum(file in line for line in said) == 1
    assert any(re.search(r"s03_01: \d+ windows instead of \d+", line) for line in said)
    assert any(re.search(r"\d+ of 223 executions are missing: s0", line) for line in said)


def test_differences_name_execution_and_device(packaged: SpSwHar) -> None:
    arrays = packaged.recorded.arrays
    names = [str(name) for name in arrays["executions"]]
    rows = arrays["execution"] == names.index("s04_02")
    found = {name: arrays[name][rows].copy() for name in ("phone", "watch", "start", "label")}
    way = packaged.recorded.orientations()["s04_02"]

    def differences(way: str | None = way) -> list[str]:
        return list(sp_sw_har_files._differences("s04_02", found, way, packaged.recorded))

    assert differences() == []
    found["watch"][0, 3, 7] += 1
    assert differences("front") == [
        f"s04_02: the orientation is 'front' instead of {way!r}",
        "s04_02: watch differs from the package in 1 values",
    ]


@pytest.mark.parametrize("change", ["same size", "orientation"])
def test_a_change_that_sizes_do_not_show_is_seen_through_a_cache(
    tree: Path, tmp_path: Path, change: str
) -> None:
    before = opened(tree, tmp_path / "cache")
    kept = before.fingerprint(["phone"]), len(before.windows())
    path = tree / "s01" / "s01_01_sp.csv"
    if change == "same size":
        text = path.read_text()
        digits = re.search(r"\d\.\d{6}", text)
        assert digits is not None
        path.write_text(text.replace(digits[0], "7" + digits[0][1:], 1))
    else:
        changed(tree / "executions_info.csv", "s01_01,back_inv", "s01_01,front")
    after = opened(tree, tmp_path / "cache")
    assert (after.fingerprint(["phone"]), len(after.windows())) != kept


def test_gaps_and_devices_that_do_not_meet_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "r"
    SpSwHar.fabricate(root, 2)
    path = root / "s01" / "s01_01_sw.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:100] + lines[160:]))
    with pytest.raises(UsageError, match=r"line 101: there is no measurement from 980 to 1590 ms"):
        opened(root).content(["phone"])
    later = [re.sub(r",(\d+),(?=[A-Z])", lambda m: f",{int(m[1]) + 90000},", x) for x in lines]
    path.write_text("\n".join(later))
    with pytest.raises(UsageError, match=r"s01_01_sp.csv and s01_01_sw.csv have no second in comm"):
        opened(root).content(["phone"])
    SpSwHar.fabricate(root, 2)  # again, into the same folder
    assert list(opened(root).verify()) == []


@pytest.mark.data
@pytest.mark.slow
def test_official_files_give_the_package(
    sp_sw_har_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sp_sw_har", "--root", str(sp_sw_har_root)]) == 0
    assert "are identical to those of the package" in capsys.readouterr().out
    assert opened(sp_sw_har_root).fingerprint(["phone"]) == opened().fingerprint(["phone"])
    sp_sw_har_files.write_package(sp_sw_har_root, tmp_path / "again.npz")
    again, there = np.load(tmp_path / "again.npz"), np.load(sp_sw_har_files.PACKAGED)
    assert again.files == there.files
    assert all(np.array_equal(again[name], there[name]) for name in there.files)
    found = opened(sp_sw_har_root)
    assert {d: counts(list(found.samples(d, "target"))) for d in COUNTS} == COUNTS
