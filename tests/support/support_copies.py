"""Small copies of every dataset that reads files and keeps something of them, in their layouts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from support_epic import numbered
from support_folder import FOURS, table, vectors
from support_mex import write_recording as write_mex

import datasets
from datasets import dsads_files, hust_files, mex_files, sp_sw_har_files, utd_mhad
from datasets.media import arrays, audio, fabricate, frames, video

DOMAINS = ("D1", "D2", "D3")


def skeleton(frames: int, seed: int) -> np.ndarray:
    """[20, 3, frames] metres: a person of random proportions."""
    return np.random.default_rng(seed).normal(size=(20, 3, frames))


def write_utd(root: Path, recording: str, seed: int) -> None:
    """Write the three files of a recording; the length differs between recordings."""
    frames = 4 + seed % 3
    depth = np.zeros((240, 320, frames), np.uint16)
    depth[60:180, 100:160] = 2500 + seed
    inertial = np.arange(6.0) + np.zeros((5 + seed % 4, 6))
    contents = {
        "Depth": ("depth", {"d_depth": depth}),
        "Skeleton": ("skeleton", {"d_skel": skeleton(frames, seed)}),
        "Inertial": ("inertial", {"d_iner": inertial}),
    }
    for folder, (suffix, content) in contents.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        path = root / folder / f"{recording}_{suffix}.mat"
        savemat(path, content, do_compression=True)


def raw_tree(root, length=2100):
    """Write raw files whose four columns tell file and time apart."""
    time = np.arange(length)
    for j, speed in enumerate(hust_files.SPEEDS_HZ):
        for i, state in enumerate(hust_files.STATES):
            table = np.stack(
                [time / 25600, 3.0 * time, 4.0 * time, 0 * time, 1000.0 * (10 * j + i) + time % 7],
                axis=1,
            )
            lines = ["Title\tTest", "Time\tx\ty\tz\tsound"]
            lines += ["\t".join(f"{v:g}" for v in row) for row in table]
            (root / f"{state}_{speed}HZ.txt").write_text("\n".join(lines))
    return root


def _utd(root: Path) -> None:
    ids = [f"a1_s{subject}_t{trial}" for subject in range(1, 9) for trial in (1, 2, 3)]
    for seed, recording in enumerate(ids):
        write_utd(root, recording, seed)


def _mex(root: Path) -> None:
    for subject in range(1, 11):
        write_mex(root, f"{subject:02d}/01_1", 1000, 10)


def _epic_clips(root: Path) -> None:
    """One segment a table, its video cut beforehand."""
    numbered(root, start_frame=1, stop_frame=33)
    for number, (domain, part) in enumerate((d, p) for d in DOMAINS for p in ("train", "test")):
        clip = root / "video" / part / domain / f"{domain}_P08_01_1_33_0.mp4"
        pictures = np.full((32, 64, 64, 3), 20 * number, np.uint8)
        fabricate.write_mp4(clip, pictures)


def _raw(root: Path) -> None:
    root.mkdir(parents=True)
    raw_tree(root)


def _vectors(root: Path) -> None:
    table(root, vectors(root, FOURS))


@dataclass(frozen=True)
class Case:
    """A dataset, and what its caches are to spare."""

    dataset: str
    make: Callable[[Path], None] | None
    """Writes a copy; None: the dataset's own stand-in."""
    modalities: tuple[str, ...]
    file: str
    """Matches a file of the first modality."""
    spared: tuple[tuple[Any, str], ...]
    """The functions that read files, by module and name."""

    def write(self, root: Path) -> Path:
        """Write a copy into a new folder."""
        make = self.make or (lambda root: datasets.get(self.dataset).fabricate(root, 3))
        make(root)
        return root


PROBES = ((video, "probe"), (audio, "duration"))
CASES = {
    "dsads": Case("dsads", None, ("gyroscope",), "s01.txt", ((dsads_files, "_read"),)),
    "mex": Case("mex", _mex, ("depth",), "dc_*.csv", ((mex_files, "windows"),)),
    "sp_sw_har": Case(
        "sp_sw_har", None, ("phone",), "s01_01_sp.csv", ((sp_sw_har_files, "_windows"),)
    ),
    "utd_mhad": Case("utd_mhad", _utd, ("skeleton",), "a1_s1_t1_skel*", ((utd_mhad, "loadmat"),)),
    "hust_motor": Case(
        "hust_motor", _raw, ("acoustic",), "H_5HZ.txt", ((hust_files, "windows_of"),)
    ),
    "hac": Case("hac", None, ("video", "flow", "audio"), "eating_1.mp4", PROBES),
    "epic_frames": Case(
        *("epic_kitchens", None, ("video", "flow", "audio"), "frame_0000000001.jpg"),
        ((frames, "broken"), *PROBES),
    ),
    "epic_clips": Case("epic_kitchens", _epic_clips, ("video",), "D1_*.mp4", PROBES),
    "folder_vectors": Case("folder", _vectors, ("x",), "A_x_0.npy", ((arrays, "read"),)),
    "folder_media": Case("folder", None, ("video", "audio"), "clap_0.mp4", PROBES),
}
"""All but `synthetic`, made in memory, and the .mat files of hust_motor, which are not cached."""

SLOW = ("hac", "epic_frames", "sp_sw_har", "hust_motor")


def params(**more: Case) -> list[Any]:
    """Return the cases, and more of them, as parameters of a test."""
    return [
        pytest.param(case, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name, case in {**CASES, **more}.items()
    ]
