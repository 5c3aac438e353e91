"""The columns of the tables of analyses, by the name of the analysis."""

from collections.abc import Mapping

from benchmark.reporting.kinds.layouts import calibration, dynamics, shapley
from benchmark.reporting.kinds.layouts.layout import Layout

LAYOUTS: Mapping[str, Layout] = {
    "calibration": calibration.LAYOUT,
    "dynamics": dynamics.LAYOUT,
    "shapley": shapley.LAYOUT,
}
