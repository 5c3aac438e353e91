"""What the tests of stored features share: a store, two samples and some numbers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.training.feature_store import FeatureStore

SAMPLE, OTHER = "ab" * 32, "cd" * 32
STEM = "0123456789abcdef" + "7" * 48


def store(folder: Path, **changes: Any) -> FeatureStore:
    return FeatureStore(
        **{"folder": folder, "modality": "video", "stem": STEM, "dtype": "fp32", **changes}
    )


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
