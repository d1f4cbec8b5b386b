"""Agreement of two pictures, one number per pair."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.names import require

__all__ = [
    "check_pairs",
    "gaussian_similarity",
    "mean_squared_error",
    "peak_signal_to_noise",
    "pixel_correlation",
    "structural_similarity",
]

Array = np.ndarray[Any, Any]
WINDOW = 11  # pixels: a Gaussian of 1.5 cut at 3.5 standard deviations
# Rounding to 256 levels is an error of variance (1/255)^2 / 12: nothing can be closer than that.
LARGEST_PSNR = 10 * np.log10(12 * 255**2)


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


def peak_signal_to_noise(reconstructions: Array, truths: Array) -> Array:
    """Return the peak signal-to-noise ratio of each pair in decibels, peak 1.

    Returns
    -------
    ndarray of shape (n,)
        ``-10 log10(MSE)``, at most 58.92 dB, which is the error of rounding to 256 levels: equal
        pictures would be infinite and so would every mean over them.
    """
    error = mean_squared_error(reconstructions, truths)
    return np.asarray(-10 * np.log10(np.maximum(error, 10 ** (-LARGEST_PSNR / 10))))


def gaussian_similarity(reconstructions: Array, truths: Array) -> Array:
    """Return SSIM of each pair in grey: Gaussian window of 1.5 pixels, range 1.

    As Wang et al. 2004 define it: 11 x 11 window, variances over the window's weights, places
    whose window leaves the picture left out. Grey is ``.2125 R + .7154 G + .0721 B``.
    """
    metrics = require("skimage.metrics", "metrics")
    color = require("skimage.color", "metrics")
    a, b = check_pairs(reconstructions, truths)
    if min(a.shape[1:3]) < WINDOW:
        raise InputError(
            f"pictures of {a.shape[1]} x {a.shape[2]} pixels", f"at least {WINDOW} x {WINDOW}"
        )
    grey = [x[..., 0] if x.shape[-1] == 1 else color.rgb2gray(x) for x in (a, b)]
    scores = [
        metrics.structural_similarity(
            x, y, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for x, y in zip(*grey, strict=True)
    ]
    return np.asarray(scores)


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
