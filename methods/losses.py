"""Loss terms that several methods share, each written once."""

from collections.abc import Mapping

import torch
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


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy [B] in nats of the distributions that logits [B, C] stand for."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def supervised_contrastive(views: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., NeurIPS 2020, equation 2).

    Every view of every sample is an anchor; its positives are all other views with its label, and
    the denominator runs over everything but the anchor. Anchors without a positive do not count,
    and without any anchor the loss is 0. There is no factor temperature / base_temperature.

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


def halves(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the modality-shared and the modality-specific half of embeddings [B, D], D even."""
    shared, specific = z.chunk(2, dim=1)
    return shared, specific


def explore(z: Tensor) -> Tensor:
    """Return minus the mean squared distance of the normalised halves of embeddings [B, D].

    It lies in [-4 / (D/2), 0], lowest where the halves point in opposite directions. SimMMDG's own
    code takes the raw halves, for which the loss has no lower bound.
    """
    shared, specific = (F.normalize(half, dim=1) for half in halves(z))
    return -F.mse_loss(shared, specific)


def by_domain(domains: Tensor, least: int = 2) -> list[Tensor]:
    """Return the sample indices of every domain that has at least `least` samples in the batch."""
    groups = ((domains == d).nonzero().flatten() for d in sorted(set(domains.tolist())))
    return [group for group in groups if len(group) >= least]
