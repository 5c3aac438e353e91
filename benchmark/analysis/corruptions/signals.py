"""Corruptions of sensors over time [B, C, T] and of skeletons [B, 3, T, joints].

They act on what a dataset loads, before the encoder: in physical units where it loads those, after
the scaling where it scales each sample by its own values (HUST motor, and time series of `folder`).
Levels in deviations are in those of a channel over the sources' train part: of an axis of each
joint, for skeletons. All of them are ours, as no public code for these data sets corrupts them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.analysis.corruptions.base import Corruption, normal, sampled_in_time, uniform


def noisy(x: Tensor, deviation: Tensor, drawn: Tensor) -> Tensor:
    """Add Gaussian noise: the deviation of each channel times standard normal draws."""
    return x + deviation * drawn


def drifting(x: Tensor, end: Tensor) -> Tensor:
    """Add a ramp over time [B, C, T] that grows from 0 to `end` [B, C, 1], as a bias does."""
    return x + end * torch.linspace(0, 1, x.shape[2], device=x.device)


def held(x: Tensor, share: float, place: Tensor) -> Tensor:
    """Lose a span of time, in which all channels stay at what was measured last.

    Args:
        x: [B, C, T, ...].
        share: of the time that the span lasts, less than 1.
        place: [B, 1], from 0 to 1: where it begins among all places after the first moment.
    """
    length = x.shape[2]
    span = min(round(share * length), length - 1)
    begins = 1 + (place * (length - span)).long().clamp_(max=length - span - 1)
    moments = torch.arange(length, device=x.device).expand(len(x), -1)
    lost = (moments >= begins) & (moments < begins + span)
    return sampled_in_time(x, torch.where(lost, begins - 1, moments))


def jittered(x: Tensor, strength: float, drawn: Tensor) -> Tensor:
    """Read at uneven moments, as if the clock of the sensor were not steady.

    The time from one measurement to the next is multiplied by exp(strength · draw); all are then
    scaled so that both ends are kept. Between measurements, values are interpolated linearly.

    Args:
        x: [B, C, T, ...].
        strength: the deviation of the logarithm of a step.
        drawn: [B, T - 1], standard normal.
    """
    last = x.shape[2] - 1
    passed = (strength * drawn.double()).exp().cumsum(dim=1)
    moments = functional.pad(passed / passed[:, -1:], (1, 0)) * last
    before = moments.floor().long().clamp_(max=last - 1)
    part = (moments - before).to(x.dtype).view(len(x), 1, last + 1, *[1] * (x.ndim - 3))
    return torch.lerp(sampled_in_time(x, before), sampled_in_time(x, before + 1), part)


def rotated(x: Tensor, degrees: float, axis: Tensor) -> Tensor:
    """Turn a sensor on its wearer: all triads of channels by one angle about one axis.

    So the accelerometer and the gyroscope of a device turn together. Sensors on several parts of
    the body, in one modality, each turn so in their own frame.

    Args:
        x: [B, 3 n, T], triads x, y, z.
        degrees: the angle.
        axis: [B, 3], of any length.
    """
    triads = x.reshape(len(x), -1, 3, x.shape[2])
    return torch.einsum("bij,bnjt->bnit", _rotation(axis, degrees).to(x), triads).flatten(1, 2)


def turned(x: Tensor, degrees: float, side: Tensor) -> Tensor:
    """Turn a skeleton [B, 3, T, joints] about the vertical axis through the origin, y.

    Args:
        x: positions x, y (upwards), z.
        degrees: the angle.
        side: [B, 1]; to the left below 0.5, to the right above.
    """
    up = torch.tensor([0.0, 1.0, 0.0], device=x.device).expand(len(x), 3)
    turn = _rotation(torch.where(side < 0.5, up, -up), degrees).to(x)
    return torch.einsum("bij,bjtk->bitk", turn, x)


def _rotation(axis: Tensor, degrees: float) -> Tensor:
    """Return the matrices [B, 3, 3] of right-handed turns about axes [B, 3] (Rodrigues)."""
    x, y, z = functional.normalize(axis.double(), dim=1).unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    cross = torch.stack(rows, dim=1).view(-1, 3, 3)
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    unit = torch.eye(3, dtype=torch.float64, device=axis.device)
    return unit + angle.sin() * cross + (1 - angle.cos()) * cross @ cross


def _sides(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw -1 or 1 for each channel of a sample [C, T]."""
    return torch.randint(2, (shape[0], 1), generator=generator) * 2.0 - 1


def _one(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return uniform(torch.Size([1]), generator)


NOISE = Corruption(
    (0.1, 0.2, 0.4, 0.6, 0.8),
    lambda x, level, drawn, deviation: noisy(x, level * deviation, drawn),
    normal,
)
DRIFT = Corruption(
    (0.25, 0.5, 1.0, 1.5, 2.0),
    lambda x, level, side, deviation: drifting(x, level * deviation * side),
    _sides,
)
DROPPED_SPAN = Corruption(
    (0.1, 0.2, 0.3, 0.4, 0.5), lambda x, level, place, _: held(x, level, place), _one
)
TIME_JITTER = Corruption(
    (0.1, 0.2, 0.4, 0.6, 0.8),
    lambda x, level, drawn, _: jittered(x, level, drawn),
    lambda shape, generator: normal(torch.Size([shape[1] - 1]), generator),
)
ANGLES = (15, 30, 45, 60, 90)

SIGNAL: Mapping[str, Corruption] = {
    "gaussian_noise": NOISE,
    "drift": DRIFT,
    "dropped_span": DROPPED_SPAN,
    "time_jitter": TIME_JITTER,
}
INERTIAL: Mapping[str, Corruption] = {
    **SIGNAL,
    "rotation": Corruption(
        ANGLES,
        lambda x, level, axis, _: rotated(x, level, axis),
        lambda shape, generator: normal(torch.Size([3]), generator),
    ),
}
SKELETON: Mapping[str, Corruption] = {
    "gaussian_noise": NOISE,
    "dropped_span": DROPPED_SPAN,
    "time_jitter": TIME_JITTER,
    "rotation": Corruption(ANGLES, lambda x, level, side, _: turned(x, level, side), _one),
}
