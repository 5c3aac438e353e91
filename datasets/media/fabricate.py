"""Made-up recordings in the form of real ones, for trying out everything but the accuracy.

The class shows in the hue, shape and motion of blobs and in the pitch of a tone; the domain in the
colour and texture of the ground, in hum and in noise, so that there is something to learn and
something to generalise to. Blobs fill the picture, so that every crop shows some, and no motion is
another's mirror image: a tiny encoder learns either modality in a few steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from mmdg_common import UsageError

if TYPE_CHECKING:
    from av.video.stream import VideoStream

MARKER = "FABRICATED"
"""A file of this name in a dataset's root says that the recordings are made up."""

FPS = 24
RATE = 16000
SIZE = (48, 48)
"""Height and width in pixels: small files, and square for little to resize."""
SPACING = 16
"""Pixels from one blob to the next."""
FLOW_GAIN = 50.0
"""Grey levels per pixel and frame."""
LOWEST_TONE, HIGHEST_TONE = 300.0, 5000.0

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """What a fabricated recording is of: class and domain, each as index and count."""

    label: int
    classes: int
    domain: int
    domains: int

    @property
    def velocity(self) -> NDArray[Any]:
        """Pixels per frame, rightwards and downwards: classes are spread evenly over a circle.

        All move to the right, so that no class is the mirror image of another.
        """
        angle = 2 * np.pi * self.label / self.classes
        return np.array([1.2 + np.cos(angle), np.sin(angle)])

    @property
    def tone(self) -> float:
        """The pitch in Hz."""
        share = self.label / max(1, self.classes - 1)
        return float(LOWEST_TONE * (HIGHEST_TONE / LOWEST_TONE) ** share)


@dataclass(frozen=True)
class Scene:
    """The pictures of one recording: RGB [T, H, W, 3], flow [T - 1, H, W] in x and y."""

    rgb: Bytes
    x: Bytes
    y: Bytes


def claim(root: Path) -> None:
    """Mark a folder as fabricated, and make it if need be.

    Raises:
        UsageError: it holds anything that was not fabricated, or it cannot be made.
    """
    if root.is_dir() and any(root.iterdir()) and not is_fabricated(root):
        raise UsageError(f"{root} holds other files; fabricate into a folder of its own")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # among them: it is a file, or below one
        raise UsageError(
            f"{root} cannot be made a folder ({error.strerror}); fabricate into another one"
        ) from error
    (root / MARKER).write_text("These recordings are made up; accuracies on them mean nothing.\n")


def is_fabricated(root: Path) -> bool:
    """Return whether a dataset's root holds made-up recordings."""
    return (root / MARKER).is_file()


def scene(
    subject: Subject, rng: np.random.Generator, frames: int, size: tuple[int, int] = SIZE
) -> Scene:
    """Draw blobs with as many lobes as their class's index, moving their class's way.

    The flow is that of the blobs; the ground stands still.

    Args:
        subject: what is shown.
        rng: draws what differs between recordings of one class and domain.
        frames: T.
        size: height and width in pixels, both even.
    """
    height, width = size
    centre = rng.uniform(0, SPACING, 2) + subject.velocity * np.arange(frames)[:, None]
    across = _to_nearest(np.arange(width) - centre[:, :1])[:, None, :]
    down = _to_nearest(np.arange(height) - centre[:, 1:])[:, :, None]
    lobes = 1 + 0.4 * np.cos(subject.label * (np.arctan2(down, across) + rng.uniform(0, 6.28)))
    inside = np.hypot(across, down) < 0.38 * SPACING * lobes
    paint = _colours(subject, rng)
    texture = rng.normal(0, 4 + 8 * subject.domain, (height, width, 1))
    rgb = np.where(inside[..., None], paint["blob"], paint["ground"]) + texture
    rest = rng.normal(128, 2 + 4 * subject.domain, (2, height, width))
    x, y = (
        still + FLOW_GAIN * speed * inside[1:]
        for still, speed in zip(rest, subject.velocity, strict=True)
    )
    return Scene(_bytes(rgb), _bytes(x), _bytes(y))


def sound(subject: Subject, rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """Return a tone of the class's pitch [N] at 16 kHz in the noise of its domain."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = rng.normal(0, 0.02 + 0.05 * subject.domain / subject.domains, len(time))
    tone = 0.4 * np.sin(2 * np.pi * subject.tone * rng.uniform(0.97, 1.03) * time)
    hum = 0.2 * np.sin(2 * np.pi * (60 + 40 * subject.domain) * time)
    return np.asarray(tone + hum + noise, np.float32)


def write_mp4(
    path: Path,
    frames: Bytes,
    fps: int = FPS,
    keyframe_every: int = 12,
    b_frames: int = 2,
    container: Mapping[str, str] | None = None,
    first_pts: int = 0,
) -> None:
    """Write frames [T, H, W, 3] or [T, H, W] of even height and width as a video.

    Args:
        path: where to; its suffix says which container.
        frames: RGB or gray bytes.
        fps: frames per second.
        keyframe_every: the longest distance between two keyframes.
        b_frames: the most frames in a row that also refer to later ones.
        container: options of the container's writer.
        first_pts: the time stamp of the first frame, in frames.
    """
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"g": str(keyframe_every), "bf": str(b_frames)}
    if codec == "libx264":
        options |= {"preset": "ultrafast", "crf": "20", "sc_threshold": "0"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(container or {})) as file:
        stream = cast("VideoStream", file.add_stream(codec, rate=fps, options=options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, image in enumerate(frames):
            rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts = first_pts + number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def write_wav(path: Path, samples: NDArray[Any], rate: int = RATE) -> None:
    """Write samples [N] or [N, channels] as 16-bit sound."""
    import soundfile  # type: ignore[import-untyped]

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, rate, subtype="PCM_16")


def _to_nearest(distance: NDArray[Any]) -> NDArray[Any]:
    """Turn signed distances to one blob's centre into those to the nearest blob's."""
    return (distance + SPACING / 2) % SPACING - SPACING / 2


def _colours(subject: Subject, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return the RGB of blobs and ground: their hue tells the class, the ground's the domain."""
    primaries = 2 * np.pi * np.array([0, 1, 2]) / 3
    blob = 128 + 110 * np.cos(2 * np.pi * subject.label / subject.classes + primaries)
    ground = 110 + 20 * np.cos(2 * np.pi * subject.domain / subject.domains + primaries)
    return {
        "ground": ground + rng.uniform(-15, 15),
        "blob": blob + rng.uniform(-15, 15),
    }


def _bytes(values: NDArray[Any]) -> Bytes:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
