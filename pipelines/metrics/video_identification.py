"""Which clip, or which class of clip, was it? Identification with chance 1/n, and the lenient form.

The n-way scores of video papers (Chen et al. 2023, *MinD-Video*, and those that follow it) ask a
classifier: does any of the three classes that it finds likeliest in the truth come first in the
prediction, among itself and n - 1 classes drawn from the rest? Guessing wins 3 / (n + 2) of such
comparisons, .75 of two-way ones, and not 1 / n. Here the truth has one class, unless a variant
under its peers' name says otherwise; expectations are exact, nothing is drawn.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.metrics.clips import frame_features
from phosphene.pipelines.metrics.correlations import correlate
from phosphene.pipelines.metrics.features import NETWORK, FeatureNetwork, identify_among
from phosphene.pipelines.metrics.identification import allowed_pairs, identify
from phosphene.pipelines.metrics.retrieval import RetrievalResult
from phosphene.pipelines.metrics.video_networks import ClipClasses, FrameClasses, LiteClasses

__all__ = ["ClassIdentification", "ClipIdentification", "class_identification"]

Array = np.ndarray[Any, Any]
Classifier = Literal["efficientnet-lite0", "frames", "clips", "clips-stretched"]
CLASSIFIERS = ("efficientnet-lite0", "frames", "clips", "clips-stretched")


def class_identification(
    predicted: Array,
    truth: Array,
    *,
    ways: int,
    true_classes: int = 1,
    ties: Literal["half", "lose"] = "half",
) -> Array:
    """Return how often the true class comes first among itself and random other classes.

    Parameters
    ----------
    predicted, truth : ndarray of shape (n, C) or (n, F, C)
        A classifier's logits or probabilities, of clips or of single frames.
    ways : int
        Classes that are compared, the true one included.
    true_classes : int
        How many of the truth's likeliest classes count as true. The others are drawn from the
        rest, and it is enough that one of the true ones comes first. Chance is
        ``true_classes / (true_classes + ways - 1)``.
    ties : {"half", "lose"}
        Of t classes as likely as the true one, it comes first with 1 / (t + 1), or never.

    Returns
    -------
    ndarray of shape (n,)
        Expected share over all draws of other classes; the mean over frames.

    Examples
    --------
    >>> import numpy as np
    >>> truth, found = np.array([[3.0, 2.0, 1.0, 0.0]]), np.array([[1.0, 3.0, 2.0, 0.0]])
    >>> class_identification(found, truth, ways=2).round(3).item()
    0.333
    >>> class_identification(found, truth, ways=2, true_classes=3).item()
    1.0
    """
    _check_class_scores(predicted, truth)
    check_option("ties", ties, ("half", "lose"))
    n_classes = truth.shape[-1]
    if true_classes < 1 or not 2 <= ways <= n_classes - true_classes + 1:
        raise UsageError(
            f"{ways} ways with {true_classes} true classes of {n_classes}",
            expected=f"2 to {n_classes - true_classes + 1} ways",
        )
    scores, shown = (np.asarray(x).reshape(-1, n_classes) for x in (predicted, truth))
    rows = np.arange(len(shown))[:, None]
    true = np.argsort(-shown, axis=1, kind="stable")[:, :true_classes]
    best = scores[rows, true].max(axis=1, keepdims=True)
    rival = np.ones(scores.shape, dtype=bool)
    rival[rows, true] = False
    better, tied = ((scores > best) & rival).sum(axis=1), ((scores == best) & rival).sum(axis=1)
    if ties == "lose":
        better, tied = better + tied, np.zeros_like(tied)
    counts = RetrievalResult("brain-to-image", better, tied, rival.sum(axis=1))
    return np.asarray(counts.top_1_among(ways).reshape(len(truth), -1).mean(axis=1))


def _check_class_scores(predicted: Array, truth: Array) -> None:
    if predicted.shape != truth.shape or truth.ndim not in (2, 3) or 0 in truth.shape:
        raise InputError(
            f"class scores of shape {predicted.shape} beside {truth.shape}",
            expected="two arrays (n, C) or (n, F, C) of equal shape",
        )
    if not (np.isfinite(predicted).all() and np.isfinite(truth).all()):
        raise InputError("class scores that are not finite", "a number for every class")


class ClipIdentification:
    """Strict n-way identification of clips by features of all their frames, in order.

    Parameters
    ----------
    ways : int
        Chance is 1 / ways; ties share.
    network : str or FeatureNetwork
        Of frames.
    """

    whole_set = True
    as_they_are = False
    least_frames = 1

    def __init__(self, ways: int = 2, network: str | FeatureNetwork = NETWORK) -> None:
        self.ways, self.network = ways, network

    def describe(self, clips: Pictures) -> Array:
        """Return the features (n, F * d) of the frames, one after the other."""
        return frame_features(clips, self.network).reshape(len(clips), -1)

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return each item's score (n,); NaN where there are fewer than ``ways`` clips."""
        if len(truth) < max(2, self.ways):
            return np.full(len(truth), np.nan)
        pair = (np.asarray(x, dtype=np.float64) for x in (predicted, truth))
        return identify_among(*pair, ways=self.ways).scores

    def compare_orders(self, predicted: Array, truth: Array, orders: Array) -> Array:
        """Return the scores (k, n) with truths in k orders: correlated once, ranked k times."""
        n = len(truth)
        if n < max(2, self.ways):
            return np.full(orders.shape, np.nan)
        found = correlate(*(np.asarray(x, np.float64).reshape(n, -1) for x in (truth, predicted)))
        allowed = allowed_pairs(n)
        ranked = [
            identify(
                found.matrix[order],
                allowed,
                copies=found.copies,
                tolerance=found.tolerance,
                ways=self.ways,
            ).scores
            for order in orders
        ]
        return np.stack(ranked)


class ClassIdentification:
    """Identification of what a classifier sees in the truth.

    Parameters
    ----------
    ways, true_classes, ties
        As for :func:`class_identification`.
    classifier : {"efficientnet-lite0", "frames", "clips", "clips-stretched"}
        ImageNet classes of each frame by EfficientNet-Lite0 from its package; or a network of
        transformers in ``weights_folder`` that classifies single frames, or clips after they are
        resampled to as many frames as it learned with, or (what peers do) clips of any length,
        with a table of positions that it never learned with.
    weights_folder : str, optional
    """

    whole_set = False
    as_they_are = False
    least_frames = 1

    def __init__(
        self,
        ways: int,
        true_classes: int = 1,
        ties: Literal["half", "lose"] = "half",
        classifier: Classifier = "efficientnet-lite0",
        weights_folder: str | None = None,
    ) -> None:
        self.ways, self.true_classes = ways, true_classes
        self.ties: Literal["half", "lose"] = ties
        check_option("classifier", classifier, CLASSIFIERS)
        if (classifier == "efficientnet-lite0") != (weights_folder is None):
            raise UsageError(
                f"the classifier {classifier} with the weights folder {weights_folder}",
                expected="a folder for every network but that of the package",
            )
        if weights_folder is None:
            self.classes: LiteClasses | FrameClasses | ClipClasses = LiteClasses()
        elif classifier == "frames":
            self.classes = FrameClasses(weights_folder)
        else:
            self.classes = ClipClasses(weights_folder, stretch=classifier == "clips-stretched")

    def describe(self, clips: Pictures) -> Array:
        """Return logits (n, C) of clips, or (n, F, C) of their frames."""
        return self.classes.logits(clips)

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return each item's score (n,)."""
        return class_identification(
            predicted, truth, ways=self.ways, true_classes=self.true_classes, ties=self.ties
        )
