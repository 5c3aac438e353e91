"""EPIC-Kitchens: card, roles and split tables, the real ones among them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support_epic import DOMAINS, numbered, opened, replace, table_row

import datasets
from datasets import epic_files, epic_kitchens
from datasets.base import Sample
from datasets.epic_files import SPLITS
from datasets.media import MediaError
from datasets.media.tables import read_table
from mmdg_common import UsageError


def test_card_is_the_one_of_the_field() -> None:
    card = epic_kitchens.EpicKitchens.card
    assert [(m.name, m.shape, m.encoder) for m in card.modalities] == [
        ("video", (3, 32, 224, 224), "slowfast_r101"),
        ("flow", (2, 8, 224, 224), "slowonly_r50_flow"),
        ("audio", (1, 257, 1004), "vggsound_resnet18"),
    ]
    assert card.domains == DOMAINS
    assert " ".join(card.classes) == "take put open close wash cut mix pour"
    recipe = card.recipe
    assert (recipe.epochs, recipe.lr, recipe.batch_size, recipe.weight_decay) == (
        20,
        1e-4,
        16,
        1e-4,
    )


def test_test_tables_validate_sources_and_are_all_of_a_target(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for domain in DOMAINS:
        roles = {role: dataset.samples(domain, role) for role in ("train", "val", "target")}
        assert roles["val"] == roles["target"]
        assert {s.id.rpartition("/")[0] for s in roles["train"]} == {f"{domain}/train"}
        assert {s.id.rpartition("/")[0] for s in roles["val"]} == {f"{domain}/test"}
        assert Counter(s.label for s in roles["train"]) == dict.fromkeys(range(8), 1)
        assert all(s.domain == domain for role in roles.values() for s in role)


def test_the_folder_of_the_tables_can_be_the_root(tmp_path: Path) -> None:
    numbered(tmp_path)
    assert opened(tmp_path / SPLITS).samples("D3", "val") == [Sample("D3/test/7", 0, "D3")]


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"github\.com/donghao51/SimMMDG"):
        datasets.create("epic_kitchens", root and tmp_path / root)


def test_missing_table_is_named(tree: Path) -> None:
    replace(tree / SPLITS / "D2_test.pkl", None)
    with pytest.raises(UsageError, match=r"D2_test\.pkl is missing"):
        opened(tree)


@pytest.mark.parametrize(
    "column, value",
    [
        ("verb_class", 8),
        ("verb_class", -1),
        ("video_id", "../../P08_01"),
        ("video_id", ".."),
        ("stop_frame", 12),
        ("start_frame", -2),
        ("stop_timestamp", "ten past"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, column: str, value: Any) -> None:
    wrong = "stop_frame" if column == "start_frame" else column
    with pytest.raises(MediaError, match=rf"D1_train\.pkl: {wrong} of the row with uid 7"):
        numbered(tmp_path, **{column: value})


def test_an_emptied_table_is_named(tmp_path: Path) -> None:
    numbered(tmp_path)
    path = tmp_path / SPLITS / "D2_train.pkl"
    pd.read_pickle(path).iloc[:0].to_pickle(path)
    with pytest.raises(MediaError, match=r"D2_train\.pkl holds no row"):
        opened(tmp_path)


def test_a_uid_given_twice_is_an_error(tmp_path: Path) -> None:
    numbered(tmp_path)
    epic_files.write_table(tmp_path / SPLITS / "D2_train.pkl", [table_row(), table_row()])
    with pytest.raises(MediaError, match="uid of the row with uid 7"):
        opened(tmp_path)


@pytest.mark.parametrize("change", [{"uid": "7"}, {"video_id": 5}, {"verb_class": 1.5}])
def test_a_column_of_another_type_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match=f"column '{next(iter(change))}' does not hold"):
        numbered(tmp_path, **change)


def test_unknown_names_and_choices_name_the_valid_ones(stand_in: Path) -> None:
    with pytest.raises(UsageError, match="D1, D2, D3"):
        opened(stand_in).samples("D4", "train")
    with pytest.raises(UsageError, match="video, flow, audio"):
        opened(stand_in).size(opened(stand_in).samples("D1", "val")[0], "sound")
    with pytest.raises(UsageError, match="224, 256"):
        opened(stand_in, flow_test_crop=225)
    with pytest.raises(UsageError, match="'skip'"):
        opened(stand_in, on_bad_sample="skipp")


HISTOGRAMS = {
    ("D1", "train"): (1543, [421, 383, 231, 128, 223, 71, 42, 44]),
    ("D1", "test"): (435, [124, 104, 52, 34, 66, 13, 20, 22]),
    ("D2", "train"): (2495, [715, 692, 245, 214, 298, 89, 113, 129]),
    ("D2", "test"): (750, [208, 217, 68, 56, 136, 14, 26, 25]),
    ("D3", "train"): (3897, [919, 1121, 450, 367, 808, 110, 53, 69]),
    ("D3", "test"): (974, [241, 280, 102, 71, 245, 29, 1, 5]),
}


@pytest.fixture(scope="session")
def real(epic_root: Path) -> epic_kitchens.EpicKitchens:
    return opened(epic_root)


@pytest.mark.data
@pytest.mark.parametrize("domain, part", HISTOGRAMS)
def test_real_tables_have_the_official_rows(
    real: epic_kitchens.EpicKitchens, domain: str, part: str
) -> None:
    rows, histogram = HISTOGRAMS[domain, part]
    samples = real.samples(domain, "train" if part == "train" else "target")
    counts = Counter(sample.label for sample in samples)
    assert len(samples) == len({s.id for s in samples}) == rows
    assert [counts[label] for label in range(8)] == histogram
    assert not list(epic_files.miscounted(real._tables[domain, part], domain, part))


@pytest.mark.data
def test_real_majority_classes_have_the_known_shares(real: epic_kitchens.EpicKitchens) -> None:
    shares = []
    for domain in DOMAINS:
        labels = Counter(sample.label for sample in real.samples(domain, "target"))
        shares.append(100 * max(labels.values()) / labels.total())
    assert shares == pytest.approx([28.5, 28.9, 28.75], abs=0.05)


@pytest.mark.data
def test_two_pairs_of_real_segments_show_the_same_frames(
    real: epic_kitchens.EpicKitchens,
) -> None:
    """One pair is a duplicate; the other one carries two verbs."""
    places: dict[Any, list[Sample]] = {}
    for s in real._segments.values():
        places.setdefault((s.split, s.video, s.start, s.stop), []).append(s.sample)
    shared = [[(s.id, s.label) for s in pair] for pair in places.values() if len(pair) > 1]
    assert shared == [
        [("D3/train/25710", 4), ("D3/train/25711", 4)],
        [("D3/train/28535", 1), ("D3/train/28536", 2)],
    ]


@pytest.mark.data
def test_real_segments_loop_and_last_as_known(real: epic_kitchens.EpicKitchens) -> None:
    lengths = np.array([s.stop - s.start for s in real._segments.values()])
    assert len(lengths) == 10094
    assert (lengths.min(), lengths.max()) == (30, 3379)
    assert np.mean(lengths < 64) == pytest.approx(0.267, abs=0.0005)
    longer = Counter(k for k, t in real._tables.items() for s in t if s.end - s.begin > 10)
    assert [longer[key] for key in HISTOGRAMS] == [98, 19, 204, 54, 70, 18]
    videos = {key: len({s.video for s in table}) for key, table in real._tables.items()}
    assert list(videos.values()) == [22, 6, 14, 5, 13, 4]


@pytest.mark.data
def test_real_rows_are_those_pandas_reads(epic_root: Path) -> None:
    for domain, part in HISTOGRAMS:
        path = epic_root / SPLITS / f"{domain}_{part}.pkl"
        rows = read_table(path, epic_files.COLUMNS)
        expected = pd.read_pickle(path)[list(epic_files.COLUMNS)]
        assert rows == expected.to_dict("records")


@pytest.mark.data
def test_real_tables_without_media_say_what_is_missing(real: epic_kitchens.EpicKitchens) -> None:
    with pytest.raises(MediaError, match=r"10094 of 10094 .*rgb/train/D1/P08_01/frame_0000000245"):
        real.prepare(["video"])
