"""The settings of all evaluators."""

from dataclasses import dataclass

from methods.hyperparameters import hyper


@dataclass(frozen=True)
class Settings:
    """See the fields; constants are those of the papers, and the learning rate is one for all."""

    evaluators: str = hyper("all", "tent, t3a, sar, read and aeo, or some of them joined by commas")
    batch_size: int = hyper(64, "samples of the stream that come at once", low=1)
    lr: float = hyper(1e-4, "learning rate of Adam, one step per batch", low=0.0)
    filter_k: int = hyper(20, "supports of each class that T3A keeps", low=1)
    sar_margin: float = hyper(
        0.4, "entropy, as a share of ln C, below which SAR relies on a sample", low=0.0
    )
    sar_radius: float = hyper(0.05, "radius of SAR's perturbation of the weights", low=0.0)
    sar_reset: float = hyper(
        0.2, "moving average of the entropy in nats below which SAR starts anew", low=0.0
    )
    double_softmax: bool = hyper(
        True, "READ and AEO: the second softmax of the public code, over summed probabilities"
    )
