"""Pictures of any shape in frames of another, and clips of any rate at another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.pipelines.generators.video.base import frame_times
from phosphene.pipelines.generators.video.warping import at_moments

__all__ = ["Frame", "at_rate", "picked_frames"]


class Frame:
    """Where a picture lies in frames of another shape: in their middle, as large as it can.

    Parameters
    ----------
    shape, size : tuple of int
        Height and width of the pictures, and of the frames.

    Examples
    --------
    >>> frame = Frame((64, 64), (480, 720))
    >>> frame.inner, frame.border
    ((480, 480), (120, 120, 0, 0))
    """

    def __init__(self, shape: tuple[int, int], size: tuple[int, int]) -> None:
        scale = min(size[0] / shape[0], size[1] / shape[1])
        self.inner = (round(shape[0] * scale), round(shape[1] * scale))
        down, across = size[0] - self.inner[0], size[1] - self.inner[1]
        self.border = (across // 2, across - across // 2, down // 2, down - down // 2)

    def around(self, pictures: Tensor) -> Tensor:
        """Return frames (n, C, H, W) with pictures (n, C, h, w) in them, their border continued."""
        fitted = pictures.float()
        if tuple(fitted.shape[-2:]) != self.inner:
            fitted = F.interpolate(fitted, self.inner, mode="bilinear", antialias=True)
        return F.pad(fitted.clamp(0, 1), self.border, mode="replicate")

    def inside(self, frames: Tensor) -> Tensor:
        """Return the part of frames (n, C, H, W) where pictures lie."""
        left, _, top, _ = self.border
        return frames[..., top : top + self.inner[0], left : left + self.inner[1]]


def at_rate(clip: Tensor, seconds: float, n_frames: int, rate: float) -> Tensor:
    """Return a clip (1, F, ...) at ``n_frames`` moments of another rate, linear between its own.

    Moments after its end show its last frame.
    """
    moments = (torch.arange(n_frames) + 0.5) / rate
    return at_moments(clip, moments, seconds)


def picked_frames(n_frames: int, seconds: float, rate: float, count: int) -> Tensor:
    """Return which of ``count`` frames at ``rate`` are nearest to those asked for, (n_frames,).

    Examples
    --------
    >>> picked_frames(4, 2.0, 4.0, 9).tolist()
    [0, 2, 4, 6]
    """
    places = frame_times(n_frames, seconds) * rate - 0.5
    return (places + 0.499).floor().long().clamp(0, count - 1)
