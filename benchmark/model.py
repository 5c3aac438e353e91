"""The one model: encoders, neck, unimodal heads and a fusion head over concatenated embeddings."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark import seeds
from benchmark.backbones.base import Encoder
from benchmark.spec import Protocol
from methods.base import Features, Mask, Model

HEAD_WIDTH = 512
HEAD_DROPOUT = 0.5


class MultimodalModel(Model):
    """See `Model`. A mask zeroes a modality after the neck.

    Training-time modality dropout and a modality that is missing at test are thus one thing.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], classes: int, protocol: Protocol, seed: int
    ) -> None:
        """Put the encoders together, in their order, with new heads drawn from `seed`."""
        super().__init__()
        self.protocol = protocol
        self.encoders = nn.ModuleDict(dict(encoders))
        dims = {k: encoder.dim for k, encoder in encoders.items()}
        self.necks = nn.ModuleDict({k: _neck(protocol.neck, dims[k]) for k in dims})
        self.heads = nn.ModuleDict()
        for k, dim in dims.items():
            with seeds.drawing_from(seed, "init", "head", k):
                self.heads[k] = _head(dim, classes)
        with seeds.drawing_from(seed, "init", "fusion"):
            self.fusion = _head(sum(dims.values()), classes)
        self.dropout = nn.Dropout(protocol.embedding_dropout)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the dataset's order."""
        return tuple(self.encoders)

    def encoder(self, modality: str) -> Encoder:
        """Return one modality's encoder."""
        return cast(Encoder, self.encoders[modality])

    @torch.no_grad()
    def stem(self, inputs: Mapping[str, Tensor], training: bool) -> dict[str, Features]:
        """Run the frozen stages on a batch of inputs, by modality.

        Their batch norm follows the batches only in training under `frozen_bn=train`.
        """
        features = {}
        for k, x in inputs.items():
            stem = self.encoder(k).stem.train(training and self.protocol.frozen_bn == "train")
            features[k] = stem(x)
        return features

    def embed(
        self,
        features: Mapping[str, Features],
        parameters: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Return the pooled embeddings [B, D_k]; see `Model.embed`."""
        embeddings = {}
        for k in self.modalities:
            tail = self.encoder(k).tail
            if parameters is not None:
                buffers = {name: buffer.clone() for name, buffer in tail.named_buffers()}
                stand_ins = dict(parameters.get(k, {}))
                z = functional_call(tail, (stand_ins, buffers), (features[k],))
            else:
                z = tail(features[k])
            embeddings[k] = self.dropout(z)
        return embeddings

    def tail_parameters(self, modality: str) -> dict[str, Tensor]:
        """Return the trained tensors of one encoder by name."""
        named = self.encoder(modality).tail.named_parameters()
        return {name: p for name, p in named if p.requires_grad}

    def branch(self, modality: str) -> tuple[nn.Module, ...]:
        """Return encoder, neck and unimodal head of one modality."""
        return self.encoders[modality], self.necks[modality], self.heads[modality]

    def unimodal(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each modality's own prediction [B, C]."""
        return {k: self.heads[k](self.necks[k](embeddings[k])) for k in self.modalities}

    def fuse(self, embeddings: Mapping[str, Tensor], mask: Mask | None = None) -> Tensor:
        """Return the fused prediction [B, C] of the concatenated, masked embeddings."""
        parts = []
        for k in self.modalities:
            part = self.necks[k](embeddings[k])
            if mask is not None and k in mask:
                part = part * mask[k].to(part).unsqueeze(1)
            parts.append(part)
        return cast(Tensor, self.fusion(torch.cat(parts, dim=1)))

    def trained_batch_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        """Return the batch-norm layers outside the frozen stages."""
        tails = (self.encoder(k).tail for k in self.modalities)
        norms = nn.modules.batchnorm._BatchNorm
        return [m for tail in tails for m in tail.modules() if isinstance(m, norms)]


def build(
    encoders: Mapping[str, Callable[[], Encoder]], classes: int, protocol: Protocol, seed: int
) -> MultimodalModel:
    """Build the model; a modality's initial weights depend on the seed and its name alone."""
    built = {}
    for k, make in encoders.items():
        with seeds.drawing_from(seed, "init", "encoder", k):
            built[k] = make()
    return MultimodalModel(built, classes, protocol, seed)


def _neck(kind: str, dim: int) -> nn.Module:
    return nn.LayerNorm(dim) if kind == "layernorm" else nn.Identity()


def _head(dim: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, HEAD_WIDTH),
        nn.ReLU(),
        nn.Dropout(HEAD_DROPOUT),
        nn.Linear(HEAD_WIDTH, classes),
    )
