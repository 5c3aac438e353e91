"""The one model: encoders, neck, unimodal heads and a fusion head over concatenated embeddings."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.backbones.base import Encoder, Maps
from benchmark.records.spec import Protocol
from benchmark.training import seeds
from benchmark.training.feature_store import rounded
from methods.base import Batch, Features, Mask, Model
from methods.shared.averaging import frozen_buffers

HEAD_WIDTH = 512
HEAD_DROPOUT = 0.5


class MultimodalModel(Model):
    """See `Model`. A mask zeroes a modality after the neck.

    So modality dropout in training and a modality that is missing at test are the same thing.
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
            self.fusion: nn.Module = _head(sum(dims.values()), classes)
        self.dropouts = nn.ModuleDict(
            {k: nn.Dropout(protocol.of("embedding_dropout", k)) for k in dims}
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the dataset's order."""
        return tuple(self.encoders)

    @property
    def dims(self) -> dict[str, int]:
        """The size of each modality's embedding."""
        return {k: self.encoder(k).dim for k in self.modalities}

    def replace_heads(
        self, fusion: nn.Module | None = None, unimodal: Mapping[str, nn.Module] | None = None
    ) -> None:
        """Put other heads in the place of the model's; see `Model.replace_heads`."""
        like = next(self.parameters())
        if fusion is not None:
            self.fusion = fusion.to(like)
        for k, head in (unimodal or {}).items():
            self.heads[k] = head.to(like)

    def encoder(self, modality: str) -> Encoder:
        """Return one modality's encoder."""
        return cast(Encoder, self.encoders[modality])

    @property
    def stemmed(self) -> tuple[str, ...]:
        """The modalities whose encoders have frozen stages."""
        stems = {k: self.encoder(k).stem for k in self.modalities}
        return tuple(k for k, stem in stems.items() if not isinstance(stem, nn.Identity))

    def frozen_stages(self) -> tuple[nn.Module, ...]:
        """Return the encoders' frozen stages, unless their batch norm follows the batches."""
        still = (k for k in self.modalities if self.protocol.of("frozen_bn", k) == "eval")
        return tuple(self.encoder(k).stem for k in still)

    def changing_buffers(self) -> dict[str, Tensor]:
        """Return the buffers that training can change, by name."""
        frozen = frozen_buffers(self)
        return {name: b for name, b in self.named_buffers() if id(b) not in frozen}

    @torch.no_grad()
    def stem(self, inputs: Mapping[str, Features], training: bool) -> dict[str, Features]:
        """Run the frozen stages on a batch of inputs, by modality; some may be absent.

        Their batch norm follows the batches only in training under `frozen_bn=train`. What comes
        out is rounded to `feature_dtype`, and float32 again.
        """
        features = dict(inputs)
        for k in [k for k in self.stemmed if k in inputs]:
            stem = self.encoder(k).stem.train(
                training and self.protocol.of("frozen_bn", k) == "train"
            )
            with self._computing(inputs[k]):
                output = stem(inputs[k])
            features[k] = rounded(output, self.protocol.feature_dtype, k)
        return features

    def _computing(self, features: Features) -> torch.autocast:
        """Return the context in which encoders compute."""
        like = features if isinstance(features, Tensor) else features[0]
        mixed = self.protocol.precision == "bf16"
        return torch.autocast(like.device.type, torch.bfloat16, enabled=mixed)

    def embed(
        self,
        features: Mapping[str, Features],
        parameters: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """Return the pooled embeddings [B, D_k]; see `Model.embed`."""
        embeddings = {}
        for k in [k for k in self.modalities if k in features]:
            tail = self.encoder(k).tail
            with self._computing(features[k]):
                if parameters is not None:
                    buffers = {name: buffer.clone() for name, buffer in tail.named_buffers()}
                    stand_ins = dict(parameters.get(k, {}))
                    z = functional_call(tail, (stand_ins, buffers), (features[k],))
                else:
                    z = tail(features[k])
            # A double-precision model, as in tests, stays one.
            embeddings[k] = self.dropouts[k](z.float() if z.dtype == torch.bfloat16 else z)
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

    @contextmanager
    def features_edited(self, edit: Callable[[Features], Features]) -> Iterator[None]:
        """Pass feature maps through `edit`; see `Model.features_edited`."""
        handles = []
        for k in self.modalities:
            tail = self.encoder(k).tail
            if k in self.stemmed:
                handles.append(tail.register_forward_pre_hook(lambda _, x: (edit(x[0]),)))
            maps: list[nn.Module] = [m for m in tail.modules() if isinstance(m, Maps)]
            handles += [m.register_forward_hook(lambda _, __, x: edit(x)) for m in maps or [tail]]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def trained_batch_norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        """Return the batch-norm layers outside the frozen stages."""
        tails = (self.encoder(k).tail for k in self.modalities)
        norms = nn.modules.batchnorm._BatchNorm
        return [m for tail in tails for m in tail.modules() if isinstance(m, norms)]

    @torch.no_grad()
    def refresh_batch_norms(self, batches: Iterable[Batch]) -> None:
        """Recompute the statistics of `trained_batch_norms` on batches, at the present weights."""
        norms = self.trained_batch_norms()
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average: every batch counts the same
            norm.train()
        for batch in batches:
            self.embed(batch.features)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.train(self.training)


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
    if kind == "none":
        return nn.Identity()
    return nn.LayerNorm(dim).requires_grad_(kind == "layernorm")


def _head(dim: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, HEAD_WIDTH),
        nn.ReLU(),
        nn.Dropout(HEAD_DROPOUT),
        nn.Linear(HEAD_WIDTH, classes),
    )
