"""From a picture to any voxel of any subject: attention readout of frozen picture features.

The universal voxel encoder of Brain-IT (Beliy et al. 2025). A voxel is one learned embedding. It
says where in the picture the voxel looks, by attention over places, and what of the features there
it responds to; everything else is shared by all voxels of all subjects. So voxels with similar
embeddings respond alike, whoever they belong to, and embeddings can be clustered over subjects.

The original adapts its DINOv2 backbone a little and reads five layers of it; here features are
those of one layer of whatever network is given, and stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["VoxelReadout"]


class VoxelReadout(nn.Module):
    """What all voxels share.

    Parameters
    ----------
    places, dim : int
        Places of a picture with features, and their number.
    size : int
        Numbers in the embedding of a voxel.
    channels, keys : int
        Numbers per place that are read, and that attention compares.
    wider : int
        Width of the perceptron over ``channels``.
    dropout : float
    """

    def __init__(
        self,
        places: int,
        dim: int,
        size: int = 64,
        channels: int = 64,
        keys: int = 32,
        wider: int = 2,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.narrow = nn.Linear(dim, channels)
        self.key = nn.Linear(channels, keys, bias=False)
        self.place = nn.Parameter(0.1 * torch.randn(places, keys))
        self.query = nn.Linear(size, keys, bias=False)
        self.norm_read = nn.LayerNorm(channels)
        self.drop = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(channels, wider * channels),
            nn.GELU(),
            nn.Linear(wider * channels, channels),
        )
        self.tuning = nn.Linear(size, channels, bias=False)

    def forward(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Return the responses (n, n_voxels) of z-scored voxels.

        Parameters
        ----------
        features : Tensor of shape (n, places, dim)
        embeddings : Tensor of shape (n_voxels, size)
        """
        values = self.narrow(self.norm(features))
        keys = self.key(values) + self.place
        attention = (self.query(embeddings) @ keys.transpose(1, 2)).softmax(-1)
        read = self.drop(self.norm_read(attention @ values))  # (n, n_voxels, channels)
        read = read + self.mlp(read)
        found: Tensor = (read * self.tuning(embeddings)).sum(-1)
        return found

    def looks_at(self, features: Tensor, embeddings: Tensor) -> Tensor:
        """Return how much each voxel attends to each place, (n, n_voxels, places)."""
        keys = self.key(self.narrow(self.norm(features))) + self.place
        found: Tensor = (self.query(embeddings) @ keys.transpose(1, 2)).softmax(-1)
        return found
