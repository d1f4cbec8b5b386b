from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import UsageError
from phosphene.pipelines.metrics.clips import still_clips
from phosphene.pipelines.metrics.temporal import (
    SelfSimilarity,
    TemporalDifference,
    frame_cosines,
)

Array = np.ndarray[Any, Any]
PIXELS = PixelTarget(size=8)


@pytest.fixture(scope="module")
def clips() -> Array:
    """Return clips that change slowly, and one with a cut (4, 5, 8, 8, 3)."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 256, (4, 2, 8, 8, 3))
    share = np.linspace(0, 0.3, 5)[:, None, None, None]
    moving = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    moving[3, 2:] = ends[3, 1]
    return moving.astype(np.uint8)


def test_cosines_by_hand() -> None:
    features = np.array([[[1.0, 0], [1, 1], [0, 2], [0, 0]]])
    root = np.sqrt(0.5)
    expected = [[1, root, 0, 0], [root, 1, root, 0], [0, root, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(frame_cosines(features)[0], expected, atol=1e-15)


def test_the_truth_scores_zero_and_a_still_what_the_truth_changes(clips: Array) -> None:
    measure = TemporalDifference(PIXELS)
    described = measure.describe(clips)
    assert described.shape == (4, 4)
    np.testing.assert_array_equal(measure.compare(described, described), 0)
    still = measure.compare(measure.describe(still_clips(clips)), described)
    np.testing.assert_allclose(still, 1 - described.mean(axis=1), atol=1e-7)
    assert still[3] > still[:3].max()  # the cut
    # Flicker where hardly anything changes is worse than standing still.
    rng = np.random.default_rng(1)
    flicker = measure.describe(rng.integers(0, 256, clips.shape, dtype=np.uint8))
    assert (measure.compare(flicker, described)[:3] > still[:3]).all()


def test_a_cut_counts_at_its_time(clips: Array) -> None:
    """Equal mean similarity, the cut at another step: seen step by step alone."""
    measure = TemporalDifference(PIXELS)
    later = clips[3:].copy()
    later[0, 2] = clips[3, 1]
    described, moved = measure.describe(clips[3:]), measure.describe(later)
    assert abs(described.mean() - moved.mean()) < 0.01
    assert measure.compare(moved, described)[0] > 0.1


@pytest.mark.parametrize("pairs", ["all", "adjacent"])
def test_legacy_prefers_what_stands_still(pairs: Any, clips: Array) -> None:
    """The quirk: the truth plays no part, and nothing beats a frozen frame."""
    measure = SelfSimilarity(pairs, network=PIXELS)
    truth, still = measure.describe(clips), measure.describe(still_clips(clips))
    np.testing.assert_allclose(measure.compare(still, truth), 1, atol=1e-7)
    assert (measure.compare(truth, truth) < 1).all()
    np.testing.assert_array_equal(measure.compare(truth, truth), measure.compare(truth, still))


def test_the_two_legacy_forms_differ(clips: Array) -> None:
    """Of the same clips: never in one column."""
    described = [SelfSimilarity(p, network=PIXELS).describe(clips) for p in ("all", "adjacent")]
    cosines = frame_cosines(PIXELS.encode(clips[0]).numpy()[None])[0]
    off = cosines[~np.eye(5, dtype=bool)]
    assert described[0][0, 0] == pytest.approx(off.mean(), abs=1e-6)
    assert described[1][0, 0] == pytest.approx(np.diagonal(cosines, 1).mean(), abs=1e-6)
    assert (described[0] < described[1]).all()


def test_a_network_is_needed(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="weights_folder"):
        SelfSimilarity("all")
    with pytest.raises(UsageError, match="weights_folder"):
        SelfSimilarity("all", network=PIXELS, weights_folder=str(tmp_path))
