"""Scores of decoded frames: correlation, identification among frames, and blanks.

Frames with a bar are scored by their pixels without the fixation mark; frames without one have
nothing to correlate with and are told apart by how much of a bar was decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["FrameScores", "frame_correlations", "pooled", "score_frames"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class FrameScores:
    """Scores of one block of test frames.

    Attributes
    ----------
    r : (n_bars,) float
        Correlation with the true frame, of every frame with a bar; 0 for a constant frame.
    identified : (n_bars,) float
        Share of the block's other bar frames that a decoded frame is less like than its own.
    shown : (n,) float
        How much of a bar was decoded.
    has_bar : (n,) bool
    """

    r: Array
    identified: Array
    shown: Array
    has_bar: Array


def frame_correlations(decoded: Array, frames: Array) -> Array:
    """Return the correlation of every decoded frame with every frame (n, m)."""

    def unit(values: Array) -> Array:
        centred = values - values.mean(axis=1, keepdims=True)
        size = np.linalg.norm(centred, axis=1, keepdims=True)
        level = 1e-9 * np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-30)
        flat = size <= level * np.sqrt(values.shape[1])
        scaled: Array = np.where(flat, 0.0, centred / np.where(flat, 1.0, size))
        return scaled

    found: Array = unit(np.asarray(decoded, float)) @ unit(np.asarray(frames, float)).T
    return found


def score_frames(
    decoded: Array, shown: Array | None, frames: Array, has_bar: Array, mark: Array
) -> FrameScores:
    """Score decoded frames (n, n_pixels) against the shown ones.

    Parameters
    ----------
    decoded, frames : ndarray of shape (n, n_pixels)
    shown : ndarray of shape (n,), optional
        How surely a bar is there; the mean of the decoded frame by default.
    has_bar : ndarray of shape (n,)
    mark : ndarray of shape (n_pixels,)
        Pixels that are left out.
    """
    mine, true = decoded[:, ~mark], frames[:, ~mark]
    alike = frame_correlations(mine[has_bar], true[has_bar])
    own = np.diag(alike)
    less = (alike < own[:, None] - 1e-9) + 0.5 * (np.abs(alike - own[:, None]) <= 1e-9)
    n = len(own)
    identified = (less.sum(axis=1) - 0.5) / (n - 1) if n > 1 else np.full(n, np.nan)
    level = mine.mean(axis=1) if shown is None else np.asarray(shown)
    return FrameScores(own, identified, level, np.asarray(has_bar))


def pooled(blocks: list[FrameScores]) -> tuple[float, float, float]:
    """Return mean r, mean identification and the AUC of blanks over all frames of all blocks.

    The AUC compares frames within blocks alone, weighed by the number of pairs; it is nan where
    no block has both kinds.
    """
    r = np.concatenate([block.r for block in blocks])
    identified = np.concatenate([block.identified for block in blocks])
    identified = identified[~np.isnan(identified)]
    wins, pairs = 0.0, 0
    for block in blocks:
        bars, blanks = block.shown[block.has_bar], block.shown[~block.has_bar]
        difference = bars[:, None] - blanks[None]
        wins += float((difference > 0).sum() + 0.5 * (difference == 0).sum())
        pairs += difference.size
    return (
        float(r.mean()) if len(r) else float("nan"),
        float(identified.mean()) if len(identified) else float("nan"),
        wins / pairs if pairs else float("nan"),
    )
