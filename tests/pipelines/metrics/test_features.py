from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import pytest
from skimage import data

from phosphene.data.pictures import fit_pictures
from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    feature_distance,
    feature_identification,
    identify_among,
    picture_features,
    two_way_identification,
)

Array = np.ndarray[Any, Any]
PIXELS = PixelTarget(size=8)


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(5).integers(0, 256, size=(8, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def noisy(truth: Array) -> Array:
    noise = np.random.default_rng(6).integers(0, 256, size=truth.shape, dtype=np.uint8)
    return (0.08 * truth + 0.92 * noise).astype(np.uint8)


@pytest.fixture(scope="module")
def network() -> EfficientNetTarget:
    return EfficientNetTarget(size=64)


def photographs() -> Array:
    """Return twelve cuts of six photographs (12, 64, 64, 3)."""
    scenes = [data.chelsea(), data.coffee(), data.astronaut(), data.rocket(), data.retina()]
    scenes.append(data.immunohistochemistry())
    return np.concatenate([fit_pictures([s[:, :200], s], size=64, channels=3) for s in scenes])


def test_pixels_as_features_are_pictures(truth: Array, noisy: Array) -> None:
    found = feature_identification(noisy, truth, network=PIXELS)
    np.testing.assert_array_equal(found.scores, two_way_identification(noisy, truth).scores)
    assert 0.5 < found.mean < 1
    assert found.chance == 0.5
    r = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(noisy, truth, strict=True)]
    distance = feature_distance(noisy, truth, network=PIXELS)
    np.testing.assert_allclose(distance, 1 - np.array(r), atol=1e-6)
    np.testing.assert_allclose(feature_distance(truth, truth, network=PIXELS), 0, atol=1e-12)
    negative = feature_distance(255 - truth, truth, network=PIXELS)
    np.testing.assert_allclose(negative, 2, atol=1e-6)


def test_photographs_are_told_apart_by_what_is_on_them(network: EfficientNetTarget) -> None:
    shown = photographs()
    same = feature_identification(shown, shown, network=network, ways=12)
    assert same.scores.tolist() == [1.0] * 12
    mirrored = np.ascontiguousarray(shown[:, :, ::-1])
    by_features = feature_identification(mirrored, shown, network=network)
    by_pixels = two_way_identification(mirrored, shown)
    assert by_features.mean > 0.97
    assert by_features.mean > by_pixels.mean
    assert not by_features.collapsed
    low, high = bootstrap_interval(by_features.scores)
    assert low <= by_features.mean <= high
    distance = feature_distance(mirrored, shown, network=network)
    others = feature_distance(np.roll(shown, 4, axis=0), shown, network=network)
    assert distance.shape == (12,)
    assert distance.max() < others.mean()


def test_one_reconstruction_for_all_is_chance(network: EfficientNetTarget) -> None:
    shown = photographs()
    for constant in (np.full_like(shown, 128), np.broadcast_to(shown[3], shown.shape)):
        for ways in (2, 3, 10):
            found = feature_identification(constant, shown, network=network, ways=ways)
            assert found.mean == pytest.approx(1 / ways, abs=1e-12)
            assert found.chance == 1 / ways
            assert found.collapsed


def test_features_without_any_difference_tie_everywhere(truth: Array) -> None:
    flat = np.full_like(truth, 128)
    for ways in (2, 5):
        found = feature_identification(flat, truth, network=PIXELS, ways=ways)
        np.testing.assert_allclose(found.scores, np.full(8, 1 / ways), rtol=1e-15)
    np.testing.assert_array_equal(feature_distance(flat, truth, network=PIXELS), np.ones(8))


def test_equal_pictures_have_equal_features(network: EfficientNetTarget) -> None:
    shown = photographs()[:5]
    found = picture_features(np.concatenate([shown, shown[[2, 0]]]), network=network)
    assert found.shape == (7, 1280)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[5:], found[[2, 0]])
    np.testing.assert_allclose(found[:5], network.encode(shown).numpy(), atol=1e-4)
    by_name = picture_features(shown, network="pixels")
    np.testing.assert_array_equal(by_name, PixelTarget().encode(shown).numpy())


def test_more_ways_are_harder_and_closed_form(truth: Array, noisy: Array) -> None:
    """Without ties, item of rank r: C(n - r, ways - 1) / C(n - 1, ways - 1)."""
    r = np.corrcoef(truth.reshape(8, -1), noisy.reshape(8, -1))[:8, 8:]
    ranks = 1 + (r > np.diag(r)[None, :]).sum(axis=0)
    assert ranks.max() > 1
    for ways in range(2, 9):
        found = identify_among(noisy, truth, ways=ways)
        expected = [comb(8 - rank, ways - 1) / comb(7, ways - 1) for rank in ranks]
        np.testing.assert_allclose(found.scores, expected, rtol=1e-12)
        assert found.chance == 1 / ways


def test_permuting_items_permutes_scores(truth: Array, noisy: Array) -> None:
    order = np.random.default_rng(2).permutation(8)
    for ways in (2, 4):
        one = feature_identification(noisy, truth, network=PIXELS, ways=ways).scores
        two = feature_identification(noisy[order], truth[order], network=PIXELS, ways=ways).scores
        np.testing.assert_array_equal(one[order], two)
    distance = feature_distance(noisy, truth, network=PIXELS)
    np.testing.assert_array_equal(
        distance[order], feature_distance(noisy[order], truth[order], network=PIXELS)
    )


def test_groups_and_repeats(truth: Array, noisy: Array) -> None:
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    for ways, comparable in ((2, 7), (3, 7), (4, 4), (5, 0)):
        found = identify_among(truth, truth, ways=ways, groups=groups)
        assert found.scores[:comparable].tolist() == [1.0] * comparable
        assert np.isnan(found.scores[comparable:]).all()
    # Every picture twice: the others are drawn among pictures, so nothing changes.
    names = np.tile(np.arange(8), 2)
    for ways in (2, 4):
        once = identify_among(noisy, truth, ways=ways).scores
        twice = identify_among(
            np.tile(noisy, (2, 1, 1, 1)), np.tile(truth, (2, 1, 1, 1)), ways=ways, pictures=names
        )
        np.testing.assert_allclose(twice.scores, np.tile(once, 2), rtol=1e-12)


def test_what_cannot_be_compared(truth: Array) -> None:
    with pytest.raises(InputError, match="equal shape"):
        feature_identification(truth[:7], truth, network=PIXELS)
    with pytest.raises(InputError, match="uint8 pictures"):
        feature_distance(truth / 255, truth / 255, network=PIXELS)
    with pytest.raises(UsageError, match="did you mean 'efficientnet-lite0'"):
        feature_identification(truth, truth, network="efficientnet-lite")
    for ways in (1, 9):
        with pytest.raises(UsageError, match=f"`ways` is {ways}"):
            identify_among(truth, truth, ways=ways)
