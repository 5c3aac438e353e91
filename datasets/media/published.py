"""What the field's public scripts for HAC and EPIC-Kitchens have in common."""

from collections.abc import Mapping
from typing import Any

from datasets.base import ByteScale, ModalitySpec

REPOSITORY = "hdong51/Human-Animal-Cartoon"
"""On the Hugging Face Hub: HAC, and the sound of EPIC-Kitchens' videos."""
EPIC_SOUND = "EPIC-KITCHENS-audio.zip"

SAMPLING = {"video": (32, 2), "flow": (8, 4)}
"""Frames of a clip and the step between two of them."""

RGB = ByteScale(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
FLOW = ByteScale(mean=(128.0, 128.0), std=(128.0, 128.0))
"""Flow is stored as bytes, 128 standing still."""

MODALITIES = (
    ModalitySpec("video", (3, 32, 224, 224), "slowfast_r101", "RGB, standardised", RGB, "video"),
    ModalitySpec("flow", (2, 8, 224, 224), "slowonly_r50_flow", "x and y, 0 at rest", FLOW, "flow"),
    ModalitySpec(
        "audio", (1, 257, 1004), "vggsound_resnet18", "log power, standardised", kind="audio"
    ),
)

SWITCHES: Mapping[str, Any] = {
    "neck": "none",
    "frozen_bn": {"video": "train", "flow": "train", "audio": "eval"},
    "tail_init": {"video": "pretrained", "flow": "pretrained", "audio": "random"},
    "embedding_dropout": {"video": 0.5, "flow": 0.5, "audio": 0.0},
    "ema_warmup": False,
}
"""Protocol switches of the ERM script; a method's class says where its own script differs."""
