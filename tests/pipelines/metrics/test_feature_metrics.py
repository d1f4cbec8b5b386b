"""Identification and distance as classes: directions, ties, batches, the offline network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage import data

from phosphene.data.pictures import fit_pictures
from phosphene.errors import InputError
from phosphene.pipelines.metrics import (
    feature_distance,
    feature_identification,
    two_way_identification,
)
from phosphene.pipelines.metrics.feature_metrics import FeatureIdentification
from phosphene.pipelines.metrics.specs import METRICS, create_metric

Array = np.ndarray[Any, Any]


def names(n: int) -> list[str]:
    return [f"item-{number:03d}" for number in range(n)]


def outcome(metric: str, made: Array, shown: Array, **more: Any) -> Any:
    measure = create_metric(metric)
    measure.update(made, shown, names(len(shown)), **more)
    return measure.compute()


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(5).integers(0, 256, (8, 9, 7, 3), dtype=np.uint8)


@pytest.fixture
def noisy(truth: Array) -> Array:
    noise = np.random.default_rng(6).integers(0, 256, truth.shape, dtype=np.uint8)
    return (0.08 * truth + 0.92 * noise).astype(np.uint8)


@pytest.fixture(scope="module")
def photographs() -> Array:
    """Return six cuts of three photographs (6, 64, 64, 3)."""
    scenes = [data.chelsea(), data.coffee(), data.astronaut()]
    return np.concatenate([fit_pictures([s[:, :200], s], size=64, channels=3) for s in scenes])


def test_the_golden_direction() -> None:
    """Three pictures of one pixel, told apart by colour: worked out by hand.

    Centred colours lie in a plane; by their angles in degrees truths are 0, 120 and 240 and
    predictions 0, 20 and 230. A prediction is nearest to the truth at the least angle:

    prediction 0 (0):   its truth at 0 wins both.
    prediction 1 (20):  its truth at 100 away; truth 0 at 20 away wins, truth 2 at 140 loses.
    prediction 2 (230): its truth at 10 wins both.
    With each prediction among truths: (1 + 1/2 + 1) / 3 = 5/6.

    truth 0 (0):   its prediction at 0 wins both.
    truth 1 (120): its prediction at 100 away; prediction 0 at 120 loses, prediction 2 at 110 loses.
    truth 2 (240): its prediction at 10 wins both.
    With each truth among predictions: (1 + 1 + 1) / 3 = 1.
    """
    plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])

    def at(*degrees: float) -> Array:
        angles = np.radians(degrees)
        colours = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane
        return np.rint(128 + 100 * colours).astype(np.uint8)[:, None, None, :]

    truth, predicted = at(0, 120, 240), at(0, 20, 230)
    found = outcome("two-way-pixels/strict-v1", predicted, truth)
    assert found.scores.tolist() == [1, 0.5, 1]
    assert found.value == pytest.approx(5 / 6)
    other = outcome("two-way-pixels/takagi", predicted, truth)
    assert other.scores.tolist() == [1, 1, 1]
    # The two exchange roles when predictions and truths do.
    assert outcome("two-way-pixels/takagi", truth, predicted).value == pytest.approx(5 / 6)
    assert outcome("two-way-pixels/strict-v1", truth, predicted).value == 1


def test_it_is_the_function(truth: Array, noisy: Array) -> None:
    found = outcome("two-way-pixels/strict-v1", noisy, truth)
    expected = two_way_identification(noisy, truth)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-12)
    assert 0.5 < found.value < 1
    assert found.chance == 0.5
    groups = list("aaabbbcc")
    within = outcome("two-way-pixels/strict-v1", noisy, truth, groups=groups)
    expected = two_way_identification(noisy, truth, groups=np.array(groups))
    np.testing.assert_allclose(within.scores, expected.scores, rtol=1e-12)


def test_identity_is_one_and_equal_features_a_coin(truth: Array) -> None:
    same = outcome("two-way-pixels/strict-v1", truth, truth)
    assert same.scores.tolist() == [1.0] * 8
    assert not same.collapsed
    grey = outcome("two-way-pixels/strict-v1", np.full_like(truth, 128), truth)
    assert grey.scores.tolist() == [0.5] * 8
    assert grey.collapsed
    assert "collapsed" in grey.note
    one = outcome("two-way-pixels/strict-v1", np.broadcast_to(truth[3], truth.shape), truth)
    assert one.value == pytest.approx(0.5, abs=1e-12)
    assert one.collapsed


def test_truths_that_are_one_picture_are_not_compared(truth: Array, noisy: Array) -> None:
    once = outcome("two-way-pixels/strict-v1", noisy, truth)
    twice = create_metric("two-way-pixels/strict-v1")
    twice.update(noisy, truth, names(8))
    twice.update(noisy[::-1], truth[::-1], [f"again-{k}" for k in range(8)])
    assert twice.compute().value == pytest.approx(once.value)
    alone = outcome("two-way-pixels/strict-v1", noisy[:1], truth[:1])
    assert alone.value is None
    assert "too few for 2" in alone.note


@pytest.mark.parametrize(
    "metric", ["two-way-pixels/strict-v1", "efficientnet-lite0/strict-v1",
               "efficientnet-lite0-distance/strict-v1"],
)  # fmt: skip
def test_batches_are_the_whole(metric: str, photographs: Array) -> None:
    made = np.roll(photographs[:, ::-1], 1, axis=0)
    whole = outcome(metric, made, photographs)
    parts = create_metric(metric)
    for rows in ([4], [0, 5, 2], [1], [3]):
        parts.update(made[rows], photographs[rows], [names(6)[row] for row in rows])
    found = parts.compute()
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-6)
    assert found.items == whole.items
    order = np.random.default_rng(0).permutation(6)
    permuted = create_metric(metric)
    permuted.update(made[order], photographs[order], [names(6)[row] for row in order])
    np.testing.assert_allclose(permuted.compute().scores, whole.scores, atol=1e-6)


def test_the_offline_network_gives_real_numbers(photographs: Array) -> None:
    mirrored = np.ascontiguousarray(photographs[:, :, ::-1])
    found = outcome("efficientnet-lite0/strict-v1", mirrored, photographs)
    assert found.value > 0.9
    assert found.value > outcome("two-way-pixels/strict-v1", mirrored, photographs).value
    assert len(found.weights_hash) == 16
    grey = outcome("efficientnet-lite0/strict-v1", np.full_like(photographs, 128), photographs)
    assert grey.value == pytest.approx(0.5, abs=1e-9)
    assert grey.collapsed
    distance = outcome("efficientnet-lite0-distance/strict-v1", mirrored, photographs)
    assert distance.value < 0.5
    same = outcome("efficientnet-lite0-distance/strict-v1", photographs, photographs)
    np.testing.assert_allclose(same.scores, 0, atol=1e-12)
    # The functions use another size rule for oblong pictures, and the same network.
    np.testing.assert_allclose(distance.scores, feature_distance(mirrored, photographs), atol=2e-3)
    np.testing.assert_allclose(
        found.scores, feature_identification(mirrored, photographs).scores, atol=1e-9
    )


def test_more_ways_in_closed_form(truth: Array, noisy: Array) -> None:
    spec = METRICS["50-way-pixels/strict-v1"].spec.model_copy(update={"ways": 4, "chance": 0.25})
    metric = FeatureIdentification(spec, ways=4)
    metric.update(noisy, truth, names(8))
    from phosphene.pipelines.metrics import identify_among

    np.testing.assert_allclose(
        metric.compute().scores, identify_among(noisy, truth, ways=4).scores, rtol=1e-12
    )
    few = outcome("50-way-pixels/strict-v1", noisy, truth)
    assert few.value is None
    assert few.note == "8 pictures: too few for 50 candidates"


def test_truths_are_cached_and_reconstructions_are_not(tmp_path: Path, photographs: Array) -> None:
    made = np.ascontiguousarray(photographs[:, ::-1])
    values = []
    for _ in range(2):
        metric = create_metric("efficientnet-lite0/strict-v1", cache=tmp_path)
        metric.update(made, photographs, names(6))
        values.append(metric.compute().scores)
        assert len(list(tmp_path.rglob("*.npy"))) == 6
    np.testing.assert_array_equal(*values)
    plain = outcome("efficientnet-lite0/strict-v1", made, photographs)
    np.testing.assert_allclose(values[0], plain.scores, atol=1e-6)


def test_pixels_need_one_size(truth: Array) -> None:
    metric = create_metric("two-way-pixels/strict-v1")
    metric.update(truth[:4], truth[:4], names(4))
    smaller = truth[4:, :6, :5]
    metric.update(smaller, smaller, names(8)[4:])
    with pytest.raises((InputError, RuntimeError)):
        metric.compute()
