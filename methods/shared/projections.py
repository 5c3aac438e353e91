"""Small networks on embeddings, shared by the methods that align or translate modalities."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """Batch norm for vectors [B, D] that takes a batch of one sample by its running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each column."""
        if self.training and len(x) == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class ProjectionHead(nn.Module):
    """Three linear layers with batch norm; the result has length 1 (SimMMDG, MOOSA, CMRF, NEL)."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, hidden),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, out),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Turn [B, dim] into normalised [B, out]."""
        return F.normalize(self.layers(z), dim=1)


def translator(dim: int, hidden: int, out: int) -> nn.Sequential:
    """Return the network that guesses one modality's embedding [B, out] from another's [B, dim]."""
    return nn.Sequential(
        nn.Linear(dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(hidden, out),
    )
