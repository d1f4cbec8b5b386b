"""Whether colours have the hue they had: hue is an angle, so its correlation is circular.

Jammalamadaka and SenGupta 2001, *Topics in circular statistics*, section 8.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.names import require

__all__ = ["HueCorrelation", "LegacyHue", "circular_correlation"]

Array = np.ndarray[Any, Any]
NOTHING = 1e-12
FIRST_FRAMES = 6
OPENCV_HUES = 180  # an 8-bit hue of OpenCV counts steps of two degrees


def circular_correlation(a: Array, b: Array, weights: Array | None = None) -> float:
    """Return the circular correlation of two sets of angles.

    The sum of ``sin(a - mean a) sin(b - mean b)`` over the root of the product of the sums of
    their squares; means are directions.

    Parameters
    ----------
    a, b : ndarray of shape (n,)
        Radians.
    weights : ndarray of shape (n,), optional
        Not negative.

    Returns
    -------
    float
        -1 to 1; 0 where either does not vary or nothing weighs anything.

    Examples
    --------
    >>> import numpy as np
    >>> angles = np.radians([10.0, 80.0, 350.0])
    >>> round(circular_correlation(angles, -angles), 3)
    -1.0
    """
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=np.float64)
    sines = [np.sin(x - np.angle((w * np.exp(1j * x)).sum())) for x in (a, b)]
    spread = np.sqrt(np.prod([(w * s**2).sum() for s in sines]))
    return float((w * sines[0] * sines[1]).sum() / spread) if spread > NOTHING else 0.0


class HueCorrelation:
    """Circular correlation of hue over the pixels of each frame, mean over frames.

    A pixel counts by the lesser chroma of both: the hue of grey says nothing. As any correlation
    it asks for the layout of hues, not for their mean; turning all of them alike changes nothing.
    """

    whole_set = False
    as_they_are = False
    least_frames = 1

    def describe(self, clips: Pictures) -> Array:
        """Return the frames as they are."""
        return clips

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the mean correlation (n,) over frames."""
        scores = np.empty(truth.shape[:2])
        for place in np.ndindex(*scores.shape):
            (a, chroma_a), (b, chroma_b) = _hues(predicted[place]), _hues(truth[place])
            scores[place] = circular_correlation(a, b, np.minimum(chroma_a, chroma_b))
        return np.asarray(scores.mean(axis=1))


class LegacyHue:
    """What Mind-Animator calls hue-pcc, with what is peculiar to it.

    Red and blue are exchanged before the hue is taken; hues, in 0 to 179, are divided by 360 and
    compared by the cosine of two vectors that are nowhere negative. That is no correlation and
    not circular: 359 degrees and 1 degree are as far apart as can be, and two maps of
    independent uniform hues score .75.
    """

    whole_set = False
    as_they_are = False
    least_frames = 1

    def describe(self, clips: Pictures) -> Array:
        """Return the first six frames."""
        return clips[:, :FIRST_FRAMES]

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the mean cosine (n,) over frames."""
        scores = np.empty(truth.shape[:2])
        for place in np.ndindex(*scores.shape):
            a, b = (_opencv_hue(clips[place][..., ::-1]) for clips in (predicted, truth))
            norm = np.linalg.norm(a) * np.linalg.norm(b)
            scores[place] = a @ b / norm if norm > 0 else 0.0
        return np.asarray(scores.mean(axis=1))


def _hues(frame: Pictures) -> tuple[Array, Array]:
    """Return hue in radians and chroma in 0..1 of every pixel, each (H * W,)."""
    hsv = require("skimage.color", "metrics").rgb2hsv(frame).reshape(-1, 3)
    return 2 * np.pi * hsv[:, 0], hsv[:, 1] * hsv[:, 2]


def _opencv_hue(frame: Pictures) -> Array:
    hue, _ = _hues(frame)
    steps = np.rint(hue / (2 * np.pi) * OPENCV_HUES) % OPENCV_HUES
    return np.asarray(steps / 360)
