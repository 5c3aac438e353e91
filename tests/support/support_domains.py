"""What the tests of the methods that compare source domains share."""

import dataclasses

import torch
from support_methods import (
    VECTORS,
    make_batch,
    make_method,
    tiny_model,
    without_dropout,
)

THREE = ("a", "b", "d")
ALIGNING = ("coral", "mmd")
PENALISING = ("irm", "vrex")
COMPARING = (*ALIGNING, "dann", *PENALISING)


def in_domains(batch, domains):
    """Return the same batch with other domains."""
    return dataclasses.replace(batch, domains=torch.tensor(domains))


def prepared(composition, model=None, domains=2, **hyperparameters):
    """Return a method without dropout for this many source domains that may reset its optimizer."""
    model = without_dropout(tiny_model(THREE) if model is None else model)
    method = make_method(composition, model, **hyperparameters)
    method.run.domains = tuple(f"s{i}" for i in range(domains))
    torch.manual_seed(0)
    method.setup(model, method.run)
    method.double()
    method.run.resets = []
    method.run.reset_optimizer = lambda: method.run.resets.append(method.run.step)
    return method


def concatenated(model, batch):
    """Return the raw embeddings side by side."""
    z = model.embed(batch.features)
    return torch.cat([z[k] for k in model.modalities], dim=1)


def clouds(seed, *sizes, dim=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in sizes]


def at_once(composition):
    """Return settings that give a penalty its weight after two of 100 steps."""
    return {"weight": 50.0, "anneal": 0.02} if composition in PENALISING else {}


def shifted_domains(size=32, shift=1.5):
    """Return a batch whose second domain is displaced in every feature."""
    batch = make_batch(VECTORS, size)
    for x in batch.features.values():
        x[batch.domains == 1] += shift
    return batch
