"""Loss terms that several methods share."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F


def unimodal_cross_entropy(logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Return the cross-entropy of each modality's own logits [B, C]."""
    return {k: F.cross_entropy(u, labels) for k, u in logits.items()}


def kl_from(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(teacher ‖ student) of two [B, C] logits, averaged over the batch."""
    return F.kl_div(
        F.log_softmax(student, dim=1),
        F.log_softmax(teacher, dim=1),
        reduction="batchmean",
        log_target=True,
    )
