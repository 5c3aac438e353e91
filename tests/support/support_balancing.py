"""Toy data on which one modality is learned at once and the other late, though both tell."""

import torch
from support_methods import CLASSES, SHAPES, adam, train
from torch import nn

from methods.base import Batch

EASY, HARD = "a", "b"
STRENGTH = {EASY: 3.0, HARD: 0.5}
NOISE = {EASY: 0.2, HARD: 0.12}


def imbalanced(size=64, seed=0):
    """Return samples whose features are a class prototype in noise, strong in `EASY` only."""
    labels = torch.arange(size) % CLASSES
    features = {}
    for k, strength in STRENGTH.items():
        fixed = torch.Generator().manual_seed("abcd".index(k))
        prototypes = nn.functional.normalize(
            torch.randn(CLASSES, *SHAPES[k], generator=fixed, dtype=torch.float64), dim=1
        )
        drawn = torch.Generator().manual_seed(100 * (seed + 1) + "abcd".index(k))
        noise = torch.randn(size, *SHAPES[k], generator=drawn, dtype=torch.float64)
        features[k] = strength * prototypes[labels] + NOISE[k] * noise
    domains = torch.arange(size) // CLASSES % 2
    return Batch(features, labels, domains, tuple(f"{seed}-{i}" for i in range(size)))


def train_on_imbalance(method, steps, epochs=4, lr=3e-3):
    """Train with dropout drawn from a fixed seed, `steps` batches in each epoch."""
    batch, optimizer = imbalanced(), adam(method, lr)
    torch.manual_seed(0)
    for epoch in range(epochs):
        method.run.epoch = epoch
        method.epoch_start()
        train(method, [batch] * steps, optimizer)
        method.epoch_end()
    return method.eval()


def accuracy(logits, batch):
    """Return the share of samples whose largest logit is their label's."""
    return float((logits.argmax(dim=1) == batch.labels).double().mean())


@torch.no_grad()
def separation(method, modality):
    """Return how often an unseen sample's embedding is nearest to the mean of its own class."""
    seen, unseen = imbalanced(400, 10_000), imbalanced(400, 10_001)
    z, new = (method.model.embed(batch.features)[modality] for batch in (seen, unseen))
    means = torch.stack([z[seen.labels == c].mean(0) for c in range(CLASSES)])
    return accuracy(-torch.cdist(new, means), unseen)


@torch.no_grad()
def accuracy_alone(method, modality):
    """Return the fused accuracy on unseen samples that have one modality only."""
    batch = imbalanced(400, 10_000)
    present = {k: torch.full((400,), k == modality) for k in STRENGTH}
    return accuracy(method.predict(batch.features, present)["fused"], batch)


def scores_by_hand(model, batch):
    """Return s_k from the definition: fused probabilities with all other modalities zeroed."""
    model.eval()
    scores = {}
    with torch.no_grad():
        z = model.embed(batch.features)
        for k in model.modalities:
            parts = [model.necks[j](z[j]) * (1.0 if j == k else 0.0) for j in model.modalities]
            probabilities = torch.softmax(model.fusion(torch.cat(parts, dim=1)), dim=1)
            scores[k] = sum(float(p[y]) for p, y in zip(probabilities, batch.labels, strict=True))
    model.train()
    return scores
