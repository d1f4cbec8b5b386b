"""What a generator may start from: latents as they are, or pictures of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_steps", "start_latents"]


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
