"""How the field's public scripts run a method; what `--protocol reference` takes from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PublishedScript:
    """Where MMDG_Benchmark's script of a method departs from its script of ERM.

    A method without a script there is run as ERM is.
    """

    composition: str = ""
    """What the script trains under the method's name; empty: the method alone."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Hyper-parameters by component, where the script's are not our defaults."""
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Protocol switches, for every modality alike."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe."""
    reports: str = "best-val"
    """`best-val`, ties to the later epoch, or `last`."""
