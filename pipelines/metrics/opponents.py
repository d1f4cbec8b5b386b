"""Agreement of colours, and agreement of edges: what a single number over all pixels mixes."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.names import require
from phosphene.pipelines.metrics.pictures import pixel_correlation
from phosphene.pipelines.metrics.resizing import resize_pictures

__all__ = ["colour_agreement", "edge_agreement"]

Array = np.ndarray[Any, Any]
GRID = 16  # places a side at which colours are compared
NEUTRAL = 1.0  # chroma in CIELAB units below which nobody sees a colour
EDGE_SCALE = 64  # pixels of the shorter side at which edges are sought
SMOOTHING = 1.0  # pixels of that size


def colour_agreement(reconstructed: Array, truth: Array) -> Array:
    """Return how well hue and saturation agree, place by place, whatever the lightness.

    Chroma vectors ``c = (a*, b*)`` of CIELAB (sRGB, D65) are compared at 16 x 16 places by
    ``2 sum(c . c') / (sum |c|^2 + sum |c'|^2)``: Lin's concordance (1989) taken about neutral
    grey.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, 1 or 3)
        uint8.

    Returns
    -------
    ndarray of shape (n,)
        1 for the same colours, 0 for a grey picture or unrelated hues, -1 for complementary
        ones; half the saturation gives .8. NaN where the truth has no colour to agree with.
    """
    color = require("skimage.color", "metrics")
    _check(reconstructed, truth)
    chroma = []
    for pictures in (reconstructed, truth):
        small = resize_pictures(pictures, GRID, "pillow-bilinear")
        colours = np.repeat(small, 3, axis=-1) if small.shape[-1] == 1 else small
        lab = np.asarray(color.rgb2lab(colours))[..., 1:].reshape(len(pictures), -1, 2)
        chroma.append(lab)
    product = (chroma[0] * chroma[1]).sum(axis=(1, 2))
    power = np.stack([np.square(one).sum(axis=(1, 2)) for one in chroma])
    visible = power[1] > NEUTRAL**2 * GRID**2
    return np.asarray(
        np.divide(2 * product, power.sum(axis=0), out=np.full(len(truth), np.nan), where=visible)
    )


def edge_agreement(reconstructed: Array, truth: Array) -> Array:
    """Return Pearson's r between how strong edges are at each place.

    Edges are the Sobel gradient's length in grey, of pictures whose shorter side is 64 pixels,
    smoothed by a Gaussian of one pixel so that an edge one pixel off still meets its partner.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, 1 or 3)
        uint8, of equal shape.

    Returns
    -------
    ndarray of shape (n,)
        1 for the same edges; 0 where either picture has none.
    """
    filters = require("skimage.filters", "metrics")
    color = require("skimage.color", "metrics")
    _check(reconstructed, truth)
    height, width = truth.shape[1:3]
    scale = min(1.0, EDGE_SCALE / min(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    maps = []
    for pictures in (reconstructed, truth):
        small = resize_pictures(pictures, size, "pillow-bilinear") / 255
        grey = small[..., 0] if small.shape[-1] == 1 else color.rgb2gray(small)
        edges = [filters.gaussian(filters.sobel(one), SMOOTHING) for one in grey]
        maps.append(np.stack(edges)[..., None])
    return pixel_correlation(*maps)


def _check(reconstructed: Array, truth: Array) -> None:
    if reconstructed.shape[:3] != truth.shape[:3] or reconstructed.ndim != 4 or truth.ndim != 4:
        raise InputError(
            f"reconstructions of shape {reconstructed.shape} beside truths of {truth.shape}",
            expected="two arrays of pictures (n, H, W, 1 or 3) of equal shape",
        )
