"""HAC: card, roles, options and split files, the real ones among them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from support_hac import ALL, names, opened, replace, with_copies

import datasets
from datasets import hac, hac_files
from datasets.base import MultimodalDataset, Sample
from datasets.media import audio, fabricate, video
from mmdg_common import UsageError


def test_card_is_the_one_of_the_field() -> None:
    card = hac.Hac.card
    assert [(m.name, m.shape) for m in card.modalities] == [
        ("video", (3, 32, 224, 224)),
        ("flow", (2, 8, 224, 224)),
        ("audio", (1, 257, 1004)),
    ]
    assert card.domains == ("human", "animal", "cartoon")
    assert (len(card.classes), card.classes[0], card.classes[6]) == (7, "sleeping", "door_opening")
    recipe = card.recipe
    assert (recipe.epochs, recipe.lr, recipe.weight_decay, recipe.batch_size) == (
        20,
        1e-4,
        1e-4,
        16,
    )


def test_roles_follow_the_split_files(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for domain in dataset.card.domains:
        train, val = (dataset.samples(domain, role) for role in ("train", "val"))
        assert Counter(s.label for s in train) == Counter(s.label for s in val)
        assert not set(names(train)) & set(names(val))
        assert list(dataset.samples(domain, "target")) == [*train, *val]
        assert train[0] == Sample(f"{domain}/sleeping_1", 0, domain)


def test_copies_of_training_clips_follow_the_options(tree: Path) -> None:
    copies = with_copies(tree)
    train = names(opened(tree).samples("human", "train"))
    new = names(opened(tree).samples("human", "val"))
    assert not set(copies) & set(new)
    assert set(copies) <= set(train)
    marked = [copies[0] + "@test", *new, copies[1] + "@test"]
    assert names(opened(tree, validation="with-duplicates").samples("human", "val")) == marked
    targets = {
        choice: names(opened(tree, target_set=choice).samples("human", "target"))
        for choice in ("all", "all-with-duplicates", "test")
    }
    assert targets == {"all": train + new, "all-with-duplicates": train + marked, "test": marked}


def test_a_copy_loads_the_clip_it_is_a_copy_of(tree: Path) -> None:
    with_copies(tree)
    dataset = opened(tree, target_set="all-with-duplicates")
    pair = [s for s in dataset.samples("human", "target") if s.id.startswith("human/sleeping_1")]
    assert len(pair) == 2
    first, second = (dataset.load(s, ALL, 4) for s in pair)
    assert all(torch.equal(first[m], second[m]) for m in ALL)


def test_mmdg_benchmarks_layout_is_read_too(tree: Path) -> None:
    usual = opened(tree)
    sample = usual.samples("human", "val")[0]
    expected, planned = usual.load(sample, ["flow"], None)["flow"], usual.fingerprint(ALL)
    for domain in usual.card.domains:
        (tree / domain).rename(tree / "HAC_Splits" / domain)
    moved = opened(tree)
    assert torch.equal(moved.load(sample, ["flow"], None)["flow"], expected)
    assert moved.fingerprint(ALL) == planned


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prepare hac --download"):
        datasets.create("hac", None if root is None else tmp_path / root)


def test_missing_split_file_is_named(tree: Path) -> None:
    hac_files.split_file(tree, "animal", "test").unlink()
    with pytest.raises(UsageError, match=r"HAC_test_only_animal\.csv is missing"):
        opened(tree)


@pytest.mark.parametrize("line", ["a.mp4", "a.mp4,7", "a.mp4,x", "a.avi,0", "a.mp4,0,1"])
def test_broken_line_of_a_split_file_is_named(tree: Path, line: str) -> None:
    path = hac_files.split_file(tree, "cartoon", "train")
    replace(path, b"good.mp4,3\r\n\r\n" + line.encode() + b"\r\n")
    with pytest.raises(UsageError, match=rf"line 3 of .*train_only_cartoon\.csv.*{line}"):
        opened(tree)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("content", [b"", b"\r\n\r\n"])
def test_an_emptied_split_file_is_named(tree: Path, part: str, content: bytes) -> None:
    replace(hac_files.split_file(tree, "cartoon", part), content)
    with pytest.raises(UsageError, match=rf"HAC_{part}_only_cartoon\.csv names no clip"):
        opened(tree)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_split_file_in_another_encoding_is_named(tree: Path, encoding: str) -> None:
    path = hac_files.split_file(tree, "cartoon", "train")
    replace(path, "essen_ä.mp4,3\r\n".encode(encoding))
    with pytest.raises(UsageError, match=r"train_only_cartoon\.csv is not text in UTF-8"):
        opened(tree)


def test_a_clip_named_twice_in_one_file_is_an_error(tree: Path) -> None:
    path = hac_files.split_file(tree, "cartoon", "train")
    replace(path, b"a b .mp4,3\r\na b .mp4,3\r\n")
    with pytest.raises(UsageError, match=r"line 2 .*names a clip again"):
        opened(tree)


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ({"validation": "cleam"}, "Did you mean 'clean'"),
        ({"target_set": "all_with_duplicates"}, "Did you mean 'all-with-duplicates'"),
        ({"audio_crop": "referense"}, "Did you mean 'reference'"),
        ({"frame_index": "off_by_one"}, "Did you mean 'off-by-one'"),
        ({"flow_test_crop": "257"}, "Did you mean '256'"),
        ({"on_bad_sample": "skipp"}, "Did you mean 'skip'"),
        ({"on_bad_samples": "skip"}, "Did you mean 'on_bad_sample'"),
    ],
)
def test_unknown_options_name_the_nearest(
    stand_in: Path, option: dict[str, str], nearest: str
) -> None:
    with pytest.raises(UsageError, match=nearest):
        opened(stand_in, **option)


def test_unknown_domain_and_modality_name_the_nearest(stand_in: Path) -> None:
    dataset = opened(stand_in)
    with pytest.raises(UsageError, match="'human'"):
        dataset.samples("humans", "train")
    with pytest.raises(UsageError, match="'video'"):
        dataset.prepare(["vidoe"])
    with pytest.raises(UsageError, match="'audio'"):
        dataset.load(dataset.samples("human", "train")[0], ["audi"], None)


def test_fingerprint_needs_no_decoding_and_follows_sizes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "probe", None)
    monkeypatch.setattr(audio, "duration", None)
    before = {m: opened(tree).fingerprint([m]) for m in ALL}
    assert opened(tree, flow_test_crop=256).fingerprint(["video"]) != before["video"]
    moved = tree.rename(tmp_path / "moved")
    flow = moved / "human" / "flow" / "eating_1_flow_y.mp4"
    replace(flow, flow.read_bytes() + b"\0")
    after = {m: opened(moved).fingerprint([m]) for m in ALL}
    assert [m for m in ALL if before[m] != after[m]] == ["flow"]
    clip = moved / "human" / "videos" / "eating_1.mp4"
    replace(clip, clip.read_bytes() + b"\0")  # says where the sound is cut
    after = {m: opened(moved).fingerprint([m]) for m in ALL}
    assert before["audio"] != after["audio"]
    reference = [opened(root, audio_crop="reference") for root in (moved, moved)]
    replace(clip, clip.read_bytes() + b"\0")
    assert len({d.fingerprint(["audio"]) for d in reference}) == 1


def test_stand_in_is_marked_and_counts_as_other_data(tree: Path) -> None:
    fabricated = opened(tree)
    assert fabricated.fabricated
    (tree / fabricate.MARKER).unlink()
    passed_off = opened(tree)
    assert not passed_off.fabricated
    assert fabricated.fingerprint(ALL) != passed_off.fingerprint(ALL)


@pytest.mark.data
def test_real_split_files_have_the_official_rows(hac_root: Path) -> None:
    dataset = opened(hac_root)
    assert not dataset.fabricated
    counts = {"human": (1111, 276), "animal": (730, 176), "cartoon": (870, 218)}
    for domain, (train, test) in counts.items():
        rows = hac_files.read_rows(hac_root, domain, 7)
        assert (len(rows.train), len(rows.test)) == (train, test)
        assert not list(rows.miscounted(domain))
        copies = [s for s in rows.test if s.id.endswith("@test")]
        assert len(copies) == (24 if domain == "human" else 0)
        by_id = {s.id: s.label for s in rows.train}
        assert all(by_id[s.id.removesuffix("@test")] == s.label for s in copies)
    human = hac_files.read_rows(hac_root, "human", 7)
    labels = Counter(s.label for s in human.test if s.id.endswith("@test"))
    assert labels == {0: 6, 1: 6, 3: 2, 4: 1, 5: 2, 6: 7}


def sizes(dataset: MultimodalDataset, role: Any) -> dict[str, int]:
    return {domain: len(dataset.samples(domain, role)) for domain in dataset.card.domains}


@pytest.mark.data
def test_real_roles_have_the_sizes_of_the_field(hac_root: Path) -> None:
    dataset = opened(hac_root)
    assert sizes(dataset, "train") == {"human": 1111, "animal": 730, "cartoon": 870}
    assert sizes(dataset, "target") == {"human": 1363, "animal": 906, "cartoon": 1088}
    val = sizes(dataset, "val")
    assert [sum(val.values()) - val[target] for target in val] == [394, 470, 428]
    reference = opened(hac_root, validation="with-duplicates", target_set="all-with-duplicates")
    val = sizes(reference, "val")
    assert [sum(val.values()) - val[target] for target in val] == [394, 494, 452]
    assert sizes(reference, "target") == {"human": 1387, "animal": 906, "cartoon": 1088}
    only = opened(hac_root, target_set="test")
    assert sizes(only, "target") == {"human": 276, "animal": 176, "cartoon": 218}
    everything = [s.id for d in reference.card.domains for s in reference.samples(d, "target")]
    assert len(set(everything)) == len(everything) == 3381


@pytest.mark.data
def test_real_actions_carry_the_names_of_their_files(hac_root: Path) -> None:
    """Cartoon clips are named after their class; `watching` is short for watching television."""
    dataset = opened(hac_root)
    for sample in dataset.samples("cartoon", "target"):
        action = sample.id.split("/")[1].rstrip(" 0123456789").rstrip("_")
        assert dataset.card.classes[sample.label].startswith(action)
