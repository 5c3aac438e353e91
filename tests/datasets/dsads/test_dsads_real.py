"""dsads: the real segments."""

from pathlib import Path

import numpy as np
import pytest
from support_dsads import UNITS, everything, names, opened


@pytest.mark.data
@pytest.mark.slow
def test_real_copy_is_sound_and_its_values_are_plausible(dsads_root: Path, tmp_path: Path) -> None:
    dataset = opened(dsads_root, tmp_path, modalities_by="both")
    each, rest = divmod(len(everything(dataset)), 19 * 8)
    assert rest == 0 and each in (30, 60)
    assert list(dataset.verify()) == []
    assert len(list(dataset.remarks())) == (each < 60)
    for domain in dataset.card.domains:
        sizes = [len(dataset.samples(domain, role)) for role in ("train", "val", "target")]
        assert sizes == [19 * 2 * each * 4 // 5, 19 * 2 * each // 5, 19 * 2 * each]
    norms = {}
    for sample in dataset.samples("s3s4", "val"):
        for name, tensor in dataset.load(sample, names(dataset), None).items():
            norms.setdefault((dataset.card.classes[sample.label], name), []).append(
                tensor.norm(dim=0).mean().item()
            )
    for unit in UNITS:  # who sits feels gravity alone, and does not turn
        assert np.mean(norms["sitting", f"{unit}_accelerometer"]) == pytest.approx(9.81, abs=0.5)
        assert np.mean(norms["sitting", f"{unit}_gyroscope"]) < 0.2
        assert np.mean(norms["running_treadmill", f"{unit}_gyroscope"]) > 0.5
        assert 0.4 < np.mean(norms["sitting", f"{unit}_magnetometer"]) < 1.4
    sample = dataset.samples("s7s8", "val")[-1]
    rows = np.loadtxt(dsads_root / "data" / f"{sample.id}.txt", delimiter=",")
    found = dataset.load(sample, ["left_leg_gyroscope"], None)["left_leg_gyroscope"]
    np.testing.assert_array_equal(found, rows[:, 39:42].T.astype(np.float32))
