"""The columns of the tables of analyses, by the name of the analysis."""

from collections.abc import Mapping

from benchmark.reporting.kinds.layouts import calibration, interpolation, shapley, sharpness
from benchmark.reporting.kinds.layouts.layout import Layout

LAYOUTS: Mapping[str, Layout] = {
    "calibration": calibration.LAYOUT,
    "interpolation": interpolation.LAYOUT,
    "shapley": shapley.LAYOUT,
    "sharpness": sharpness.LAYOUT,
}
