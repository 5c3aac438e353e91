"""Tones, and how to tell their pitch."""

import numpy as np


def tone(hertz: float, seconds: float, rate: int = 16000, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pitch(samples: np.ndarray, rate: int = 16000) -> float:
    """The strongest frequency in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))
