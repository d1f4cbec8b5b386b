"""The low-level model of MindEye: voxels to latents of an autoencoder (Scotti et al. 2023).

A residual perceptron without offsets, a small grid of 64 channels, and the decoder half of a
diffusers autoencoder that doubles the grid twice. It was trained apart from the semantic one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder, subject_key

__all__ = ["MindEye1Latents"]

HIDDEN = 64  # channels of the small grid


class MindEye1Latents(NetworkEncoder):
    """Modules have the published names: ``lin0``, ``mlp``, ``lin1``, ``norm``, ``upsampler``.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`; latents (4, 64, 64) alone.
    width, depth : int
    latent_channels : sequence of 3 int
    dropout : sequence of 2 float
    """

    name = "mindeye1-latents"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        width: int = 4096,
        depth: int = 4,
        latent_channels: tuple[int, int, int] = (64, 128, 256),
        dropout: tuple[float, float] = (0.5, 0.25),
    ) -> None:
        super().__init__(voxels, targets)
        from diffusers.models.autoencoders.vae import Decoder

        channels, height, across = self.targets["lowlevel"]
        self.width, self.grid = width, (HIDDEN, height // 4, across // 4)
        self.first_dropout = dropout[0]
        self.lin0 = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.mlp = nn.ModuleList(_layer(width, width, dropout[1]) for _ in range(depth))
        self.lin1 = nn.Linear(width, math.prod(self.grid), bias=False)
        self.norm = nn.GroupNorm(1, HIDDEN)
        self.upsampler = Decoder(
            in_channels=HIDDEN,
            out_channels=channels,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=tuple(latent_channels),
            layers_per_block=1,
        )

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.lin0[subject_key(subject)] = _layer(n_voxels, self.width, self.first_dropout)

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        found: Tensor = self.lin0[subject_key(subject)](voxels)
        return found

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        for layer in self.mlp:
            shared = shared + layer(shared)
        small = self.norm(self.lin1(shared).unflatten(1, self.grid))
        return {"lowlevel": self.upsampler(small)}


def _layer(before: int, after: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, after, bias=False), nn.LayerNorm(after), nn.SiLU(), nn.Dropout(dropout)
    )
