"""Motion: the error of optical flow, beside what no motion at all would score.

Baker et al. 2011, *A database and evaluation methodology for optical flow* (end-point error);
Zach, Pock and Bischof 2007 (TV-L1, as scikit-image computes it).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.errors import InputError, UsageError
from phosphene.names import require

__all__ = ["FlowError", "angular_error", "end_point_error", "estimate_flow"]

Array = np.ndarray[Any, Any]
SIZE = 64
LEAST_SIZE = 16


def end_point_error(predicted: Array, truth: Array, *, visible: Array | None = None) -> Array:
    """Return the mean distance of flow vectors of each clip.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, F - 1, H, W, 2)
        Motion to the next frame in pixels, to the right and down. With flow of zeros as
        prediction this is the mean length of the true flow: what a still picture scores.
    visible : ndarray of shape (n, F - 1, H, W), optional
        Only pixels that are True count.

    Returns
    -------
    ndarray of shape (n,)
        Pixels per frame; NaN where no pixel counts.
    """
    _check_flow(predicted, truth)
    distance = np.linalg.norm(np.asarray(predicted, dtype=np.float64) - truth, axis=-1)
    return _clip_means(distance, visible)


def angular_error(predicted: Array, truth: Array, *, visible: Array | None = None) -> Array:
    """Return the mean angle, in degrees, between flow vectors (u, v, 1) of each clip.

    Barron, Fleet and Beauchemin 1994. It is another quantity than the end-point error, in other
    units: some published code prints it under that name.

    Parameters
    ----------
    predicted, truth, visible
        As for :func:`end_point_error`.
    """
    _check_flow(predicted, truth)
    a, b = (np.asarray(x, dtype=np.float64) for x in (predicted, truth))
    cross = np.square(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
    # The sine from the cross product: the cosine alone is blind to small angles.
    sine = np.sqrt(cross + np.square(a - b).sum(-1))
    return _clip_means(np.degrees(np.arctan2(sine, 1 + (a * b).sum(-1))), visible)


def estimate_flow(clips: Pictures, *, size: int | None = None) -> Array:
    """Return the flow from every frame to the next, estimated from the frames by TV-L1.

    Parameters
    ----------
    clips : ndarray of shape (n, F, H, W, 3)
        uint8.
    size : int, optional
        Frames are first brought to ``size`` x ``size`` pixels (middle square); flow is in these
        pixels. By default they stay as they are.

    Returns
    -------
    ndarray of shape (n, F - 1, H, W, 2)
        float32, to the right and down. Zero between equal frames.
    """
    flows = []
    for clip in clips:
        frames = clip if size is None else fit_pictures(clip, size=size, channels=3)
        if min(frames.shape[1:3]) < LEAST_SIZE or len(frames) < 2:
            raise InputError(
                f"{len(frames)} frames of {frames.shape[1]} x {frames.shape[2]} pixels",
                expected=f"at least two frames of {LEAST_SIZE} x {LEAST_SIZE} pixels",
            )
        flows.append(_flow_of_one(frames))
    return np.stack(flows)


def _flow_of_one(frames: Pictures) -> Array:
    """Return the flow (F - 1, H, W, 2) of one clip (F, H, W, 3)."""
    estimate = require("skimage.registration", "metrics").optical_flow_tvl1
    to_grey = require("skimage.color", "metrics").rgb2gray
    values = [np.asarray(to_grey(frame), dtype=np.float32) for frame in frames]
    flow = np.zeros((len(values) - 1, *values[0].shape, 2), dtype=np.float32)
    for step, (now, then) in enumerate(pairwise(values)):
        if not np.array_equal(now, then):
            down, right = estimate(now, then)
            flow[step] = np.stack([right, down], axis=-1)
    return flow


class FlowError:
    """End-point error of flow that is estimated alike from prediction and from truth.

    Estimating both by one method keeps what the method gets wrong in both. Numbers of another
    method or size are on another scale.

    Parameters
    ----------
    size : int
        Side in pixels that frames are brought to, and in which errors are given.
    """

    whole_set = False
    as_they_are = False
    least_frames = 2

    def __init__(self, size: int = SIZE) -> None:
        if size < LEAST_SIZE:
            raise UsageError(f"`size` is {size}", expected=f"{LEAST_SIZE} pixels at least")
        self.size = size

    def describe(self, clips: Pictures) -> Array:
        """Return the flow (n, F - 1, size, size, 2)."""
        return estimate_flow(clips, size=self.size)

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the end-point error (n,) in pixels per frame."""
        return end_point_error(predicted, truth)


def _check_flow(predicted: Array, truth: Array) -> None:
    if predicted.shape != truth.shape or truth.ndim != 5 or truth.shape[-1] != 2:
        raise InputError(
            f"flow of shape {predicted.shape} beside true flow of {truth.shape}",
            expected="two arrays (n, F - 1, H, W, 2) of equal shape",
        )


def _clip_means(values: Array, visible: Array | None) -> Array:
    counted = np.ones(values.shape, bool) if visible is None else np.asarray(visible, dtype=bool)
    if counted.shape != values.shape:
        raise InputError(
            f"a mask of shape {counted.shape} for flow of {values.shape}", "one value per pixel"
        )
    axes = tuple(range(1, values.ndim))
    count = counted.sum(axis=axes)
    total = np.where(counted, values, 0).sum(axis=axes)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
