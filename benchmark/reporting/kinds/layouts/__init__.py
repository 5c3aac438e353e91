"""The columns of the tables of analyses, by the name of the analysis."""

from collections.abc import Mapping

from benchmark.reporting.kinds.layouts import (
    adaptation,
    calibration,
    dynamics,
    embedding,
    interpolation,
    ood,
    robustness,
    shapley,
    sharpness,
)
from benchmark.reporting.kinds.layouts.layout import Layout

LAYOUTS: Mapping[str, Layout] = {
    "adaptation": adaptation.LAYOUT,
    "calibration": calibration.LAYOUT,
    "dynamics": dynamics.LAYOUT,
    "embedding": embedding.LAYOUT,
    "interpolation": interpolation.LAYOUT,
    "ood": ood.LAYOUT,
    **robustness.LAYOUTS,
    "shapley": shapley.LAYOUT,
    "sharpness": sharpness.LAYOUT,
}
