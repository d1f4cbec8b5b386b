"""Agreement of two pictures, one number per pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.names import require

__all__ = ["check_pairs", "mean_squared_error", "pixel_correlation", "structural_similarity"]

Array = np.ndarray[Any, Any]


def check_pairs(reconstructions: Array, truths: Array) -> tuple[Array, Array]:
    """Return both as float64 (n, H, W, C) in 0..1; uint8 is divided by 255."""
    if reconstructions.shape != truths.shape or reconstructions.ndim != 4:
        raise InputError(
            f"reconstructions of shape {reconstructions.shape} beside truths of {truths.shape}",
            expected="two arrays of pictures (n, H, W, C) of equal shape",
        )
    pair = []
    for pictures in (reconstructions, truths):
        scale = 255.0 if pictures.dtype == np.uint8 else 1.0
        pair.append(np.asarray(pictures, dtype=np.float64) / scale)
    return pair[0], pair[1]


def pixel_correlation(reconstructions: Array, truths: Array) -> Array:
    """Return Pearson's r over all values of each pair of pictures.

    Parameters
    ----------
    reconstructions, truths : ndarray of shape (n, H, W, C)

    Returns
    -------
    ndarray of shape (n,)
        0 where either picture is flat: nothing can be said of its layout.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.linspace(0, 1, 12).reshape(1, 3, 4, 1)
    >>> float(pixel_correlation(a, 1 - a).round(3)[0])
    -1.0
    """
    a, b = (x.reshape(len(x), -1) for x in check_pairs(reconstructions, truths))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    product = np.einsum("nd,nd->n", a, b)
    flat = norm <= 1e-12
    return np.asarray(np.where(flat, 0.0, product / np.where(flat, 1.0, norm)))


def mean_squared_error(reconstructions: Array, truths: Array) -> Array:
    """Return the mean squared difference of each pair, on the scale 0..1."""
    a, b = check_pairs(reconstructions, truths)
    return np.asarray(np.square(a - b).mean(axis=(1, 2, 3)))


def structural_similarity(reconstructions: Array, truths: Array) -> Array:
    """Return SSIM of each pair: 7 x 7 uniform window, range 1, mean over channels.

    Wang et al. 2004, as scikit-image computes it with its default window.
    """
    metrics = require("skimage.metrics", "metrics")
    a, b = check_pairs(reconstructions, truths)
    if min(a.shape[1:3]) < 7:
        raise InputError(
            f"pictures of {a.shape[1]} x {a.shape[2]} pixels", "at least 7 x 7 for SSIM"
        )
    scores = [
        metrics.structural_similarity(x, y, data_range=1.0, channel_axis=-1)
        for x, y in zip(a, b, strict=True)
    ]
    return np.asarray(scores)
