"""Planted receptive fields are found, what was not shown stays unknown, noise has no field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from phosphene.encoders.brain.blood_response import blood_response, weigh_responses
from phosphene.encoders.brain.receptive_fields import (
    ReceptiveFieldGrid,
    ReceptiveFields,
    stretches,
)
from phosphene.encoders.brain.voxel_noise import VoxelNoise
from phosphene.errors import InputError

Array = np.ndarray[Any, Any]
TR = 1.5
Y, X = np.mgrid[:12, :16]
PIXELS = np.c_[X.ravel() - 7.5, 5.5 - Y.ravel()].astype(float)
CENTRES = np.array([[-3.0, 2.0], [0.5, -1.0], [4.0, 0.0]])


def sweep(kind: str) -> Array:
    """Bars two pixels wide cross the screen of 12 x 16 pixels."""
    n = 16 if kind in "rl" else 12
    frames = np.zeros((n, 12, 16))
    for step in range(n):
        place = step if kind in "rd" else n - 1 - step
        if kind in "rl":
            frames[step, :, max(0, place - 1) : place + 1] = 1
        else:
            frames[step, max(0, place - 1) : place + 1] = 1
    return frames.reshape(n, -1)


def design(kinds: str) -> Array:
    parts = [np.zeros((6, 192))]
    for kind in kinds:
        parts += [sweep(kind), np.zeros((8, 192))]
    return np.concatenate(parts)


def volumes(frames: Array, peak: float, noise: float = 0.1, seed: int = 0) -> Array:
    """Three voxels with fields and three without."""
    rng = np.random.default_rng(seed)
    fields = np.exp(-0.5 * ((PIXELS[:, None] - CENTRES[None]) ** 2).sum(axis=2)) / (2 * np.pi)
    response = blood_response(TR, peak)
    driven = np.stack([np.convolve(d, response)[: len(frames)] for d in (frames @ fields).T], 1)
    data = np.concatenate([2 * driven, np.zeros((len(frames), 3))], axis=1) + 5
    return data + noise * rng.normal(size=data.shape)


@pytest.fixture(scope="module")
def grid() -> ReceptiveFieldGrid:
    return ReceptiveFieldGrid.covering(PIXELS, steps=10, n_sizes=4)


def centres(fields: ReceptiveFields) -> Array:
    weights = fields.weights_ / fields.weights_.sum(axis=0)
    found: Array = weights.T @ fields.grid.centre
    return found


def test_planted_fields_are_found(grid: ReceptiveFieldGrid) -> None:
    frames = design("rlud")
    data = volumes(frames, 4.5)
    fields = ReceptiveFields(grid, blood_response(TR, 4.5)).fit(
        data, grid.drive(frames), np.arange(len(data))
    )
    np.testing.assert_allclose(centres(fields)[:3], CENTRES, atol=0.35)
    assert (fields.log_odds_[:3] > 20).all()
    assert (fields.log_odds_[3:] < 3).all()
    predicted = fields.predict(grid.drive(frames), np.arange(len(data)))
    assert np.corrcoef(predicted[:, 0], data[:, 0])[0, 1] > 0.9
    assert predicted[:, 3:].std() < 0.05
    kept = ReceptiveFields(grid, blood_response(TR, 4.5)).fit(
        data, grid.drive(frames), np.arange(len(data)), most=3
    )
    assert kept.voxels_.tolist() == [0, 1, 2]


def test_what_was_not_shown_stays_unknown(grid: ReceptiveFieldGrid) -> None:
    frames = design("rlrl")
    data = volumes(frames, 4.5)
    fields = ReceptiveFields(grid, blood_response(TR, 4.5)).fit(
        data, grid.drive(frames), np.arange(len(data))
    )
    weights = fields.weights_[:, 0] / fields.weights_[:, 0].sum()
    mean = weights @ grid.centre
    spread = np.sqrt(weights @ (grid.centre - mean) ** 2)
    assert abs(mean[0] - CENTRES[0, 0]) < 0.4
    assert spread[1] > 3 * spread[0]
    assert abs(mean[1]) < 1  # up and down are alike


def test_a_voxel_alone_equals_itself_among_others(grid: ReceptiveFieldGrid) -> None:
    frames = design("rd")
    rows, data = np.arange(len(frames)), volumes(frames, 4.5)
    response = blood_response(TR, 4.5)
    both = ReceptiveFields(grid, response).fit(data, grid.drive(frames), rows)
    one = ReceptiveFields(grid, response).fit(
        data, grid.drive(frames), rows, voxels=np.array([1]), population=both.population_
    )
    np.testing.assert_allclose(one.weights_[:, 0], both.weights_[:, 1], atol=1e-5)


def test_the_kernel_adds_up_to_the_prediction(grid: ReceptiveFieldGrid) -> None:
    frames = design("rd")
    rows, data = np.arange(len(frames)), volumes(frames, 4.5)
    fields = ReceptiveFields(grid, blood_response(TR, 4.5)).fit(data, grid.drive(frames), rows)
    kernel = fields.kernel(grid.drive(frames))
    summed = np.tile(fields.baseline_, (len(frames), 1))
    for lag in range(len(kernel)):
        summed[lag:] += kernel[lag, : len(frames) - lag]
    np.testing.assert_allclose(summed, fields.predict(grid.drive(frames), rows), atol=1e-4)


def test_the_delay_of_the_blood_is_found_where_bars_go_both_ways(
    grid: ReceptiveFieldGrid,
) -> None:
    frames = design("rlud")
    rows, data = np.arange(len(frames)), volumes(frames, 3.5)
    fields = ReceptiveFields(grid, blood_response(TR, 4.0)).fit(
        data, grid.drive(frames), rows, most=3
    )
    found = weigh_responses(fields, data, grid.drive(frames), rows, TR, independent=3)
    assert abs(found.mean_peak - 3.5) < 0.5
    assert found.probability.sum() == pytest.approx(1)


def test_responses_are_responses() -> None:
    for peak in (2.5, 4.0, 6.0):
        response = blood_response(0.5, peak)
        assert response.sum() == pytest.approx(1)
        assert abs(response.argmax() * 0.5 - peak) <= 0.5
        assert response.min() < 0


def test_noise_is_whitened_as_its_covariance_says() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(9, 9)) + 2 * np.eye(9)
    residuals = rng.normal(size=(60, 9)) @ mixing
    pieces = stretches(np.r_[np.arange(30), np.arange(40, 70)])
    noise = VoxelNoise().fit(residuals, pieces)
    z = noise.innovations(residuals, pieces) / noise.scale_
    expected = ledoit_wolf_shrinkage(z, assume_centered=True)
    assert noise.shrinkage_ == pytest.approx(expected, abs=0.01)
    covariance = (1 - noise.shrinkage_) * z.T @ z / 60
    covariance += noise.shrinkage_ * np.trace(z.T @ z / 60) / 9 * np.eye(9)
    whitener = noise.whiten(np.diag(noise.scale_))  # rows: what becomes of each voxel
    np.testing.assert_allclose(whitener @ covariance @ whitener.T, np.eye(9), atol=1e-8)
    assert 1 < noise.independent_ <= 9


def test_without_fields_or_volumes_it_says_so(grid: ReceptiveFieldGrid) -> None:
    frames = design("rd")
    noise = np.random.default_rng(0).normal(size=(len(frames), 5))
    fields = ReceptiveFields(grid, blood_response(TR, 4.5))
    with pytest.raises(InputError, match="none of 5 voxels"):
        fields.fit(noise, grid.drive(frames), np.arange(len(frames)), most=0)
    with pytest.raises(InputError, match="5 training volumes"):
        fields.fit(noise[:5], grid.drive(frames[:5]), np.arange(5))
