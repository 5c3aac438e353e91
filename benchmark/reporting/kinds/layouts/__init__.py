"""The columns of the tables of analyses, by the name of the analysis."""

from collections.abc import Mapping

from benchmark.reporting.kinds.layouts import calibration, dynamics, embedding, shapley
from benchmark.reporting.kinds.layouts.layout import Layout

LAYOUTS: Mapping[str, Layout] = {
    "calibration": calibration.LAYOUT,
    "dynamics": dynamics.LAYOUT,
    "embedding": embedding.LAYOUT,
    "shapley": shapley.LAYOUT,
}
