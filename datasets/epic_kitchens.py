"""EPIC-Kitchens: eight verbs in three kitchens, in video, flow and sound.

The root holds the split tables of MM-SADA, `MM-SADA_Domain_Adaptation_Splits/D1_train.pkl` to
`D3_test.pkl` (or is their folder), and the media in one of two layouts, single frames or clips
cut beforehand; `datasets/epic_layouts.py` shows both. Each modality may have its own. A domain is
one participant's kitchen: D1 is P08, D2 is P01, D3 is P22.

The `test` table of a source validates; a target is tested on its `test` table alone, as in the
field's public code. That code hangs where sound ends before its segment begins; here it is silence.

A missing file, a frame that is empty, cut off or no picture, and a clip or sound that cannot be
opened are found before training. Damage within a file is found when it is decoded: by
`datasets.prepare`, or by the run, which then fails. Damage that the decoder does not notice (inside
a JPEG picture, for example) is never found.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from datasets import epic_files, epic_layouts, register
from datasets.base import (
    Card,
    MultimodalDataset,
    PublishedPipeline,
    Recipe,
    Role,
    Sample,
    announced,
)
from datasets.epic_files import SPLITS, TABLES, Segment
from datasets.media import MediaError, audio, clips, fabricate, hub, loading, substream
from datasets.media.published import EPIC_SOUND, MODALITIES, REPOSITORY, SAMPLING, SWITCHES
from mmdg_common import UsageError, check_choices, unknown

SOURCE = (
    f"put the six tables of {SPLITS}, a part of the public code "
    "(https://github.com/donghao51/SimMMDG), into a folder of that name in DIR, beside them the "
    "RGB and flow frames of EPIC-Kitchens' participants P01, P08 and P22 "
    "(https://epic-kitchens.github.io) and the sound of its videos as mono wav of 16 kHz, which "
    f"`python -m datasets.prepare epic_kitchens --download` fetches ({EPIC_SOUND} in "
    f"https://huggingface.co/datasets/{REPOSITORY})."
)
ADVICE = (
    "Check the folder with `python -m datasets.prepare epic_kitchens --root DIR`. To get it, "
    + SOURCE
)
CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "flow_test_crop": (224, 256),
    "on_bad_sample": ("error", "skip"),
}


@dataclass(frozen=True)
class EpicOptions:
    """Where published code differs; the first choice of each is the fair one."""

    flow_test_crop: int = 224
    """Pixels of the flow's centre crop in evaluation, 224 or 256; training crops are 224."""
    on_bad_sample: str = "error"
    """`error`: a file that is missing or broken stops the run; `skip`: its clip is left out."""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)


@register("epic_kitchens")
class EpicKitchens(MultimodalDataset):
    """EPIC-Kitchens with the splits of MM-SADA.

    Two layouts are read. Frames: `rgb/{train,test}/DOMAIN/VIDEO/frame_0000000001.jpg`,
    `flow/{train,test}/DOMAIN/VIDEO/{u,v}/frame_0000000001.jpg` and
    `rgb/{train,test}/DOMAIN/VIDEO.wav`. Clips: `video/{train,test}/DOMAIN/NAME.mp4`,
    `flow/{train,test}/DOMAIN/NAME_{u,v}.mp4`, NAME being `DOMAIN_VIDEO_START_STOP_LABEL` with
    the first frame and the one after the last, and `audio/{train,test}/DOMAIN/VIDEO.wav`.
    """

    decodes = True
    Options: ClassVar[type] = EpicOptions
    options: EpicOptions

    published = PublishedPipeline(
        options={"flow_test_crop": 256},
        switches=SWITCHES,
    )

    card = Card(
        name="epic_kitchens",
        modalities=MODALITIES,
        domains=("D1", "D2", "D3"),
        classes=("take", "put", "open", "close", "wash", "cut", "mix", "pour"),
        recipe=Recipe(epochs=20, lr=1e-4, batch_size=16, weight_decay=1e-4),
        source=SOURCE,
        citation=(
            "J. Munro, D. Damen. Multi-modal domain adaptation for fine-grained action "
            "recognition. CVPR 2020."
        ),
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        if root is None or not root.is_dir():
            raise UsageError(f"epic_kitchens: there is no folder {root}. {ADVICE}")
        tables = [
            epic_files.table_file(root, d, split) for d in self.card.domains for split in TABLES
        ]
        missing = [str(path) for path in tables if not path.is_file()]
        if missing:
            raise UsageError(f"epic_kitchens: {missing[0]} is missing. {ADVICE}")
        self._root = root
        self._problems: dict[str, dict[str, str]] = {}
        self.fabricated = fabricate.is_fabricated(root)
        self._tables = {
            (domain, split): epic_files.read_segments(root, domain, split, len(self.card.classes))
            for domain, split in product(self.card.domains, TABLES)
        }
        self._segments = {s.sample.id: s for table in self._tables.values() for s in table}

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain in the order of its split table."""
        return [sample for sample in self.listed(domain, role) if sample.id not in self.skipped]

    def listed(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain by its split table alone."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        split = "train" if role == "train" else "test"
        return [segment.sample for segment in self._tables[domain, split]]

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the files of this modality, or how many frames are there.

        Raises:
            MediaError: nothing is there, and it may not be left out.
        """
        size = self._media(modality).size(self._segments[sample.id])
        if not size and self.options.on_bad_sample == "error":
            self.prepare([modality])
        return size

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files of this modality; of single frames the segment's first."""
        return self._media(modality).files(self._segments[sample.id])

    def made_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the files of this modality; of single frames also the folder of their video."""
        media, segment = self._media(modality), self._segments[sample.id]
        files = media.files(segment)
        if isinstance(media, epic_layouts.FrameFolders):
            files += media.folders(segment)
        return files

    def prepare(self, modalities: Sequence[str]) -> None:
        """Check that every file is there, and find the segments that are to be left out."""
        found: dict[str, str] = {}
        for modality in modalities:
            problems = self._unusable(modality)
            if problems and self.options.on_bad_sample == "error":
                first = next(iter(problems.values()))
                raise MediaError(
                    f"epic_kitchens: {len(problems)} of {len(self._segments)} segments "
                    f"have no usable {modality}. The first: {first}. Replace the files, or "
                    "leave their segments out with --dataset-option on_bad_sample=skip. "
                    f"{ADVICE}"
                )
            found = {**problems, **found}
        self.skipped = found

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of one segment; every modality draws from a stream of its own."""
        segment = self._segments[sample.id]
        with loading(self.card.name):
            return {modality: self._tensor(segment, modality, seed) for modality in modalities}

    def waveform(self, sample: Sample, modality: str, modalities: Sequence[str]) -> audio.Samples:
        """Return the sound [N] at 16 kHz of the whole segment."""
        with loading(self.card.name):
            return self._sounds.read(self._segments[sample.id])

    def verify(self) -> Iterator[str]:
        """Yield what is wrong, decoding every frame and the sound of each segment."""
        if not self.fabricated:
            for (domain, split), table in self._tables.items():
                yield from epic_files.miscounted(table, domain, split)
        segments = self._segments.values()
        for modality in (spec.name for spec in self.card.modalities):
            problems = self._unusable(modality)
            if len(problems) == len(segments):
                first = next(iter(problems.values()))
                yield f"no segment has usable {modality}; the first: {first}"
                continue
            for problem, count in Counter(problems.values()).items():
                yield f"{problem} ({count} segments)" if count > 1 else problem
            whole = [s for s in segments if s.sample.id not in problems]
            for segment in announced(whole, f"checking {len(whole)} segments of {modality}"):
                try:
                    if modality != "audio":
                        self._pictures[modality].check(segment)
                    self._tensor(segment, modality, None)
                except MediaError as error:
                    yield str(error)

    @classmethod
    def download(cls, root: Path) -> None:
        """Fetch the sound, the one part that is offered; tables and frames stay the user's task."""
        hub.fetch(REPOSITORY, root, only=EPIC_SOUND)
        if not epic_layouts.has_sound(root):
            raise UsageError(
                f"epic_kitchens: {EPIC_SOUND} holds no sound as PART/DOMAIN/VIDEO.wav. Move what "
                f"was unpacked below {root / epic_layouts.UNPACKED} to {root / 'rgb'} in this form"
            )

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up segments as single frames, a quarter of them into the test tables."""
        epic_files.write_stand_in(cls.card, root, per_class)

    @cached_property
    def _pictures(self) -> dict[str, epic_layouts.Pictures]:
        return {modality: epic_layouts.pictures(self._root, modality) for modality in SAMPLING}

    @cached_property
    def _sounds(self) -> epic_layouts.Sounds:
        return epic_layouts.sounds(self._root)

    def _unusable(self, modality: str) -> dict[str, str]:
        """Return, by sample id, what is wrong with segments that cannot be read; looked up once."""
        if modality not in self._problems:
            segments = list(self._segments.values())
            self._problems[modality] = self._media(modality).problems(segments, self.cache)
        return self._problems[modality]

    def _media(self, modality: str) -> epic_layouts.Pictures | epic_layouts.Sounds:
        names = [spec.name for spec in self.card.modalities]
        if modality not in names:
            raise unknown("modality", modality, names)
        return self._sounds if modality == "audio" else self._pictures[modality]

    def _tensor(self, segment: Segment, modality: str, seed: int | None) -> Tensor:
        media = self._media(modality)
        if isinstance(media, epic_layouts.Sounds):
            return audio.spectrogram(media.read(segment), substream(seed, "audio"))
        start = substream(seed, modality, "start")
        indices = clips.sample_indices(media.total(segment), *SAMPLING[modality], start)
        images = media.read(segment, indices)
        draw = substream(seed, modality, "crop")
        if modality == "video":
            return clips.rgb_clip(images[0], draw)
        x, y = images
        if x.shape != y.shape:
            raise MediaError(f"flow of {segment.sample.id}: u and v differ in size")
        return clips.flow_clip(x, y, draw, test_crop=self.options.flow_test_crop)
