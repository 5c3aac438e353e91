"""Outputs of frozen stages on disk: exact, and under an address that tells them apart."""

import os
import pickle
import random
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
from support_features import OTHER, SAMPLE, STEM, files, randn, store
from torch import nn

import datasets
from benchmark.training import feature_store
from benchmark.training.feature_store import DTYPES, check_space, sample_keys, stem_key, summary
from datasets.base import Sample
from mmdg_common import UsageError


def exact(found, expected):
    """Whether tensors are the same bit for bit, NaN and the sign of zero included."""
    return found.shape == expected.shape and torch.equal(
        found.contiguous().view(torch.int32), expected.contiguous().view(torch.int32)
    )


# What is written is what is read


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (), (0, 3)], ids=str)
def test_a_tensor_comes_back_as_what_its_dtype_makes_of_it(tmp_path, dtype, shape):
    part, x = store(tmp_path, dtype=dtype), randn(*shape)
    part.write(SAMPLE, "eval", x)
    found = part.read(SAMPLE, "eval")
    assert found.dtype == torch.float32
    assert exact(found, x.to(DTYPES[dtype]).float())
    found.add_(1)  # a caller may


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tuple_comes_back_as_a_tuple_also_of_one(tmp_path, dtype):
    part, several = store(tmp_path, dtype=dtype), (randn(3, 5), randn(2, 1, 3), randn(1))
    part.write(SAMPLE, 0, several)
    part.write(SAMPLE, 1, several[:1])
    for view, expected in ((0, several), (1, several[:1])):
        found = part.read(SAMPLE, view)
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert exact(x, y.to(DTYPES[dtype]).float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_out_of_the_ordinary_stay_as_they_are(tmp_path, dtype):
    x = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 2.0**-24, -1.0])
    store(tmp_path, dtype=dtype).write(SAMPLE, 0, x)
    found = store(tmp_path, dtype=dtype).read(SAMPLE, 0)
    assert exact(found, x.to(DTYPES[dtype]).float())
    torch.testing.assert_close(found, x, rtol=0, atol=0, equal_nan=True)


def test_a_tensor_may_be_a_strided_view_that_has_a_gradient(tmp_path):
    x = randn(4, 6).requires_grad_().t()[::2]
    store(tmp_path).write(SAMPLE, 0, x)
    assert exact(store(tmp_path).read(SAMPLE, 0), x.detach())


def test_a_value_takes_four_bytes_or_two(tmp_path):
    for dtype, size in {"fp32": 4, "fp16": 2, "bf16": 2}.items():
        store(tmp_path, dtype=dtype).write(SAMPLE, 0, randn(10_000))
        (path,) = files(store(tmp_path, dtype=dtype).path)
        assert 0 < path.stat().st_size - 10_000 * size < 1000


def test_what_is_too_large_for_the_dtype_is_refused_and_nothing_is_written(tmp_path):
    fits, beyond = torch.tensor([65504.0, torch.inf]), (randn(3), torch.tensor([1.0, -65520.0]))
    store(tmp_path, dtype="fp16").write(OTHER, 0, fits)
    with pytest.raises(UsageError, match=r"65504.*--feature-dtype bf16 or fp32"):
        store(tmp_path, dtype="fp16").write(SAMPLE, 0, beyond)
    assert store(tmp_path, dtype="fp16").missing([(SAMPLE, 0)])
    for dtype in ("bf16", "fp32"):
        store(tmp_path, dtype=dtype).write(SAMPLE, 0, beyond)
    with pytest.raises(UsageError, match="--feature-dtype fp32"):
        store(tmp_path, dtype="bf16").write(SAMPLE, 0, torch.tensor([3.4e38]))


def test_another_dtype_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"'fp8'.*fp32, fp16, bf16"):
        store(tmp_path, dtype="fp8")


def test_a_store_pickles_as_a_few_words(tmp_path):
    part = store(tmp_path)
    part.write(SAMPLE, 0, randn(10_000))
    part.missing([(SAMPLE, i) for i in range(1000)])
    assert len(pickle.dumps(part)) < 1000
    assert pickle.loads(pickle.dumps(part)) == part


# Addresses


def test_features_are_found_under_their_own_address_only(tmp_path):
    part = store(tmp_path)
    part.write(SAMPLE, 0, torch.ones(2))
    assert store(tmp_path).read(SAMPLE, 0) is not None
    for sample, view in ((OTHER, 0), (SAMPLE, 1), (SAMPLE, "eval"), (SAMPLE[:-1] + "0", 0)):
        assert part.read(sample, view) is None
    elsewhere = {"modality": "flow", "stem": "f" * 64, "dtype": "fp16"}
    others = [store(tmp_path, **{name: value}) for name, value in elsewhere.items()]
    assert all(other.read(SAMPLE, 0) is None for other in others)
    assert len({other.path for other in (part, *others)}) == 4
    assert part.path == tmp_path / "video-0123456789abcdef-fp32"
    # The name holds only the first digits of the stem.
    twin = store(tmp_path, stem=STEM[:16] + "8" * 48)
    assert twin.path == part.path
    assert twin.read(SAMPLE, 0) is None


def test_a_file_in_the_place_of_another_is_not_taken_for_it(tmp_path):
    part = store(tmp_path)
    for sample in (SAMPLE, OTHER):
        part.write(sample, 0, randn(2))
    one, two = files(tmp_path)
    shutil.copy(one, two)
    assert [part.read(sample, 0) is None for sample in (SAMPLE, OTHER)].count(True) == 1


INPUTS = {"dataset": "hac", "options": {"a": 1, "b": "x"}, "shape": (3, 8), "version": 2}


def stem(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_the_key_of_a_stem_is_that_of_its_name_weights_and_inputs():
    first = stem_key("tiny", stem(), INPUTS)
    assert stem_key("tiny", stem().eval(), dict(reversed(INPUTS.items()))) == first
    counted, retyped, reshaped = stem(), stem(), stem()
    counted[1].num_batches_tracked += 1
    retyped[1].num_batches_tracked = retyped[1].num_batches_tracked.view(torch.float64)
    reshaped[0].weight = nn.Parameter(reshaped[0].weight.detach().reshape(2, 3))
    renamed = nn.Sequential(nn.Identity(), *stem())
    nudged = stem()
    with torch.no_grad():
        nudged[0].weight[2, 1] = torch.nextafter(nudged[0].weight[2, 1], torch.tensor(9.0))
    others = [
        *(stem_key("tiny", s, INPUTS) for s in (counted, retyped, reshaped, renamed, nudged)),
        *(stem_key("tiny", s, INPUTS) for s in (stem(1), stem().half(), nn.Identity())),
        stem_key("small", stem(), INPUTS),
        stem_key("tiny", stem(), {**INPUTS, "version": 3}),
        stem_key("tiny", stem(), {**INPUTS, "options": {"a": 1, "b": "y"}}),
        stem_key("tiny", stem(), {**INPUTS, "shape": (8, 3)}),
    ]
    assert len({first, *others}) == len(others) + 1
    assert len(first) == 64
    assert int(first, 16)


def test_the_key_of_a_sample_is_that_of_its_id_and_its_files(tmp_path):
    names = {"a": ["a.mp4"], "b": ["b.mp4", "b.wav"], "c": ["gone.mp4"]}
    dataset = SimpleNamespace(
        root=tmp_path,
        cache=tmp_path / "cache",
        made_of=lambda s, m: names[s.id] if m == "video" else ["led.txt"],
    )
    for name in ("a.mp4", "b.mp4", "b.wav"):
        (tmp_path / name).write_text("12345")
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    samples = [Sample(name, 0, "d") for name in names]

    def keys():
        return sample_keys(dataset, samples, "video")

    before = keys()
    assert len(set(before)) == 3
    assert keys() == before
    assert sample_keys(dataset, samples[::-1], "video") == before[::-1]
    os.utime(tmp_path / "b.wav", ns=(0, 10**18 + 1))
    assert keys() == before
    assert sample_keys(dataset, samples * 2, "video") == before * 2
    (tmp_path / "b.wav").write_text("12340")
    os.utime(tmp_path / "b.wav", ns=(10**18, 10**18 + 1))
    changed = keys()
    assert [x == y for x, y in zip(before, changed, strict=True)] == [True, False, True]
    (tmp_path / "a.mp4").write_text("123456")
    assert [x == y for x, y in zip(changed, keys(), strict=True)] == [False, True, True]
    before = keys()
    names["b"] = ["b.wav", "b.mp4"]
    (tmp_path / "twin.mp4").write_text("123456")
    names["a"] = ["twin.mp4"]
    assert [x == y for x, y in zip(before, keys(), strict=True)] == [False, False, True]


def test_the_files_of_the_modality_that_decides_count_too(tmp_path):
    dataset = SimpleNamespace(root=tmp_path, cache=None, made_of=lambda s, m: [f"{s.id}.{m}"])
    (tmp_path / "a.audio").write_text("1")
    found = set()
    for beside, led in (("", "2"), ("video", "2"), ("video", "3")):
        (tmp_path / "a.video").write_text(led)
        found |= set(sample_keys(dataset, [Sample("a", 0, "d")], "audio", beside))
    assert len(found) == 3


def test_without_files_the_fingerprint_of_the_dataset_counts_and_is_made_once(monkeypatch):
    made = []

    def keys(**options):
        dataset = datasets.create("synthetic", samples_per_class=5, domains=3, **options)
        whole = dataset.fingerprint
        monkeypatch.setattr(
            dataset, "fingerprint", lambda names: made.append(names) or whole(names)
        )
        return sample_keys(dataset, dataset.samples("d1", "train"), "m1")

    before = keys()
    assert made == [["m1"]]
    assert len(set(before)) == len(before) > 5
    assert keys() == before
    assert not set(keys(seed=1)) & set(before)


# What is there


def test_twenty_thousand_pairs_are_looked_up_in_a_second(tmp_path):
    part = store(tmp_path)
    keys = [random.Random(i).randbytes(32).hex() for i in range(10_000)]
    pairs = [(key, view) for key in keys for view in ("eval", 0)]
    assert part.missing(pairs) == pairs  # there is no folder yet
    there = pairs[::10]
    for pair in there:
        part.write(*pair, torch.ones(1))
    began = time.perf_counter()
    missing = part.missing(pairs)
    assert time.perf_counter() - began < 1
    assert missing == [pair for i, pair in enumerate(pairs) if i % 10]
    assert len(list(part.path.iterdir())) <= 256


def test_stores_are_listed_with_their_files_and_bytes(tmp_path):
    assert summary(tmp_path / "none") == []
    for dtype, views in (("fp32", 3), ("bf16", 1)):
        for view in range(views):
            store(tmp_path, dtype=dtype).write(SAMPLE, view, randn(100))
    store(tmp_path).write(OTHER, "eval", randn(5))
    left = store(tmp_path).path / SAMPLE[:2] / ".killed.1.ab"
    left.write_bytes(bytes(50))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "large").write_bytes(bytes(5000))
    (tmp_path / "index.json").write_text("{}")
    sizes = {n: sum(p.stat().st_size for p in files(tmp_path / n)) for n in os.listdir(tmp_path)}
    names = ["video-0123456789abcdef-bf16", "video-0123456789abcdef-fp32"]
    assert summary(tmp_path) == [(names[0], 1, sizes[names[0]]), (names[1], 4, sizes[names[1]])]


def test_a_disk_that_is_too_small_is_refused_with_what_to_do(tmp_path, monkeypatch):
    folder = tmp_path / "not" / "yet"
    free = shutil.disk_usage(tmp_path).free
    check_space(folder, 0)
    monkeypatch.setattr(feature_store, "RESERVE", 0)
    check_space(folder, free // 2)
    with pytest.raises(UsageError) as caught:
        check_space(folder, 10**17)
    assert "need 100000000.0 GB" in str(caught.value)
    assert f"{folder} has " in str(caught.value)
    for advice in ("--feature-cache", "larger disk", "views", "--feature-dtype bf16"):
        assert advice in str(caught.value)
    monkeypatch.setattr(feature_store, "RESERVE", free * 2)
    with pytest.raises(UsageError):
        check_space(folder, 1)
    check_space(folder, 0)
