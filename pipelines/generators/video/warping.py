"""Moving a picture along decoded optical flow.

The place a frame shows at x was somewhere in the keyframe: its path is followed back through the
flow in small steps (semi-Lagrangian advection; Staniforth and Côté 1991, *Monthly Weather
Review* 119), and the keyframe is read there between its pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.pipelines.generators.video.base import frame_times

__all__ = ["at_moments", "warp_keyframes"]


def at_moments(series: Tensor, moments: Tensor, seconds: float) -> Tensor:
    """Return a series (n, T, ...) at other moments of the clip, linear between its own.

    Parameters
    ----------
    series : Tensor of shape (n, T, ...)
        Values in the middle of T equal shares of the clip; constant before and after.
    moments : Tensor of shape (F,)
        Seconds after the start of the clip.
    seconds : float
        Length of the clip.

    Returns
    -------
    Tensor of shape (n, F, ...)
    """
    count = series.shape[1]
    place = (moments.to(series) / seconds * count - 0.5).clamp(0, count - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=count - 1)
    share = (place - before).view(1, -1, *[1] * (series.ndim - 2))
    return series[:, before] * (1 - share) + series[:, after] * share


def warp_keyframes(
    keyframes: Tensor, flow: Tensor, *, seconds: float, n_frames: int, steps_per_frame: int = 1
) -> Tensor:
    """Return the frames that the keyframe of the middle becomes under a flow.

    Parameters
    ----------
    keyframes : Tensor of shape (n, C, H, W)
        The picture of the moment ``seconds / 2``.
    flow : Tensor of shape (n, T, 2, h, w)
        Right and down, in picture widths per second, at T moments; of any size.
    seconds : float
        Length of the clip.
    n_frames : int
    steps_per_frame : int
        Of the path that is followed back.

    Returns
    -------
    Tensor of shape (n, n_frames, C, H, W)
        What comes in from outside the keyframe continues its border.
    """
    n, _, height, width = keyframes.shape
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(keyframes)
    # A picture that is not square has other heights than widths per second.
    scale = torch.tensor([1.0, width / height]).to(keyframes).view(1, 2, 1, 1)
    key, frames = seconds / 2, []
    for moment in frame_times(n_frames, seconds).tolist():
        count = max(1, round(abs(moment - key) / seconds * n_frames * steps_per_frame))
        step = (moment - key) / count
        place = grid.expand(n, -1, -1, -1)
        for index in range(count):
            # The middle of this step of the way back from the frame to the keyframe.
            at = torch.tensor([moment - (index + 0.5) * step])
            velocity = at_moments(flow, at, seconds)[:, 0] * scale
            place = place - step * _read(velocity, place).movedim(1, -1)
        frames.append(_read(keyframes, place))
    return torch.stack(frames, dim=1)


def _read(field: Tensor, place: Tensor) -> Tensor:
    """Return a field (n, C, h, w) at places (n, H, W, 2), 0 to 1 across and down."""
    return F.grid_sample(
        field, place * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )
