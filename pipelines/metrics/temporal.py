"""How a clip changes from frame to frame, and whether the shown one changed so.

Similarity of neighbouring frames alone, which most published numbers are, is best for a clip that
does not move at all. What counts here is the difference from the truth at every step.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import UsageError, check_option
from phosphene.pipelines.metrics.clips import frame_features
from phosphene.pipelines.metrics.features import NETWORK, FeatureNetwork
from phosphene.pipelines.metrics.video_networks import ClipPictureFeatures

__all__ = ["SelfSimilarity", "TemporalDifference", "frame_cosines"]

Array = np.ndarray[Any, Any]


def frame_cosines(features: Array) -> Array:
    """Return the cosine of every frame with every other one, (n, F, F), of features (n, F, d).

    A frame of zeros has the cosine 0 with all others.
    """
    rows = np.asarray(features, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    # Not one large product: a clip's cosines must not depend on how many clips there are.
    return np.stack([one @ one.T for one in unit])


class TemporalDifference:
    """Mean difference of the step-by-step similarities of prediction and truth; 0 is best.

    A step's similarity is the cosine of the features of neighbouring frames. A clip that stands
    still scores how much the truth changes; so does one that flickers where nothing happens.

    Parameters
    ----------
    network : str or FeatureNetwork
    """

    whole_set = False
    as_they_are = False
    least_frames = 2

    def __init__(self, network: str | FeatureNetwork = NETWORK) -> None:
        self.network = network

    def describe(self, clips: Pictures) -> Array:
        """Return the cosines (n, F - 1) of neighbouring frames."""
        cosines = frame_cosines(frame_features(clips, self.network))
        return np.asarray(np.diagonal(cosines, offset=1, axis1=1, axis2=2))

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the mean absolute difference (n,) over steps."""
        return np.asarray(np.abs(predicted - truth).mean(axis=1))


class SelfSimilarity:
    """What papers call CLIP-pcc: frames of the prediction compared with each other.

    The truth plays no part, and a clip that stands still scores 1.

    Parameters
    ----------
    pairs : {"all", "adjacent"}
        All pairs of frames (NEURONS), or neighbours (Mind-Animator, there set to 0 where another
        network finds the clip unlike the truth).
    network : str or FeatureNetwork, optional
    weights_folder : str, optional
        Of a CLIP model as transformers writes it, in place of ``network``.
    """

    whole_set = False
    as_they_are = False
    least_frames = 2

    def __init__(
        self,
        pairs: Literal["all", "adjacent"] = "all",
        network: str | FeatureNetwork | None = None,
        weights_folder: str | None = None,
    ) -> None:
        self.pairs = check_option("pairs", pairs, ("all", "adjacent"))
        if (network is None) == (weights_folder is None):
            raise UsageError(
                "a self-similarity without a network, or with two",
                expected="`network` or `weights_folder`",
            )
        if weights_folder is not None:
            network = ClipPictureFeatures(weights_folder)
        assert network is not None
        self.network = network

    def describe(self, clips: Pictures) -> Array:
        """Return the mean cosine (n, 1) of pairs of frames."""
        cosines = frame_cosines(frame_features(clips, self.network))
        n_frames = clips.shape[1]
        offsets = range(1, n_frames) if self.pairs == "all" else (1,)
        diagonals = [np.diagonal(cosines, offset=k, axis1=1, axis2=2) for k in offsets]
        return np.asarray(np.concatenate(diagonals, axis=1).mean(axis=1, keepdims=True))

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return the prediction's own similarity (n,)."""
        return np.asarray(predicted[:, 0])
