"""The made-up stand-in of EPIC-Kitchens."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support_epic import opened

from datasets import epic_files, epic_kitchens
from datasets.epic_files import SPLITS
from datasets.media import fabricate
from mmdg_common import UsageError


def test_stand_in_has_the_columns_and_the_layout_of_the_real_one(stand_in: Path) -> None:
    assert opened(stand_in).fabricated
    table = pd.read_pickle(stand_in / SPLITS / "D2_train.pkl")
    columns = "uid participant_id video_id narration start_timestamp stop_timestamp start_frame"
    assert " ".join(table.columns) == f"{columns} stop_frame verb verb_class"
    assert set(table.participant_id) == {"P01"}
    lengths = table.stop_frame - table.start_frame
    assert lengths.min() < 64 < lengths.max()
    assert {start % 2 for start in table.start_frame} == {0, 1}
    seconds = table.start_timestamp.map(epic_files._seconds)
    assert np.allclose(seconds, table.start_frame / 60, atol=0.005)


def test_sound_of_the_stand_in_lies_where_the_time_stamps_say(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for sample in dataset.samples("D1", "train"):
        values = dataset.load(sample, ["audio"], None)["audio"][0]
        tone = fabricate.Subject(sample.label, 8, 0, 3).tone
        assert values[12:].mean(1).argmax() + 12 == pytest.approx(
            tone / 16000 * 512, abs=3, rel=0.05
        )


def test_fabricating_takes_two_segments_and_a_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        epic_kitchens.EpicKitchens.fabricate(tmp_path / "new", 1)
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="other files"):
        epic_kitchens.EpicKitchens.fabricate(tmp_path, 4)
