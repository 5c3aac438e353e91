"""How the field's public scripts run a method, as `--protocol reference` does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PublishedScript:
    """The departures of MMDG_Benchmark's script for a method from its script for ERM.

    A method without a script there is run as ERM is.
    """

    composition: str = ""
    """The composition that the script trains under the method's name; empty: the method alone."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Hyper-parameters by component, where the script's differ from our defaults."""
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Protocol switches, for every modality alike."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recipe."""
    reports: str = "best-val"
    """`best-val`, ties to the later epoch, or `last`."""
