"""The tiny encoders."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark import backbones


def moving_square(direction: int, channels: int, frames: int) -> Tensor:
    """Return a clip (channels, frames, 32, 32) in which a square goes right, left, down or up."""
    clip = 0.1 * torch.randn(channels, frames, 32, 32)
    start, across = torch.randint(0, 5, (2,)).tolist()
    for t in range(frames):
        along = start + 20 * t // (frames - 1)
        along = along if direction % 2 == 0 else 24 - along
        y, x = (along, 3 * across) if direction >= 2 else (3 * across, along)
        clip[:, t, y : y + 8, x : x + 8] += 1
    return clip


def tone(pitch: int) -> Tensor:
    """Return a spectrogram (1, 65, 80) of one of four pitches, starting at any time."""
    sound = 0.1 * torch.randn(1, 65, 80)
    start = int(torch.randint(0, 60, ()))
    sound[:, 10 + 12 * pitch : 14 + 12 * pitch, start : start + 20] += 1
    return sound


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("tiny_video", lambda c: moving_square(c, 3, 32)),
        ("tiny_flow", lambda c: moving_square(c, 2, 8)),
        ("tiny_audio", tone),
    ],
)
def test_tiny_encoders_learn_what_moves_where_or_sounds_how(
    name: str, sample: Callable[[int], Tensor]
) -> None:
    torch.manual_seed(6)
    labels = torch.arange(48) % 4
    train, test = (torch.stack([sample(int(c)) for c in labels]) for _ in range(2))
    encoder = backbones.create(name, tuple(train.shape[1:]))
    network = nn.Sequential(encoder.stem, encoder.tail, nn.Linear(encoder.dim, 4))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(15):
        for rows in torch.randperm(48).split(16):
            optimizer.zero_grad()
            F.cross_entropy(network(train[rows]), labels[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        correct = (network.eval()(test).argmax(1) == labels).float().mean()
    assert correct > 0.9
    assert sum(p.numel() for p in encoder.parameters()) < 300_000
