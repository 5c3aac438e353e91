"""Loss terms that several methods share, each written once."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

BASE_TEMPERATURE = 0.07


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


def js_divergence(a: Tensor, b: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in nats of two [B, C] logits, averaged over the batch.

    ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p+q)/2: symmetric, in [0, ln 2], 0 for equal distributions.
    """
    log_p, log_q = F.log_softmax(a, dim=1), F.log_softmax(b, dim=1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    both = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return 0.5 * both.sum(dim=1).mean()


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy [B] in nats of the distributions that logits [B, C] stand for."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def supervised_contrastive(views: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., NeurIPS 2020, equation 2).

    Every view of every sample is an anchor; its positives are all other views with its label, and
    the denominator runs over everything but the anchor. Anchors without a positive do not count,
    and without any anchor the loss is 0. There is no factor temperature / base temperature; see
    `scaled_contrastive`.

    Args:
        views: [B, V, D], normalised to length 1.
        labels: [B].
        temperature: divides the cosines.
    """
    flat = views.flatten(0, 1)
    owners = labels.repeat_interleave(views.shape[1])
    others = ~torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    positive = (owners.unsqueeze(0) == owners.unsqueeze(1)) & others
    similarity = (flat @ flat.T) / temperature
    log_p = similarity - similarity.masked_fill(~others, -torch.inf).logsumexp(1, keepdim=True)
    counts = positive.sum(1)
    anchors = counts > 0
    per_anchor = -log_p.masked_fill(~positive, 0).sum(1)[anchors] / counts[anchors]
    return per_anchor.sum() / anchors.sum().clamp_min(1)


def scaled_contrastive(views: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return temperature / 0.07 times the supervised contrastive loss, as public code of the field.

    SimMMDG, MOOSA and CMRF multiply so, by 1.43 at their temperature of 0.1, and their weights are
    weights of this product. The factor also keeps the size of the gradient, which grows with
    1 / temperature.
    """
    return temperature / BASE_TEMPERATURE * supervised_contrastive(views, labels, temperature)


def halves(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the modality-shared and the modality-specific half [B, ⌈D/2⌉] of embeddings [B, D].

    The value in the middle of an odd D belongs to both.
    """
    size = half_size(z.shape[1])
    return z[:, :size], z[:, -size:]


def half_size(dim: int) -> int:
    """Return ⌈D/2⌉, the size of each half of an embedding of size D."""
    return (dim + 1) // 2


def explore(z: Tensor, normalized: bool = True) -> Tensor:
    """Return minus the mean squared distance of the normalised halves of embeddings [B, D].

    It lies in [-4 / ⌈D/2⌉, 0], lowest where the halves point in opposite directions. SimMMDG's own
    code takes the raw halves, for which the loss has no lower bound.
    """
    shared, specific = halves(z)
    if normalized:
        shared, specific = F.normalize(shared, dim=1), F.normalize(specific, dim=1)
    return -F.mse_loss(shared, specific)


def by_domain(domains: Tensor, least: int = 2) -> list[Tensor]:
    """Return the sample indices of every domain that has at least `least` samples in the batch."""
    groups = ((domains == d).nonzero().flatten() for d in sorted(set(domains.tolist())))
    return [group for group in groups if len(group) >= least]
