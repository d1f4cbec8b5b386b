"""What a generator may start from: latents as they are, or pictures of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.encoders.stimulus.latents import LatentTarget

__all__ = ["check_steps", "shares_latents", "start_latents"]

FIRST_SCALE = 0.18215  # of latents of Stable Diffusion 1 and 2, which have one autoencoder


def check_steps(steps: int, strength: float, *, starts: bool) -> None:
    """Refuse steps and strengths that make no sense, and a strength without a start."""
    if steps < 1 or not 0 <= strength <= 1:
        raise UsageError(
            f"{steps} steps at strength {strength}",
            expected="at least one step, and a strength from 0 to 1",
        )
    if not starts and strength < 1:
        raise UsageError(
            f"a strength of {strength} without a picture to start from",
            expected="an init, or strength 1",
        )


def shares_latents(shape: tuple[int, ...], latents: LatentTarget | None) -> bool:
    """Whether latents of Stable Diffusion's first autoencoder are those of a generator.

    Published decoders predict them without bringing the autoencoder along.

    Parameters
    ----------
    shape : tuple of int
        Of one predicted latent.
    latents : LatentTarget, optional
        Of the generator.
    """
    if latents is None or tuple(latents.shape) != tuple(shape) or latents.mean:
        return False
    return abs(latents.scale * FIRST_SCALE - 1) < 1e-3


def start_latents(
    init: Tensor, shape: tuple[int, int, int], size: int, encode: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return latents (n, *shape); pictures (n, 3, H, W) in 0..1 are resized and encoded.

    Parameters
    ----------
    init : Tensor of shape (n, C, H, W)
    shape : tuple of int
        Of one latent.
    size : int
        Side of the pictures in pixels.
    encode : callable
        Latents of pictures (1, 3, size, size) in -1..1; one at a time, so that company never
        changes the rounding.
    """
    import torch
    from torch.nn import functional as F

    if tuple(init.shape[1:]) == shape:
        return init.float()
    if init.ndim != 4 or init.shape[1] != 3:
        raise InputError(
            f"an init of shape {tuple(init.shape[1:])}",
            expected=f"latents {shape} or pictures (3, height, width)",
        )
    pictures = init.float()
    if pictures.shape[-2:] != (size, size):
        pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
        pictures = pictures.clamp(0, 1)
    return torch.cat([encode(one[None] * 2 - 1).cpu() for one in pictures])
