"""Small random changes of pictures, so that few pictures teach a model more."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.config import Config

__all__ = ["AugmentationConfig", "augment"]


class AugmentationConfig(Config):
    """Largest changes; all zero turns augmentation off.

    Attributes
    ----------
    rotation : float
        Degrees.
    scale : float
        Natural logarithm of the zoom, per axis.
    shear : float
    shift : float
        Pixels.
    elastic : float
        Standard deviation in pixels of a smooth displacement field.
    """

    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.15
    shift: float = 0.0
    elastic: float = 0.7


def augment(pictures: Tensor, generator: torch.Generator, config: AugmentationConfig) -> Tensor:
    """Return each picture under its own random affine and elastic change.

    Parameters
    ----------
    pictures : Tensor of shape (n, C, H, W)
    generator : torch.Generator
        On the pictures' device.
    """
    n_items, side = len(pictures), pictures.shape[-1]

    def uniform(*shape: int) -> Tensor:
        drawn = torch.rand(*shape, generator=generator, device=pictures.device)
        return drawn * 2 - 1

    angle = uniform(n_items) * math.radians(config.rotation)
    zoom = torch.exp(uniform(n_items, 2) * config.scale)
    shear = uniform(n_items) * config.shear
    cosine, sine = angle.cos(), angle.sin()
    matrix = torch.zeros(n_items, 2, 3, device=pictures.device)
    matrix[:, 0, 0], matrix[:, 0, 1] = cosine * zoom[:, 0], (shear * cosine - sine) * zoom[:, 1]
    matrix[:, 1, 0], matrix[:, 1, 1] = sine * zoom[:, 0], (shear * sine + cosine) * zoom[:, 1]
    matrix[:, :, 2] = uniform(n_items, 2) * config.shift * 2 / side
    grid = F.affine_grid(matrix, list(pictures.shape), align_corners=False)
    if config.elastic > 0:
        coarse = torch.randn(n_items, 2, 4, 4, generator=generator, device=pictures.device)
        field = F.interpolate(
            coarse * config.elastic * 2 / side,
            pictures.shape[-2:],
            mode="bicubic",
            align_corners=True,
        )
        grid = grid + field.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
