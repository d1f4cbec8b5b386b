"""Agreement of pictures in the features of a network, EfficientNet-Lite0 unless another is given.

Ozcelik and VanRullen 2023 (*Brain-Diffuser*) and Scotti et al. 2023 (*MindEye*) compare
reconstructions so, with other networks; numbers of different networks stand on different scales.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics.identification import (
    IdentificationResult,
    allowed_pairs,
    identify,
    two_way_identification,
)
from phosphene.pipelines.metrics.pictures import pixel_correlation

if TYPE_CHECKING:
    import torch

__all__ = [
    "FeatureNetwork",
    "feature_distance",
    "feature_identification",
    "identify_among",
    "picture_features",
]

Array = np.ndarray[Any, Any]
NETWORK = "efficientnet-lite0"


class FeatureNetwork(Protocol):
    """What turns pictures into features; every stimulus encoder does."""

    def encode(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        """Return features (n, ...) of uint8 pictures (H, W, C)."""


def picture_features(pictures: Pictures, *, network: str | FeatureNetwork = NETWORK) -> Array:
    """Return features of pictures, for the functions that compare them.

    Parameters
    ----------
    pictures : ndarray of shape (n, H, W, C)
        uint8, C of 1 or 3; the network brings them to its own size.
    network : str or FeatureNetwork
        Name of a stimulus encoder that needs no options, or any encoder.

    Returns
    -------
    ndarray of shape (n, d)
        float64. Equal pictures have equal features to the last bit, wherever they stand.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] not in (1, 3):
        raise InputError(
            f"pictures of shape {pictures.shape} and type {pictures.dtype}",
            expected="uint8 pictures (n, H, W, 1 or 3)",
        )
    # A network rounds differently from batch to batch: each picture goes in once.
    hashes = [picture_hash(one) for one in pictures]
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    encoder = STIMULUS_ENCODERS.get(network)() if isinstance(network, str) else network
    values = encoder.encode(pictures[row] for row in first)
    features = np.asarray(values.cpu().numpy(), dtype=np.float64).reshape(len(first), -1)
    return np.asarray(features[place])


def feature_distance(
    reconstructed: Pictures, truth: Pictures, *, network: str | FeatureNetwork = NETWORK
) -> Array:
    """Return the correlation distance, 1 - Pearson's r, of each pair's features.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, C)
        uint8.
    network : str or FeatureNetwork
        As for :func:`picture_features`.

    Returns
    -------
    ndarray of shape (n,)
        0 for equal pictures, 1 for unrelated ones, at most 2.
    """
    pair = _pair_features(reconstructed, truth, network)
    # Pearson's r is the same sum whether the numbers are features or grey levels.
    correlation = pixel_correlation(*(features[:, None, None, :] for features in pair))
    return np.asarray(np.clip(1 - correlation, 0, 2))


def feature_identification(
    reconstructed: Pictures,
    truth: Pictures,
    *,
    network: str | FeatureNetwork = NETWORK,
    ways: int = 2,
    groups: Array | None = None,
    pictures: Sequence[str] | Array | None = None,
) -> IdentificationResult:
    """Tell each shown picture from others by the features of its reconstruction.

    Parameters
    ----------
    reconstructed, truth : ndarray of shape (n, H, W, C)
        uint8.
    network : str or FeatureNetwork
        As for :func:`picture_features`.
    ways, groups, pictures
        As for :func:`identify_among`.
    """
    predicted, shown = _pair_features(reconstructed, truth, network)
    return identify_among(predicted, shown, ways=ways, groups=groups, pictures=pictures)


def identify_among(
    predicted: Array,
    truth: Array,
    *,
    ways: int = 2,
    groups: Array | None = None,
    pictures: Sequence[str] | Array | None = None,
) -> IdentificationResult:
    """Identify the truth among itself and ``ways - 1`` others, by correlation distance.

    Expected score over all such choices, in closed form: nothing is sampled. Two ways are
    :func:`two_way_identification`.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, ...)
        Features; the trailing axes are flattened.
    ways : int
        2 or more; chance is ``1 / ways``.
    groups : ndarray of shape (n,), optional
        Only among the same group (category).
    pictures : sequence of length n, optional
        Which picture each item is of. With more than two ways, the others are different pictures.

    Returns
    -------
    IdentificationResult
        NaN for items with fewer than ``ways - 1`` others. Of t tied for the best, each wins 1/t.
    """
    if not 2 <= ways <= len(truth):
        raise UsageError(f"`ways` is {ways}", expected=f"2 to {len(truth)}, the number of items")
    if ways == 2:
        return two_way_identification(predicted, truth, groups=groups, pictures=pictures)
    from phosphene.pipelines.metrics.correlations import correlate

    found = correlate(*(rows.reshape(len(rows), -1) for rows in (truth, predicted)))
    allowed = allowed_pairs(len(truth), groups=groups, pictures=pictures, once=True)
    return identify(
        found.matrix, allowed, copies=found.copies, tolerance=found.tolerance, ways=ways
    )


def _pair_features(
    reconstructed: Pictures, truth: Pictures, network: str | FeatureNetwork
) -> tuple[Array, Array]:
    if reconstructed.shape != truth.shape:
        raise InputError(
            f"reconstructions of shape {reconstructed.shape} beside truths of {truth.shape}",
            expected="two arrays of pictures (n, H, W, C) of equal shape",
        )
    # Both in one call: a reconstruction that is its truth then has the very same features.
    both = picture_features(np.concatenate([reconstructed, truth]), network=network)
    return both[: len(truth)], both[len(truth) :]
