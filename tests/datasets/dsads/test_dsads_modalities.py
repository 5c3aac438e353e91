"""dsads: options cut the 45 channels into modalities; the values that load."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support_dsads import SENSORS, UNITS, content, everything, names, opened

from mmdg_common import UsageError


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({}, dict.fromkeys(SENSORS, (15, 125))),
        ({"modalities_by": "position"}, dict.fromkeys(UNITS, (9, 125))),
        (
            {"modalities_by": "both"},
            {f"{unit}_{sensor}": (3, 125) for unit in UNITS for sensor in SENSORS},
        ),
        ({"units": "left_leg+torso"}, dict.fromkeys(SENSORS, (6, 125))),
        (
            {"units": "left_leg+torso", "modalities_by": "position"},
            {"torso": (9, 125), "left_leg": (9, 125)},
        ),
        (
            {"units": "right_arm", "modalities_by": "both"},
            {f"right_arm_{sensor}": (3, 125) for sensor in SENSORS},
        ),
    ],
)
def test_options_cut_the_channels_into_modalities(
    written: Path, options: dict[str, str], shapes: dict[str, tuple[int, int]]
) -> None:
    dataset = opened(written, **options)
    assert [(m.name, m.shape) for m in dataset.card.modalities] == list(shapes.items())
    tensors = dataset.load(everything(dataset)[-1], names(dataset), None)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())


def test_order_of_units_does_not_matter(written: Path) -> None:
    def fingerprint(units: str) -> str:
        return opened(written, units=units).fingerprint(SENSORS)

    assert fingerprint("left_leg+torso") == fingerprint("torso+left_leg") != fingerprint("torso")
    assert fingerprint("+".join(reversed(UNITS))) == fingerprint("all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities_by": "sensors"}, "unknown modalities_by 'sensors'. Did you mean 'sensor'?"),
        ({"units": "torso+left_log"}, "unknown unit 'left_log'. Did you mean 'left_leg'?"),
        ({"units": "torso,left_leg"}, "unknown unit 'torso,left_leg'"),
        ({"units": "al"}, "unknown unit 'al'. Did you mean 'all'?"),
        ({"units": "torso+all"}, "unknown unit 'all'. Valid: torso, right_arm"),
        ({"units": ""}, "unknown unit ''"),
        ({"units": "torso+torso"}, "'torso' is there twice"),
        ({"unit": "torso"}, "unknown dataset option 'unit'. Did you mean 'units'?"),
    ],
)
def test_wrong_options_are_told_of(written: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        opened(written, **options)
    assert message in str(caught.value)


def test_unknown_domain_and_modality_name_the_nearest(written: Path) -> None:
    dataset = opened(written, units="torso", modalities_by="both")
    with pytest.raises(UsageError, match="Did you mean 's1s2'"):
        dataset.samples("s1s3", "train")
    with pytest.raises(UsageError, match="Did you mean 'torso_gyroscope'"):
        dataset.prepare(["torso_gyroscop"])
    with pytest.raises(UsageError, match="unknown modality 'left_leg_gyroscope'"):
        dataset.prepare(["left_leg_gyroscope"])  # of a unit that is not in use


def test_columns_land_in_their_modality_and_channel(written: Path) -> None:
    by_sensor, by_position = opened(written), opened(written, modalities_by="position")
    both = opened(written, modalities_by="both")
    some = opened(written, units="left_leg+right_arm")
    for sample in everything(both)[::13]:
        activity, subject, segment = (int(word[1:]) for word in sample.id.split("/"))
        rows = content(activity, subject, segment).astype(np.float32)
        whole = {
            k: x.numpy()
            for d in (by_sensor, by_position, both)
            for k, x in d.load(sample, names(d), None).items()
        }
        fewer = some.load(sample, SENSORS, None)
        for column in range(45):
            unit, sensor, axis = UNITS[column // 9], SENSORS[column % 9 // 3], column % 3
            wanted = rows[:, column]
            np.testing.assert_array_equal(whole[f"{unit}_{sensor}"][axis], wanted)
            np.testing.assert_array_equal(whole[unit][column % 9], wanted)
            np.testing.assert_array_equal(whole[sensor][column // 9 * 3 + axis], wanted)
            if unit in ("right_arm", "left_leg"):
                place = 3 * (unit == "left_leg") + axis
                np.testing.assert_array_equal(fewer[sensor][place], wanted)


@pytest.mark.parametrize("change", ["no newline at the end", "windows", "blank line", "quotes"])
def test_other_ways_to_write_the_same_numbers_are_read_the_same(tree: Path, change: str) -> None:
    path = tree / "data/a07/p3/s02.txt"
    text = path.read_text()
    first = text.partition(",")[0]
    path.write_bytes(
        {
            "no newline at the end": text.rstrip(),
            "windows": text.replace("\n", "\r\n"),
            "blank line": text + "\n",
            "quotes": text.replace(first, f'"{first}"', 1),
        }[change].encode()
    )
    dataset = opened(tree)
    sample = next(s for s in everything(dataset) if s.id == "a07/p3/s02")
    found = dataset.load(sample, ["magnetometer"], None)["magnetometer"]
    columns = [9 * unit + axis for unit in range(5) for axis in (6, 7, 8)]
    np.testing.assert_array_equal(found, content(7, 3, 2)[:, columns].T.astype(np.float32))
