"""What the field's public scripts for HAC and EPIC-Kitchens have in common."""

from collections.abc import Mapping
from typing import Any

REPOSITORY = "hdong51/Human-Animal-Cartoon"
"""On the Hugging Face Hub: HAC, and the sound of EPIC-Kitchens' videos."""
EPIC_SOUND = "EPIC-KITCHENS-audio.zip"

SAMPLING = {"video": (32, 2), "flow": (8, 4)}
"""Frames of a clip and the step between two of them."""

SWITCHES: Mapping[str, Any] = {
    "neck": "none",
    "frozen_bn": {"video": "train", "flow": "train", "audio": "eval"},
    "tail_init": {"video": "pretrained", "flow": "pretrained", "audio": "random"},
    "embedding_dropout": {"video": 0.5, "flow": 0.5, "audio": 0.0},
    "ema_warmup": False,
}
"""Protocol switches of the ERM script; a method's class says where its own script differs."""
