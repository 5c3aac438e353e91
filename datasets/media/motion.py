"""Skeletons and inertial signals to a fixed number of time steps and comparable units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.sensors.signals import resample

Array = NDArray[Any]

SKELETON_FRAMES = 48
INERTIAL_STEPS = 128
GYROSCOPE_SCALE = 0.01
"""Brings degrees per second to the magnitude of the accelerometer's g."""
SHOULDER_CENTER, HIP_CENTER = 1, 3


def convert_skeleton(joints: Array) -> Array:
    """Centre on the hip of the first frame, measure in torso lengths, resample.

    Args:
        joints: [20, 3, N] metres.

    Returns:
        [3, 48, 20] float32: axis, time, joint.
    """
    torso = np.linalg.norm(joints[SHOULDER_CENTER] - joints[HIP_CENTER], axis=0).mean()
    if not torso > 0:
        raise ValueError("the torso has no length")
    relative = (joints - joints[HIP_CENTER, :, :1]) / torso
    return resample(relative.transpose(2, 1, 0), SKELETON_FRAMES).swapaxes(0, 1).astype(np.float32)


def convert_inertial(signals: Array) -> Array:
    """Resample; g stay g, degrees per second become hundreds of degrees per second.

    Args:
        signals: [N, 6], three accelerometer axes before three gyroscope axes.

    Returns:
        [6, 128] float32.
    """
    scale = np.array([1.0] * 3 + [GYROSCOPE_SCALE] * 3)
    return np.asarray((resample(signals, INERTIAL_STEPS) * scale).T, np.float32)
