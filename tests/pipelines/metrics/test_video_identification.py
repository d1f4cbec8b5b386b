from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import identify_among
from phosphene.pipelines.metrics.specs import list_metrics
from phosphene.pipelines.metrics.video_identification import (
    ClassIdentification,
    ClipIdentification,
    class_identification,
)

Array = np.ndarray[Any, Any]


def drawn_like_peers(
    predicted: Array, true: Array, ways: int, trials: int, rng: np.random.Generator
) -> float:
    """One clip as MinD-Video scores it: draw classes outside the true ones; any true one wins."""
    others = np.setdiff1d(np.arange(len(predicted)), true)
    wins = 0
    for _ in range(trials):
        drawn = rng.choice(others, ways - 1, replace=False)
        wins += any(predicted[one] > predicted[drawn].max() for one in true)
    return wins / trials


@pytest.mark.parametrize("ways", [2, 10, 40, 50])
def test_guessing_scores_three_times_too_much_in_the_legacy_form(ways: int) -> None:
    """Scores that know nothing of the truth: 1/n with one true class, 3/(n + 2) with three."""
    rng = np.random.default_rng(ways)
    predicted, truth = rng.normal(size=(2, 20_000, 60))
    strict = class_identification(predicted, truth, ways=ways)
    legacy = class_identification(predicted, truth, ways=ways, true_classes=3, ties="lose")
    for scores, chance in ((strict, 1 / ways), (legacy, 3 / (ways + 2))):
        error = 4 * scores.std() / np.sqrt(len(scores))
        assert scores.mean() == pytest.approx(chance, abs=error)
        assert error < 0.012
    assert 3 / (2 + 2) == 0.75


def test_the_ids_state_both_chances() -> None:
    chances = {spec.id: spec.chance for spec in list_metrics("*-*way/*")}
    assert chances["video-2way/strict-v1"] == chances["frame-2way/strict-v1"] == 1 / 2
    assert chances["video-2way/mind-video"] == chances["frame-2way/mind-video"] == 0.75
    assert chances["video-50way/strict-v1"] == 1 / 50
    assert chances["video-50way/mind-video"] == pytest.approx(0.0577, abs=1e-4)
    assert chances["video-40way/eeg2video"] == pytest.approx(0.0714, abs=1e-4)


@pytest.mark.parametrize(("true_classes", "ways"), [(1, 2), (1, 6), (3, 2), (3, 6)])
def test_expectation_equals_drawing(true_classes: int, ways: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(5, 12))
    predicted = truth + 2 * rng.normal(size=truth.shape)
    expected = class_identification(predicted, truth, ways=ways, true_classes=true_classes)
    assert 0.2 < expected.mean() < 1
    for row in range(5):
        true = np.argsort(-truth[row])[:true_classes]
        found = drawn_like_peers(predicted[row], true, ways, 4000, rng)
        assert found == pytest.approx(expected[row], abs=0.035)


def test_ties() -> None:
    """A constant prediction: 1/n exactly where ties share; never right where they lose."""
    truth = np.random.default_rng(0).normal(size=(6, 20))
    constant = np.zeros_like(truth)
    for ways in (2, 7, 20):
        np.testing.assert_allclose(class_identification(constant, truth, ways=ways), 1 / ways)
    legacy = class_identification(constant, truth, ways=2, true_classes=3, ties="lose")
    assert legacy.tolist() == [0.0] * 6
    perfect = class_identification(truth, truth, ways=20)
    assert perfect.tolist() == [1.0] * 6


def test_an_ordinary_answer_passes_the_legacy_form() -> None:
    """The truth's first class comes last of its three, and 9 of 10 others: strict .1, legacy 1."""
    truth = np.array([[9.0, 8.0, 7.0, *np.linspace(1, 0, 10)]])
    predicted = np.array([[0.95, 2.0, 0.0, *np.linspace(1.8, 0.9, 10)]])
    strict = class_identification(predicted, truth, ways=2)
    legacy = class_identification(predicted, truth, ways=2, true_classes=3, ties="lose")
    assert strict[0] == pytest.approx((1 + 1) / 12)
    assert legacy[0] == 1


def test_frames_are_averaged_and_permutation_permutes() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(4, 3, 9))
    predicted = truth + rng.normal(size=truth.shape)
    scores = class_identification(predicted, truth, ways=3)
    each = np.stack(
        [class_identification(predicted[:, f], truth[:, f], ways=3) for f in range(3)], axis=1
    )
    np.testing.assert_allclose(scores, each.mean(axis=1), rtol=1e-12)
    order = [2, 0, 3, 1]
    np.testing.assert_array_equal(
        class_identification(predicted[order], truth[order], ways=3), scores[order]
    )


def test_clips_are_told_apart_by_their_frames_in_order() -> None:
    """Clip 1 is clip 0 backwards: the mean frame cannot tell them apart, the order can."""
    rng = np.random.default_rng(4)
    clip = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    clips = np.stack([clip, clip[::-1]])
    measure = ClipIdentification(ways=2, network=PixelTarget(size=8))
    described = measure.describe(clips)
    assert described.shape == (2, 3 * 192)
    assert measure.compare(described, described).tolist() == [1.0, 1.0]
    assert measure.compare(described[::-1], described).tolist() == [0.0, 0.0]
    still = measure.describe(np.repeat(clips[:, :1], 3, axis=1))
    assert measure.compare(still, described).mean() <= 1


def test_identification_of_clips_is_identification_of_features() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 256, (6, 2, 8, 8, 3), dtype=np.uint8)
    noisy = (0.1 * truth + 0.9 * rng.integers(0, 256, truth.shape)).astype(np.uint8)
    for ways in (2, 4):
        measure = ClipIdentification(ways=ways, network=PixelTarget(size=8))
        found = measure.compare(measure.describe(noisy), measure.describe(truth))
        np.testing.assert_allclose(found, identify_among(noisy, truth, ways=ways).scores)
    few = ClipIdentification(ways=7, network=PixelTarget(size=8))
    assert np.isnan(few.compare(measure.describe(noisy), measure.describe(truth))).all()


def test_what_cannot_be_compared() -> None:
    scores = np.zeros((2, 5))
    with pytest.raises(InputError, match="equal shape"):
        class_identification(scores, scores[:1], ways=2)
    with pytest.raises(InputError, match="not finite"):
        class_identification(scores * np.nan, scores, ways=2)
    for ways, true in ((1, 1), (6, 1), (4, 3), (2, 0)):
        with pytest.raises(UsageError, match="ways with"):
            class_identification(scores, scores, ways=ways, true_classes=true)
    with pytest.raises(UsageError, match="a folder for every network"):
        ClassIdentification(2, classifier="clips")
