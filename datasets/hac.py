"""HAC: seven actions by humans, animals and cartoon figures, in video, flow and sound.

The root holds `HAC_Splits/HAC_{train,test}_only_{domain}.csv` (`NAME.mp4,LABEL`, no header) and,
for each domain, `videos/NAME.mp4`, `flow/NAME_flow_x.mp4`, `flow/NAME_flow_y.mp4` and
`audio/NAME.wav`. Of a human source, 24 clips of the `test` file are training clips too: they do
not validate, and a target's clips count once. `HacOptions` names every point at which the field's
public code differs.

A file that is missing, empty, cut off or cannot be opened is found before training. Damage within
a video is found when it is decoded: by `datasets.prepare`, or by the run, which then fails. Damage
that the decoder does not notice is never found; decoders of H.264 and MPEG-4 notice most.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datasets import hac_files, register
from datasets.base import (
    Card,
    MultimodalDataset,
    PublishedPipeline,
    Recipe,
    Role,
    Sample,
    announced,
)
from datasets.hac_files import FOLDERS, SPLITS
from datasets.media import (
    MediaError,
    audio,
    clips,
    fabricate,
    hub,
    index,
    loading,
    substream,
    video,
)
from datasets.media.published import EPIC_SOUND, MODALITIES, REPOSITORY, SAMPLING, SWITCHES
from mmdg_common import UsageError, check_choices, unknown

ASSUMED_FPS, ASSUMED_RATE = 24, 16000
"""The frame rate and the sample rate that the public code assumes of every file."""

SOURCE = (
    f"fetch it with `python -m datasets.prepare hac --download` (from "
    f"https://huggingface.co/datasets/{REPOSITORY}). The folder {SPLITS} with the six split files "
    "is also part of the public code, https://github.com/donghao51/SimMMDG: put it beside the "
    "domains."
)
ADVICE = f"Check the folder with `python -m datasets.prepare hac --root DIR`. To get it, {SOURCE}"

CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "validation": ("clean", "with-duplicates"),
    "target_set": ("all", "all-with-duplicates", "test"),
    "audio_crop": ("clip", "reference"),
    "frame_index": ("exact", "off-by-one"),
    "flow_test_crop": (224, 256),
    "on_bad_sample": ("error", "skip"),
}


@dataclass(frozen=True)
class HacOptions:
    """Where published code differs; the first choice of each is the fair one."""

    validation: str = "clean"
    """`clean`: human's 24 copies of training clips do not validate; `with-duplicates`: they do."""
    target_set: str = "all"
    """`all`: the target's train and test files, each clip once; `all-with-duplicates`: human's
    24 copies count twice; `test`: the test file alone."""
    audio_crop: str = "clip"
    """`clip`: the sound of the seconds spanned by the 64 frames of the RGB clip, whichever
    modalities are used; `reference`: from the first to the last sampled frame of the video or,
    with flow but without video, of the flow, at 24 frames per second and 16 kHz, whatever the files
    say. With `reference`, a short, looped clip can end before it starts, and is silent."""
    frame_index: str = "exact"
    """`exact`; `off-by-one`: frame i - 1 stands for frame i, and the last frame is not counted."""
    flow_test_crop: int = 224
    """Pixels of the flow's centre crop in evaluation, 224 or 256; training crops are 224."""
    on_bad_sample: str = "error"
    """`error`: a file that is missing or broken stops the run; `skip`: its clip is left out."""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)


@register("hac")
class Hac(MultimodalDataset):
    """Human-Animal-Cartoon."""

    decodes = True
    Options: ClassVar[type] = HacOptions
    options: HacOptions

    published = PublishedPipeline(
        options={
            "validation": "with-duplicates",
            "target_set": "all-with-duplicates",
            "audio_crop": "reference",
            "frame_index": "off-by-one",
            "flow_test_crop": 256,
        },
        switches=SWITCHES,
    )

    card = Card(
        name="hac",
        modalities=MODALITIES,
        domains=("human", "animal", "cartoon"),
        classes=(
            "sleeping",
            "watching_tv",
            "eating",
            "drinking",
            "swimming",
            "running",
            "door_opening",
        ),
        recipe=Recipe(epochs=20, lr=1e-4, batch_size=16, weight_decay=1e-4),
        source=SOURCE,
        citation=(
            "H. Dong, I. Nejjar, H. Sun, E. Chatzi, O. Fink. SimMMDG: A simple and effective "
            "framework for multi-modal domain generalization. NeurIPS 2023."
        ),
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        if root is None:
            raise UsageError(f"hac needs the folder that holds its files. {ADVICE}")
        if not (root / SPLITS).is_dir():
            raise UsageError(f"hac: there is no folder {root / SPLITS}. {ADVICE}")
        self._root = root
        self.fabricated = fabricate.is_fabricated(root)
        count = len(self.card.classes)
        self._rows = {d: hac_files.read_rows(root, d, count) for d in self.card.domains}
        self._homes = {d: hac_files.home(root, d) for d in self.card.domains}
        self._videos: dict[str, video.VideoInfo] = {}
        self._broken: dict[str, dict[str, str]] = {}

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in the order of its split files."""
        return [s for s in self.listed(domain, role) if s.id not in self.skipped]

    def listed(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain by its split files alone."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        rows = self._rows[domain]
        if role == "train":
            return rows.train
        if role == "val":
            return rows.new if self.options.validation == "clean" else rows.test
        targets = {"all": rows.train + rows.new, "all-with-duplicates": rows.train + rows.test}
        return targets.get(self.options.target_set, rows.test)

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the files of this modality, 0 where one may be and is missing.

        Sound counts together with the video that says which seconds of it are heard.
        """
        follows = modality == "audio" and self.options.audio_crop == "clip"
        files = self._files(sample, ["video", modality] if follows else [modality])
        missing = [file for file in files if not self._sizes.get(file)]
        if missing and self.options.on_bad_sample == "error":
            raise MediaError(f"hac: {self._root / missing[0]} is missing or empty. {ADVICE}")
        return 0 if missing else sum(self._sizes[file] for file in files)

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files of this modality of a clip."""
        return self._files(sample, [modality])

    def prepare(self, modalities: Sequence[str]) -> None:
        """Index the files of these modalities, and find the clips that are to be left out."""
        samples = [s for rows in self._rows.values() for s in rows.train + rows.test]
        kinds = self._kinds(modalities)
        broken = {file: why for kind in kinds for file, why in self._index(kind, samples).items()}
        if broken and self.options.on_bad_sample == "error":
            raise MediaError(
                f"hac: {len(broken)} files cannot be used. The first: {next(iter(broken.values()))}"
                ". Replace them, or leave their clips out with --dataset-option "
                f"on_bad_sample=skip. {ADVICE}"
            )
        bad = {s.id: [f for f in self._files(s, kinds) if f in broken] for s in samples}
        self.skipped = {name: broken[files[0]] for name, files in bad.items() if files}

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of one clip; every modality draws from a stream of its own."""
        leader = self._kinds(modalities)[0]
        tensors = {}
        with loading(self.card.name):
            for modality in modalities:
                if modality == "audio":
                    samples = self._sound(sample, leader, seed)
                    tensors[modality] = audio.spectrogram(samples, substream(seed, "audio"))
                else:
                    tensors[modality] = self._clip(sample, modality, seed)
        return tensors

    def waveform(self, sample: Sample, modality: str, modalities: Sequence[str]) -> audio.Samples:
        """Return the sound [N] at 16 kHz of the clip in evaluation."""
        with loading(self.card.name):
            return self._sound(sample, self._kinds(modalities)[0], None)

    def follows(self, modality: str, modalities: Sequence[str]) -> str:
        """Return the modality whose clip the sound follows."""
        return self._kinds(modalities)[0] if modality == "audio" else ""

    def verify(self) -> Iterator[str]:
        """Yield what is wrong, decoding every file from start to end."""
        if not self.fabricated:
            for domain, rows in self._rows.items():
                yield from rows.miscounted(domain)
        there = {file.rpartition("/")[0] for file in self._sizes}
        absent = [
            (d, m) for d, m in product(self._homes, FOLDERS) if self._folder(d, m) not in there
        ]
        for domain, modality in absent:
            yield f"{self._root / self._folder(domain, modality)} is missing or holds no file"
        distinct = [s for rows in self._rows.values() for s in rows.train + rows.new]
        for sample in announced(distinct, f"checking {len(distinct)} clips"):
            for modality in FOLDERS:
                if (sample.domain, modality) not in absent:
                    yield from self._unusable(sample, modality)

    @classmethod
    def download(cls, root: Path) -> None:
        """Fetch HAC from the Hugging Face Hub."""
        hub.fetch(REPOSITORY, root, without=EPIC_SOUND)
        missing = [name for name in (SPLITS, *cls.card.domains) if not (root / name).is_dir()]
        if missing:
            raise UsageError(
                f"hac: after the download there is no {' and no '.join(missing)} in {root}. If a "
                f"folder of that name lies deeper, move it there. {SOURCE}"
            )

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up clips, a quarter of them into the test files."""
        hac_files.write_stand_in(cls.card, root, per_class)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return hac_files.listing(self._root, list(self._homes.values()))

    def _folder(self, domain: str, modality: str) -> str:
        return f"{self._homes[domain]}/{FOLDERS[modality]}"

    def _files(self, sample: Sample, modalities: Sequence[str]) -> list[str]:
        home = self._homes[sample.domain]
        return [file for m in modalities for file in hac_files.names(home, sample, m)]

    def _kinds(self, modalities: Sequence[str]) -> list[str]:
        """Return whose files are needed; before sound comes the modality whose clip it follows."""
        for modality in modalities:
            if modality not in FOLDERS:
                raise unknown("modality", modality, FOLDERS)
        if "audio" not in modalities:
            return list(modalities)
        reference = self.options.audio_crop == "reference"
        by_flow = reference and "flow" in modalities and "video" not in modalities
        return list(dict.fromkeys(["flow" if by_flow else "video", *modalities]))

    def _index(self, kind: str, samples: Sequence[Sample]) -> dict[str, str]:
        """Probe the files of one kind, once; return what is wrong with the broken ones."""
        if kind not in self._broken:
            files = [file for sample in samples for file in self._files(sample, [kind])]
            name, root, cache = f"hac {kind}", self._root, self.cache
            if kind == "audio":
                lengths = index.build(name, root, files, audio.duration, float, cache)
                self._broken[kind] = lengths.broken
            else:
                restore = video.VideoInfo.from_json
                found = index.build(name, root, files, video.probe, restore, cache)
                self._videos |= found.known
                self._broken[kind] = found.broken
        return self._broken[kind]

    def _info(self, file: str) -> video.VideoInfo:
        if file not in self._videos:
            self._videos[file] = video.probe(self._root / file)
        return self._videos[file]

    def _sampled(self, sample: Sample, kind: str, seed: int | None) -> NDArray[Any]:
        """Return the numbers of the frames of a clip, as the public code counts them."""
        total = min(self._info(file).frames for file in self._files(sample, [kind]))
        if self.options.frame_index == "off-by-one":
            total = max(1, total - 1)
        return clips.sample_indices(total, *SAMPLING[kind], substream(seed, kind, "start"))

    def _frames(self, sample: Sample, kind: str, seed: int | None) -> list[Tensor]:
        """Decode a clip: [T, H, W, 3] of the video, or [T, H, W] of each half of the flow."""
        indices = self._sampled(sample, kind, seed)
        if self.options.frame_index == "off-by-one":
            indices = np.maximum(indices - 1, 0)
        wanted, gray = indices.tolist(), kind == "flow"
        return [
            video.decode(self._root / file, self._info(file), wanted, gray)
            for file in self._files(sample, [kind])
        ]

    def _clip(self, sample: Sample, kind: str, seed: int | None) -> Tensor:
        frames = self._frames(sample, kind, seed)
        draw = substream(seed, kind, "crop")
        if kind == "video":
            return clips.rgb_clip(frames[0], draw)
        x, y = frames
        if x.shape != y.shape:
            half = self._root / self._files(sample, [kind])[0]
            raise MediaError(f"{half} and its other half differ in size")
        return clips.flow_clip(x, y, draw, test_crop=self.options.flow_test_crop)

    def _sound(self, sample: Sample, leader: str, seed: int | None) -> audio.Samples:
        """Return the stretch of sound that belongs to the clip of `leader`."""
        (file,) = self._files(sample, ["audio"])
        indices = self._sampled(sample, leader, seed)
        if self.options.audio_crop == "reference":
            start, stop = indices[[0, -1]] / ASSUMED_FPS
            return audio.read_wav(self._root / file, start, stop, ASSUMED_RATE)
        info = self._info(self._files(sample, [leader])[0])
        length, interval = SAMPLING[leader]
        end = min(indices[0] + length * interval, info.frames)
        return audio.read_wav(self._root / file, indices[0] / info.fps, end / info.fps)

    def _unusable(self, sample: Sample, modality: str) -> Iterator[str]:
        try:
            if modality == "audio":
                path = self._root / self._files(sample, [modality])[0]
                audio.read_wav(path, 0, audio.duration(path))
            else:
                for file in self._files(sample, [modality]):
                    video.check(self._root / file, self._info(file))
                self._clip(sample, modality, None)
        except MediaError as error:
            yield str(error)
