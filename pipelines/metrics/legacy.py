"""Scores of picture pairs exactly as published evaluations compute them, quirks included.

They are for comparing with printed tables. Each says in its definition what makes it differ from
the strict one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.names import require
from phosphene.pipelines.metrics.pictures import check_pairs, pixel_correlation
from phosphene.pipelines.metrics.resizing import resize_chain

__all__ = ["chained_correlation", "chained_similarity"]

Array = np.ndarray[Any, Any]


def chained_correlation(
    reconstructed: Array,
    truth: Array,
    *,
    sizes: tuple[int, ...],
    rule: str,
    truth_sizes: tuple[int, ...] | None = None,
) -> Array:
    """Return Pearson's r of pictures that went through one square size after the other.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, 3)
        uint8.
    sizes : tuple of int
    rule : str
        Of ``resize_pictures``.
    truth_sizes : tuple of int, optional
        Sizes that truths go through, where those differ.
    """
    made = resize_chain(reconstructed, sizes, rule)
    shown = resize_chain(truth, sizes if truth_sizes is None else truth_sizes, rule)
    return pixel_correlation(*check_pairs(made, shown))


def chained_similarity(
    reconstructed: Array,
    truth: Array,
    *,
    sizes: tuple[int, ...],
    rule: str,
    columns: bool = False,
) -> Array:
    """Return SSIM in grey of pictures that went through one square size after the other.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, 3)
        uint8.
    sizes, rule
        As for :func:`chained_correlation`.
    columns : bool
        Take each column of pixels for a channel, and so compare along lines alone: what asking
        for ``multichannel`` of a grey picture does, in scikit-image before 0.19 and through
        ``channel_axis=-1`` since.
    """
    metrics = require("skimage.metrics", "metrics")
    color = require("skimage.color", "metrics")
    pair = check_pairs(*(resize_chain(x, sizes, rule) for x in (reconstructed, truth)))
    if pair[0].shape[-1] != 3:
        raise InputError("grey pictures", "colour: the published code turns it into grey itself")
    scores = [
        metrics.structural_similarity(
            color.rgb2gray(x), color.rgb2gray(y), data_range=1.0, gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False, channel_axis=-1 if columns else None,
        )
        for x, y in zip(*pair, strict=True)
    ]  # fmt: skip
    return np.asarray(scores)
