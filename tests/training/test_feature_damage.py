"""Features on disk: right or absent, whatever becomes of the file, its writer or the disk."""

import json
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest
import torch
from support_features import OTHER, SAMPLE, STEM, files, randn, store

START = 16
"""Bytes before the header."""

# Damage


def put(path, content):
    path.unlink()  # cutting a file to nothing and filling it again waits for the disk
    path.write_bytes(content)


@pytest.fixture
def small(tmp_path):
    """A store of one small file."""
    part = store(tmp_path)
    part.write(SAMPLE, 0, (randn(2, 3), randn(1)))
    (path,) = files(tmp_path)
    return part, path


def test_no_bit_can_flip_unseen(small):
    part, path = small
    good = path.read_bytes()
    for i in range(len(good) * 8):
        bad = bytearray(good)
        bad[i // 8] ^= 1 << i % 8
        put(path, bad)
        assert part.read(SAMPLE, 0) is None, f"bit {i % 8} of byte {i // 8}"
    put(path, good)
    assert part.read(SAMPLE, 0) is not None


def test_no_part_can_be_lost_zeroed_or_added_unseen(small):
    part, path = small
    good = path.read_bytes()
    size = len(good)
    # The first words are the file's own: zeros in place of zeros are no damage.
    bad = [good[:i] for i in range(size)] + [good[i:] for i in range(1, size)]
    bad += [good[:i] + bytes(size - i) for i in range(size)] + [bytes(i) for i in range(100)]
    bad += [good + b"\0", good + good, good[:START] + good]
    for content in bad:
        if content != good:
            put(path, content)
            assert part.read(SAMPLE, 0) is None


def test_damage_anywhere_in_a_large_file_is_seen(tmp_path):
    part = store(tmp_path, dtype="bf16")
    part.write(SAMPLE, 0, randn(300_000) + 9)
    (path,) = files(tmp_path)
    good, draw = path.read_bytes(), random.Random(0)
    for _ in range(300):
        i, length = draw.randrange(len(good)), draw.choice([1, 2, 512, 4096, 65536])
        zeroed, mixed = bytearray(good), bytearray(good)
        zeroed[i : i + length] = bytes(len(good[i : i + length]))
        mixed[i : i + length] = draw.randbytes(len(good[i : i + length]))
        for content in (zeroed, mixed, good[:i]):
            if content != good:
                put(path, content)
                assert part.read(SAMPLE, 0) is None


def sealed(header, values):
    """Return a file with a right checksum, made by hand."""
    text = json.dumps(header).encode()
    text += b" " * (-(START + len(text)) % 64)
    rest = struct.pack("<I", len(text)) + text + values
    return b"MMDGFT01" + struct.pack("<I", zlib.crc32(rest)) + rest


def test_a_header_that_does_not_fit_is_seen_although_the_checksum_does(small):
    part, path = small
    good = path.read_bytes()
    values = good[-28:]
    header = json.loads(good[START:-28])
    path.write_bytes(sealed(header, values))
    assert part.read(SAMPLE, 0) is not None  # or the rest would prove nothing
    for shapes in ([[2, 3]], [[2, 3], [2]], [[2, 2], [1]], []):
        path.write_bytes(sealed({**header, "shapes": shapes}, values))
        assert part.read(SAMPLE, 0) is None, shapes
    changes = {"dtype": "fp16", "sample": OTHER, "view": 1, "modality": "flow"}
    for name, value in {**changes, "stem": STEM[:16] + "8" * 48}.items():
        path.write_bytes(sealed({**header, "of": {**header["of"], name: value}}, values))
        assert part.read(SAMPLE, 0) is None, name
    for content in (sealed({}, values), sealed(header, b""), sealed(header, values * 2)):
        put(path, content)
        assert part.read(SAMPLE, 0) is None


def test_what_is_no_file_counts_as_absent_and_writing_again_mends_a_file(small):
    part, path = small
    path.write_bytes(b"")
    assert part.read(SAMPLE, 0) is None
    assert part.missing([(SAMPLE, 0)]) == []
    part.write(SAMPLE, 0, torch.ones(2))
    assert torch.equal(part.read(SAMPLE, 0), torch.ones(2))
    path.unlink()
    assert part.read(SAMPLE, 0) is None
    path.mkdir()
    assert part.read(SAMPLE, 0) is None


# Processes

SIZE = 300_000


def write_until(folder, number, ready, stop):
    """Write an entry of its own, and one that others write too, over and over."""
    part, view = store(folder), 0
    ready.wait()
    while not stop.is_set():
        part.write(SAMPLE, 0, torch.full((SIZE,), float(number)))
        part.write(OTHER, number, (torch.full((3,), float(view)), torch.full((9,), -float(view))))
        view += 1


@pytest.mark.slow
def test_a_reader_beside_two_writers_finds_what_one_of_them_wrote_once_there_is_any(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    ready, stop = spawn.Barrier(3), spawn.Event()
    writers = [
        spawn.Process(target=write_until, args=(tmp_path, number, ready, stop), daemon=True)
        for number in (1, 2)
    ]
    for writer in writers:
        writer.start()
    part, shared, own, ends = store(tmp_path), [], {1: [], 2: []}, time.monotonic() + 120
    assert part.read(SAMPLE, 0) is None
    ready.wait(100)
    while len(shared) < 100 or {1.0, 2.0} - set(shared) or min(map(len, own.values())) < 20:
        assert time.monotonic() < ends
        x = part.read(SAMPLE, 0)
        assert x is not None or not shared  # writing again leaves no gap
        if x is not None:
            assert x.shape == (SIZE,)
            assert x.min() == x.max()
            shared.append(float(x[0]))
        for number, seen in own.items():
            if (pair := part.read(OTHER, number)) is not None:
                first, second = pair
                value = float(first[0])
                assert first.tolist() == [value] * 3
                assert second.tolist() == [-value] * 9
                seen.append(value)
    stop.set()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert all(seen == sorted(seen) and seen[-1] > 0 for seen in own.values())
    assert sorted(path.name for path in files(tmp_path)) == [
        f"{SAMPLE}-0",
        f"{OTHER}-1",
        f"{OTHER}-2",
    ]


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_or_what_it_wrote(tmp_path):
    fork = multiprocessing.get_context("fork")
    part, draw, ends = store(tmp_path), random.Random(0), time.monotonic() + 120
    struck, found = 0, []
    while struck < 5 or len(found) < 5:
        assert time.monotonic() < ends
        writer = fork.Process(target=write_forever, args=(tmp_path,))
        writer.start()
        time.sleep(draw.uniform(0.01, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        if (x := part.read(SAMPLE, 0)) is not None:
            assert x.shape == (SIZE,)
            assert x.min() == x.max()
            found.append(float(x[0]))
        left = [path for path in files(tmp_path) if path.name.startswith(".")]
        struck += bool(left)  # in the middle of a file
        for path in files(tmp_path):
            path.unlink()
    part.write(SAMPLE, 0, torch.ones(2))
    assert torch.equal(part.read(SAMPLE, 0), torch.ones(2))


def write_forever(folder):
    number = 0.0
    while True:
        store(folder).write(SAMPLE, 0, torch.full((SIZE,), number))
        number += 1


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from benchmark.training.feature_store import FeatureStore

store = FeatureStore(Path(sys.argv[1]), "video", "0" * 64, "fp32")
old, new = "ab" * 32, "cd" * 32
store.write(old, 0, torch.ones(50_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 10, 16, 300, 4096, 199_999):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for sample in (old, new):
        try:
            store.write(sample, 0, torch.zeros(50_000))
        except OSError as error:
            print(error.errno)
    assert store.missing([(old, 0), (new, 0)]) == [(new, 0)]
assert torch.equal(store.read(old, 0), torch.ones(50_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
store.write(new, 0, torch.zeros(50_000))
assert torch.equal(store.read(new, 0), torch.zeros(50_000))
"""


def test_a_full_disk_is_told_of_and_leaves_what_was_there(tmp_path):
    """As on a full disk: a limit on file sizes cuts a write off in the middle."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["27"] * 12  # EFBIG
    assert sorted(path.name[:2] for path in files(tmp_path)) == ["ab", "cd"]
