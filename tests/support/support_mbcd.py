"""What the tests of MBCD share: the method with its parts off, and terms by hand."""

import torch
from support_methods import (
    make_method,
    tiny_model,
    without_dropout,
)

THREE = ("a", "b", "d")
OFF = {
    "dropout": "none",
    "consistency": "none",
    "distill_fused": 0.0,
    "distill_unimodal": 0.0,
}


def mbcd(model, ema_warmup=False, **changes):
    """Return MBCD with every part off but those in `changes`."""
    return make_method("mbcd", model, ema_warmup, **{**OFF, **changes})


def cross_entropy(logits, labels):
    """Return the mean of -log softmax(logits)[label]."""
    probabilities = torch.softmax(logits, dim=1)
    return -probabilities.gather(1, labels.unsqueeze(1)).log().mean()


def kl(teacher, student):
    """Return the batch mean of Σ p_teacher (log p_teacher - log p_student)."""
    p, q = teacher.softmax(dim=1), student.softmax(dim=1)
    return (p * (p.log() - q.log())).sum(dim=1).mean()


def disturb(model, size, seed=0):
    """Move every tensor of a model a little, as a teacher that has fallen behind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def drawn_masks(method, batch):
    """Return the masks that one call of `loss` hands to the fusion of the student."""
    given = []
    plain = type(method.model).fuse

    def fuse(embeddings, mask=None):
        given.append(mask)
        return plain(method.model, embeddings, mask)

    method.model.fuse = fuse
    method.loss(batch)
    del method.model.fuse
    (mask,) = given
    return mask


def confident_model(modalities, scales):
    """Return a model whose unimodal heads differ in confidence."""
    model = without_dropout(tiny_model(modalities))
    with torch.no_grad():
        for k, scale in zip(modalities, scales, strict=True):
            model.heads[k][-1].weight.mul_(scale)
    return model
