"""The low-level head of MindEye: a shared space to latents of an autoencoder.

Scotti et al. 2023 and 2024: a linear map to a small grid of 64 channels, a group norm over all of
it, and the decoder half of a diffusers autoencoder that doubles the grid twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["LatentHead"]

HIDDEN = 64  # channels of the small grid
DOUBLINGS = 2


class LatentHead(nn.Module):
    """Vectors (n, width) to latents (n, channels, height, width).

    Modules have the names of MindEye2 (``blin1``, ``bnorm``, ``bupsampler``, ``b_maps_projector``).

    Parameters
    ----------
    width : int
        Of the shared space.
    shape : sequence of 3 int
        Of the latents. The small grid is a quarter as high and wide, where that is whole.
    channels : sequence of 3 int
        Of the decoder's levels, the finest first.
    dropout : float
    groups : int
        Of the decoder's group norms. The original has 32, one per channel at the finest level,
        where the offsets of the layers before cancel.
    projector : bool
        Whether the head to convolutional features of a teacher is kept, which only training
        needs.
    """

    def __init__(
        self,
        width: int,
        shape: Sequence[int],
        channels: Sequence[int] = (32, 64, 128),
        dropout: float = 0.3,
        groups: int = 8,
        projector: bool = False,
    ) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import Decoder

        factor = 2**DOUBLINGS
        while factor > 1 and (shape[1] % factor or shape[2] % factor):
            factor //= 2
        self.grid = (HIDDEN, shape[1] // factor, shape[2] // factor)
        levels = list(channels[: factor.bit_length()])
        self.blin1 = nn.Linear(width, math.prod(self.grid))
        self.bdropout = nn.Dropout(dropout)
        self.bnorm = nn.GroupNorm(1, HIDDEN)
        self.bupsampler = Decoder(
            in_channels=HIDDEN,
            out_channels=shape[0],
            up_block_types=("UpDecoderBlock2D",) * len(levels),
            block_out_channels=tuple(levels),
            layers_per_block=1,
            norm_num_groups=math.gcd(groups, *levels),
        )
        self.b_maps_projector = _projector() if projector else None

    def forward(self, shared: Tensor) -> Tensor:
        """Return latents (n, channels, height, width)."""
        found: Tensor = self.bupsampler(self._small(shared))
        return found

    def maps(self, shared: Tensor) -> Tensor:
        """Return what is compared with a teacher's features, (n, places, 512)."""
        assert self.b_maps_projector is not None
        found: Tensor = self.b_maps_projector(self._small(shared))
        return found.flatten(2).transpose(1, 2)

    def _small(self, shared: Tensor) -> Tensor:
        grid = self.bdropout(self.blin1(shared).unflatten(1, self.grid))
        normed: Tensor = self.bnorm(grid)
        return normed


def _projector() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(HIDDEN, 512, 1, bias=False), nn.GroupNorm(1, 512), nn.ReLU(),
        nn.Conv2d(512, 512, 1, bias=False), nn.GroupNorm(1, 512), nn.ReLU(),
        nn.Conv2d(512, 512, 1),
    )  # fmt: skip
