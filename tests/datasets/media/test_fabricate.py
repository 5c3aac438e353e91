"""Made-up recordings."""

from pathlib import Path

import numpy as np
import pytest
from support_sound import pitch

from datasets.media import fabricate
from mmdg_common import UsageError


def test_fabricated_classes_differ_in_motion_and_pitch() -> None:
    subjects = [fabricate.Subject(label, 7, 0, 3) for label in range(7)]
    velocities = [subject.velocity.round(6) for subject in subjects]
    assert len({(abs(x), y) for x, y in velocities}) == 7  # mirrored or not
    pitches = []
    for subject in subjects:
        rng = np.random.default_rng(subject.label)
        pitches.append(pitch(fabricate.sound(subject, rng, 2)))
        scene = fabricate.scene(subject, rng, 20, (48, 64))
        assert scene.rgb.shape == (20, 48, 64, 3)
        for half, speed in zip((scene.x, scene.y), subject.velocity, strict=True):
            assert half.shape == (19, 48, 64)
            fastest = half.max() if speed > 0 else half.min()
            assert fastest == pytest.approx(128 + fabricate.FLOW_GAIN * speed, abs=15)
    assert pitches == sorted(pitches)
    assert pitches[0] == pytest.approx(300, rel=0.05)
    assert pitches[-1] == pytest.approx(5000, rel=0.05)


def test_a_folder_with_other_files_is_never_fabricated_into(tmp_path: Path) -> None:
    fabricate.claim(tmp_path / "new")
    assert fabricate.is_fabricated(tmp_path / "new")
    fabricate.claim(tmp_path / "new")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "clip.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="other files"):
        fabricate.claim(tmp_path / "real")
    assert not fabricate.is_fabricated(tmp_path / "real")
