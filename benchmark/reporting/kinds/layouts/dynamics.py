"""The table of modality dynamics."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values


def _columns(found: Sequence[Values]) -> list[Column]:
    modalities = list(found[0]["train"]["gradient_norm"])
    columns = [
        *(Column(f"‖g‖ {k}", ("train", "gradient_norm", k)) for k in modalities),
        *(Column(f"‖g own‖ {k}", ("train", "unimodal_gradient_norm", k)) for k in modalities),
        *(Column(f"cos {k}", ("train", "gradient_cosine", k)) for k in modalities),
        *(Column(f"cos {k}, target", ("target", "gradient_cosine", k)) for k in modalities),
        Column("variance", ("variance", "total")),
        *(Column(f"s {k}", ("train", "confidence", k), percent=True) for k in modalities),
        *(Column(f"drop {k}", ("logged", "drop_rate", k, "mean"), percent=True)
          for k in modalities),
        Column("one left", ("keeping_one", "mean"), percent=True),
    ]  # fmt: skip
    there = [c for c in columns if any(c.look(values) is not None for values in found)]
    return there or columns


LAYOUT = Layout(
    _columns,
    (
        "At the kept weights, in evaluation mode. ‖g‖: length of the gradient of the fused "
        "cross-entropy by the encoder of a modality, on the train part; own: of its unimodal "
        "cross-entropy; cos: the cosine between both, which is below 0 where they pull apart. "
        "variance: E‖g_B - g‖² / ‖g‖² over batches of the training's size, of all trained tensors.",
        "s: mean highest probability of the unimodal head on the train part, MBCD's confidence. "
        "Over training: drop, the mean drop rate of a modality, and the share of samples that "
        "keep exactly one modality at these rates.",
    ),
)
