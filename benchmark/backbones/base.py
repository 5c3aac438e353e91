"""The interface of every encoder."""

from torch import nn


class Maps(nn.Identity):
    """Stands in a tail where feature maps are about to be pooled, so that methods can edit them.

    What passes is a tensor [B, C, ...] or a tuple of them.
    """


class Encoder(nn.Module):
    """An input encoder in two parts.

    `stem(x)` holds the frozen stages and returns features (a tensor or a tuple of tensors);
    `tail(features)` is trained and returns pooled embeddings [B, dim]. The engine runs the
    stem once per batch, without gradient; methods only ever see what it returns.
    """

    def __init__(self, stem: nn.Module, tail: nn.Module, dim: int) -> None:
        super().__init__()
        self.stem = stem.requires_grad_(False)
        self.tail = tail
        self.dim = dim
