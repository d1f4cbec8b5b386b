"""Rules by which pictures are brought to a size: a score depends on them as much as on its formula.

Reducing without averaging ("antialias") keeps single pixels and lets fine texture alias; averaging
smooths it away. Published scores differ in this alone, so every rule has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, check_option

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RESIZE_RULES", "as_tensor", "match_size", "resize_chain", "resize_pictures"]

Array = np.ndarray[Any, Any]
ResizeRule = Literal[
    "pillow-bilinear", "pillow-bicubic", "tensor-bilinear", "tensor-bilinear-antialias"
]
# Pillow always averages where it reduces, and gives whole levels; tensors stay fractions.
RESIZE_RULES: tuple[str, ...] = (
    "pillow-bilinear",
    "pillow-bicubic",
    "tensor-bilinear",
    "tensor-bilinear-antialias",
)
SAME_SHAPE = 0.01  # relative difference of aspect ratios that rounding to pixels explains


def resize_pictures(pictures: Array, size: int | tuple[int, int], rule: str) -> Array:
    """Bring pictures to ``size`` (a square, or height and width), whatever their aspect.

    Parameters
    ----------
    pictures : ndarray of shape (n, H, W, C)
        uint8, or float32 in 0..1 from an earlier tensor rule.
    size : int or (int, int)
    rule : str
        One of :data:`RESIZE_RULES`. Pillow's take and return uint8 and average where they
        reduce. ``tensor-bilinear`` is what torchvision did to tensors before 0.17: no averaging.

    Returns
    -------
    ndarray of shape (n, height, width, C)
        uint8 by Pillow's rules; float32 in 0..1 by the others. Pictures that have the size are
        passed on.
    """
    check_option("resize rule", rule, RESIZE_RULES)
    height, width = (size, size) if isinstance(size, int) else size
    if rule.startswith("pillow"):
        if pictures.dtype != np.uint8:
            raise InputError(f"pictures of type {pictures.dtype}", "uint8 for a rule of Pillow")
        if pictures.shape[1:3] == (height, width):
            return pictures
        return _by_pillow(pictures, height, width, rule)
    from torch.nn import functional as F

    if pictures.shape[1:3] == (height, width):
        return as_tensor(pictures).permute(0, 2, 3, 1).numpy()
    resized = F.interpolate(
        as_tensor(pictures),
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=rule.endswith("antialias"),
    )
    return resized.permute(0, 2, 3, 1).numpy()


def resize_chain(pictures: Array, sizes: tuple[int, ...], rule: str) -> Array:
    """Bring pictures to one square after the other, as some evaluations do."""
    for size in sizes:
        pictures = resize_pictures(pictures, size, rule)
    return pictures


def as_tensor(pictures: Array) -> Tensor:
    """Return pictures (n, H, W, C), uint8 or in 0..1, as float32 (n, C, H, W) in 0..1."""
    import torch

    # A copy: what is memory-mapped or one picture for all cannot be lent to torch.
    levels = torch.from_numpy(np.array(pictures, order="C")).permute(0, 3, 1, 2)
    return levels.float() / 255 if pictures.dtype == np.uint8 else levels.float()


def match_size(reconstructed: Pictures, truth: Pictures) -> tuple[Pictures, Pictures]:
    """Bring reconstructions to the size and colours of the truth; never the truth to theirs.

    Returns
    -------
    reconstructed, truth : ndarray of shape (n, H, W, C)
        uint8, H and W those of the truth, by Pillow's bilinear rule; grey is repeated where the
        other has colour.

    Raises
    ------
    InputError
        If the two have not the same aspect: which part was meant is never guessed.
    """
    (a, b), (c, d) = reconstructed.shape[1:3], truth.shape[1:3]
    if abs(a * d / (b * c) - 1) > SAME_SHAPE:
        raise InputError(
            f"reconstructions of {a} x {b} pixels beside truths of {c} x {d}",
            expected="the same aspect",
            remedy="cut the pictures to what was shown",
        )
    channels = max(reconstructed.shape[-1], truth.shape[-1])
    reconstructed, truth = (
        pictures if pictures.shape[-1] == channels else np.repeat(pictures, channels, axis=-1)
        for pictures in (reconstructed, truth)
    )
    return resize_pictures(reconstructed, (c, d), "pillow-bilinear"), truth


def _by_pillow(pictures: Pictures, height: int, width: int, rule: str) -> Pictures:
    from PIL import Image

    kind = Image.Resampling.BICUBIC if rule == "pillow-bicubic" else Image.Resampling.BILINEAR
    found = np.empty((len(pictures), height, width, pictures.shape[-1]), np.uint8)
    for row, pixels in enumerate(pictures):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        done = np.asarray(image.resize((width, height), kind))
        found[row] = done[..., None] if done.ndim == 2 else done
    return found
