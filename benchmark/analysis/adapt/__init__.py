"""Evaluators that adapt a trained model to the batches that it is tested on, without labels."""

from collections.abc import Mapping

from benchmark.analysis.adapt.aeo import AEO
from benchmark.analysis.adapt.base import Evaluator
from benchmark.analysis.adapt.read import READ
from benchmark.analysis.adapt.sar import SAR
from benchmark.analysis.adapt.t3a import T3A
from benchmark.analysis.adapt.tent import Tent

EVALUATORS: Mapping[str, type[Evaluator]] = {
    "tent": Tent,
    "t3a": T3A,
    "sar": SAR,
    "read": READ,
    "aeo": AEO,
}
