"""Clips: what metrics of video share, and the metric class that computes all of them.

A measure *describes* clips (features, flow, frames as they are) and *compares* descriptions. Kept
apart, a prediction is described once, however many truths it is paired with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.errors import InputError
from phosphene.pipelines.metrics.base import ItemMetric
from phosphene.pipelines.metrics.features import NETWORK, FeatureNetwork
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec, load_attribute

__all__ = [
    "ClipMeasure",
    "ClipMetric",
    "check_clips",
    "frame_features",
    "grey_clips",
    "mostly_one",
    "still_clips",
]

Array = np.ndarray[Any, Any]
BLOCK = 16  # frames at a time, always as many: a network rounds differently with the number
GREY = 128
SAME = 1 - 1e-6  # cosine of two descriptions that are one


class ClipMeasure(Protocol):
    """What a metric of clips is made of.

    Attributes
    ----------
    whole_set : bool
        Whether an item's score depends on the other items (identification).
    as_they_are : bool
        Whether clips are their own description.
    least_frames : int
    """

    whole_set: bool
    as_they_are: bool
    least_frames: int

    def describe(self, clips: Pictures) -> Array:
        """Return what is compared, (n, ...), of clips (n, F, H, W, 3)."""

    def compare(self, predicted: Array, truth: Array) -> Array:
        """Return scores (n,) of descriptions (n, ...)."""

    def compare_orders(self, predicted: Array, truth: Array, orders: Array) -> Array:
        """Return scores (k, n) with truths in k orders (k, n); only where ``whole_set``."""


class ClipMetric(ItemMetric):
    """The mean of a measure over clips, beside what stills of them and flat grey would score.

    Parameters
    ----------
    spec : MetricSpec
    measure : str
        ``"module:Class"`` of a :class:`ClipMeasure`.
    arguments : dict, optional
        Of that class, part of the definition.
    weights_folder : str, optional
        Handed to the class, where the definition's network lies in a folder.
    """

    def __init__(
        self,
        spec: MetricSpec,
        measure: str,
        arguments: dict[str, Any] | None = None,
        *,
        weights_folder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        folder = {} if weights_folder is None else {"weights_folder": weights_folder}
        self.measure: ClipMeasure = load_attribute(measure)(**(arguments or {}), **folder)
        if self.measure.whole_set:
            self.keep("predicted", "still", "grey", "truth")
        else:
            self.keep("scores")

    def update(self, predicted: Pictures, truth: Pictures, items: Sequence[str]) -> None:
        """Describe a batch of clips, uint8 (n, F, H, W, 3), and compare what can be."""
        check_clips(predicted, truth, least_frames=self.measure.least_frames)
        if len(truth) == 0:
            return
        rivals = (predicted, still_clips(predicted), grey_clips(predicted))
        # All in one call: a prediction that is its truth then has the very same description.
        described = self.measure.describe(np.concatenate([truth, *rivals]))
        shown, *others = np.split(described, 4)
        if self.measure.whole_set:
            names = ("predicted", "still", "grey")
            self.add(items, truth=shown, **dict(zip(names, others, strict=True)))
        else:
            scores = [self.measure.compare(other, shown) for other in others]
            self.add(items, scores=np.stack(scores, axis=1).astype(np.float64))

    def compute(self) -> MetricOutcome:
        """Return the mean and one score per clip.

        ``details`` has what the predictions' middle frames, held still, score
        (``still_picture``), and a flat grey clip (``grey_picture``).
        """
        items, states = self.collected()
        arrays = {name: state.cpu().numpy() for name, state in states.items()}
        if self.measure.whole_set:
            truth = arrays["truth"]
            columns = [
                self.measure.compare(arrays[name], truth) for name in ("predicted", "still", "grey")
            ]
            collapsed = mostly_one(arrays["predicted"])
        else:
            columns, collapsed = list(arrays["scores"].T), False
        scores, still, grey = columns
        details = {"still_picture": _mean(still), "grey_picture": _mean(grey)}
        return self.outcome(scores, items, details=details, collapsed=collapsed)


def check_clips(predicted: Pictures, truth: Pictures, *, least_frames: int = 1) -> None:
    """Raise :class:`InputError` unless both are uint8 (n, F, H, W, 3) of one shape."""
    for name, clips in (("predicted", predicted), ("true", truth)):
        if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[-1] != 3:
            raise InputError(
                f"{name} clips of shape {clips.shape} and type {clips.dtype}",
                expected="uint8 frames (n, F, H, W, 3)",
            )
    if predicted.shape != truth.shape:
        raise InputError(
            f"predicted clips of shape {predicted.shape} beside true ones of {truth.shape}",
            expected="as many frames, of the same size, in the same order",
            remedy="bring both to one frame rate and size first",
        )
    if 0 in truth.shape[1:] or truth.shape[1] < least_frames:
        raise InputError(
            f"clips of {truth.shape[1]} frames of {truth.shape[2]} x {truth.shape[3]} pixels",
            expected=f"at least {least_frames} frames",
        )


def still_clips(clips: Pictures) -> Pictures:
    """Return clips (n, F, H, W, 3) that hold the middle frame of each: a picture, no motion."""
    middle = clips[:, clips.shape[1] // 2]
    return np.ascontiguousarray(np.broadcast_to(middle[:, None], clips.shape))


def grey_clips(clips: Pictures) -> Pictures:
    """Return flat grey clips of the same shape."""
    return np.full_like(clips, GREY)


def frame_features(clips: Pictures, network: str | FeatureNetwork = NETWORK) -> Array:
    """Return features (n, F, d) of every frame, float32.

    Equal frames have equal features to the last bit, wherever they stand: each goes in once, and
    always as many at a time.

    Parameters
    ----------
    clips : ndarray of shape (n, F, H, W, 3)
        uint8.
    network : str or FeatureNetwork
        Name of a stimulus encoder that needs no options, or any encoder.
    """
    frames = clips.reshape(-1, *clips.shape[2:])
    hashes = [picture_hash(one) for one in frames]
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    encoder = STIMULUS_ENCODERS.get(network)() if isinstance(network, str) else network
    parts = []
    for start in range(0, len(first), BLOCK):
        rows = first[np.arange(start, start + BLOCK).clip(max=len(first) - 1)]
        values = encoder.encode(frames[row] for row in rows).reshape(BLOCK, -1)
        parts.append(values.to(torch.float32).cpu().numpy())
    features = np.concatenate(parts)[place]
    return np.asarray(features.reshape(*clips.shape[:2], -1))


def mostly_one(described: Array) -> bool:
    """Return whether more than half of all pairs of predictions are (nearly) one and the same."""
    rows = np.asarray(described, dtype=np.float64).reshape(len(described), -1)
    if len(rows) < 2:
        return False
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    nothing = norms[:, 0] == 0
    same = (unit @ unit.T >= SAME) | (nothing[:, None] & nothing[None])
    return bool(same[~np.eye(len(rows), dtype=bool)].mean() > 0.5)


def _mean(scores: Array) -> float:
    return float("nan") if np.isnan(scores).all() else float(np.nanmean(scores))
