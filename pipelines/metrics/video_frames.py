"""Frames against frames, pixel by pixel: SSIM and PSNR, each frame with the one of its time.

Wang et al. 2004 (SSIM). The variants of published code differ enough to change every ranking.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, check_option
from phosphene.names import require

__all__ = ["FrameRatio", "FrameSimilarity"]

Array = np.ndarray[Any, Any]
Definition = Literal["grey-gaussian", "rgb-uniform", "columns"]
LEAST = {"grey-gaussian": 11, "rgb-uniform": 7, "columns": 11}  # pixels of a window
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
ROUNDING = 1 / 12  # variance of rounding to whole levels: no difference below it is seen


class FrameSimilarity:
    """SSIM of each frame with the frame of the same time, mean over frames.

    Parameters
    ----------
    definition : {"grey-gaussian", "rgb-uniform", "columns"}
        ``grey-gaussian`` is that of the paper: luminance, a Gaussian window of sigma 1.5, range 1.
        ``rgb-uniform`` takes a 7 x 7 window over each channel (MinD-Video, Mind-Animator,
        EEG2Video). ``columns`` is what scikit-image computes when the last axis of a grey picture
        is declared its channels, as in NEURONS: every column on its own, a similarity in one
        dimension.
    """

    whole_set = False
    as_they_are = True
    least_frames = 1

    def __init__(self, definition: Definition = "grey-gaussian") -> None:
        self.definition = check_option("definition", definition, LEAST)

    def describe(self, clips: Pictures) -> Array:
        """Return the frames as they are."""
        least = LEAST[self.definition]
        if min(clips.shape[2:4]) < least:
            raise InputError(
                f"frames of {clips.shape[2]} x {clips.shape[3]} pixels",
                expected=f"at least {least} x {least} for SSIM",
            )
        return clips

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the mean similarity (n,) over frames."""
        similarity = require("skimage.metrics", "metrics").structural_similarity
        options: dict[str, Any] = {"data_range": 1.0, "channel_axis": -1}
        if self.definition != "rgb-uniform":
            grey = self.definition == "grey-gaussian"
            options |= GAUSSIAN | {"channel_axis": None if grey else -1}
        scores = np.empty(truth.shape[:2])
        for place in np.ndindex(*scores.shape):
            pair = self._prepared(predicted[place]), self._prepared(truth[place])
            scores[place] = similarity(*pair, **options)
        return np.asarray(scores.mean(axis=1))

    def _prepared(self, frame: Pictures) -> Array:
        if self.definition == "rgb-uniform":
            return frame / 255.0
        return np.asarray(require("skimage.color", "metrics").rgb2gray(frame))


class FrameRatio:
    """Peak signal-to-noise ratio of each frame in decibels, mean over frames.

    Frames that are equal would count infinitely. Their error is taken for that of rounding to
    whole levels, 1/12, which makes 58.9 dB the largest value.
    """

    whole_set = False
    as_they_are = True
    least_frames = 1

    def describe(self, clips: Pictures) -> Array:
        """Return the frames as they are."""
        return clips

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the mean ratio (n,) over frames."""
        scores = np.empty(truth.shape[:2])
        for place in np.ndindex(*scores.shape):
            difference = predicted[place].astype(np.float64) - truth[place]
            error = max(float(np.square(difference).mean()), ROUNDING)
            scores[place] = 10 * np.log10(255**2 / error)
        return np.asarray(scores.mean(axis=1))
