from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as reference
from torchmetrics.functional.image import structural_similarity_index_measure

from phosphene.errors import InputError
from phosphene.pipelines.metrics import (
    mean_squared_error,
    pixel_correlation,
    structural_similarity,
)
from phosphene.pipelines.metrics.pictures import gaussian_similarity, peak_signal_to_noise

Array = np.ndarray[Any, Any]


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    shape = (5, 9, 11, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


def test_closed_forms_of_correlation() -> None:
    ramp = np.linspace(0, 1, 24).reshape(1, 4, 6, 1)
    assert pixel_correlation(ramp, ramp)[0] == pytest.approx(1)
    assert pixel_correlation(0.2 + 0.5 * ramp, ramp)[0] == pytest.approx(1)
    assert pixel_correlation(1 - ramp, ramp)[0] == pytest.approx(-1)
    rows = np.broadcast_to(np.arange(4.0)[:, None, None], (1, 4, 6, 1))
    columns = np.broadcast_to(np.arange(6.0)[None, :, None], (1, 4, 6, 1))
    assert pixel_correlation(rows, columns)[0] == pytest.approx(0)  # orthogonal
    assert pixel_correlation(rows + columns, rows)[0] == pytest.approx(
        np.sqrt(1.25 / (1.25 + 35 / 12))  # variances of 0..3 and of 0..5
    )


def test_correlation_is_that_of_numpy(pair: tuple[Array, Array]) -> None:
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*pair, strict=True)]
    np.testing.assert_allclose(pixel_correlation(*pair), expected, atol=1e-12)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_picture_says_nothing(pair: tuple[Array, Array], level: int) -> None:
    flat = np.full_like(pair[0], level)
    assert pixel_correlation(flat, pair[1]).tolist() == [0.0] * 5
    assert pixel_correlation(pair[0], flat).tolist() == [0.0] * 5


def test_closed_forms_of_the_squared_error() -> None:
    black, white = np.zeros((2, 3, 4, 1), np.uint8), np.full((2, 3, 4, 1), 255, np.uint8)
    assert mean_squared_error(black, white).tolist() == [1, 1]
    assert mean_squared_error(black, black).tolist() == [0, 0]
    assert mean_squared_error(black, black + np.uint8(51))[0] == pytest.approx(0.04)
    half = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    assert mean_squared_error(half, np.zeros_like(half))[0] == 0.5
    # uint8 and its floats are the same picture
    assert mean_squared_error(white, np.ones((2, 3, 4, 1)))[0] == 0


def test_ssim_is_that_of_scikit_image(pair: tuple[Array, Array]) -> None:
    expected = [
        reference(a, b, channel_axis=-1, data_range=255) for a, b in zip(*pair, strict=True)
    ]
    np.testing.assert_allclose(structural_similarity(*pair), expected, atol=1e-12)
    np.testing.assert_allclose(structural_similarity(pair[0], pair[0]), 1)


def test_ssim_of_two_flat_pictures_has_a_closed_form() -> None:
    """No variance: what is left is (2ab + C1) / (a^2 + b^2 + C1), C1 = .01^2."""
    a, b = np.full((1, 8, 9, 1), 0.3), np.full((1, 8, 9, 1), 0.8)
    expected = (2 * 0.3 * 0.8 + 1e-4) / (0.3**2 + 0.8**2 + 1e-4)
    assert structural_similarity(a, b)[0] == pytest.approx(expected)


def test_every_pair_is_scored_by_itself(pair: tuple[Array, Array]) -> None:
    for measure in (pixel_correlation, mean_squared_error, structural_similarity):
        whole = measure(*pair)
        parts = [measure(pair[0][i : i + 1], pair[1][i : i + 1])[0] for i in range(5)]
        np.testing.assert_allclose(whole, parts, atol=1e-14)


def test_what_cannot_be_compared_is_refused(pair: tuple[Array, Array]) -> None:
    for measure in (pixel_correlation, mean_squared_error, structural_similarity):
        with pytest.raises(InputError, match="equal shape"):
            measure(pair[0], pair[1][:, :8])
        with pytest.raises(InputError, match="equal shape"):
            measure(pair[0][0], pair[1][0])
    with pytest.raises(InputError, match="7 x 7"):
        structural_similarity(pair[0][:, :6], pair[1][:, :6])


def test_psnr_is_that_of_scikit_image(pair: tuple[Array, Array]) -> None:
    expected = [peak_signal_noise_ratio(b, a) for a, b in zip(*pair, strict=True)]
    np.testing.assert_allclose(peak_signal_to_noise(*pair), expected, rtol=1e-12)
    # Equal pictures would be infinite: they get what rounding to 256 levels allows.
    largest = 10 * np.log10(12 * 255**2)
    np.testing.assert_allclose(peak_signal_to_noise(pair[0], pair[0]), largest)
    one = pair[0].copy()
    one[:, 0, 0, 0] ^= 1
    assert (peak_signal_to_noise(one, pair[0]) <= largest).all()


@pytest.fixture
def larger() -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 256, (4, 24, 30, 3), dtype=np.uint8)
    noise = rng.integers(0, 256, truth.shape, dtype=np.uint8)
    return (0.6 * truth + 0.4 * noise).astype(np.uint8), truth


def test_gaussian_ssim_is_that_of_torchmetrics(larger: tuple[Array, Array]) -> None:
    """Another library, whose mean keeps the margins (mirrored there): without them it is ours."""
    grey = [torch.tensor(x / 255 @ [0.2125, 0.7154, 0.0721])[:, None] for x in larger]
    whole, places = structural_similarity_index_measure(
        *grey, data_range=1.0, sigma=1.5, reduction="none", return_full_image=True
    )
    found = gaussian_similarity(*larger)
    np.testing.assert_allclose(found, places[:, 0, 5:-5, 5:-5].mean((1, 2)).numpy(), atol=1e-6)
    assert np.abs(found - whole.numpy()).max() > 1e-3
    np.testing.assert_allclose(gaussian_similarity(larger[1], larger[1]), 1)
    with pytest.raises(InputError, match="11 x 11"):
        gaussian_similarity(larger[0][:, :10], larger[1][:, :10])


def test_ssim_rewards_what_says_nothing(larger: tuple[Array, Array]) -> None:
    """A blurred picture beats a noisy copy of the truth: why a grey control stands beside it."""
    from skimage.filters import gaussian

    smooth = np.stack([gaussian(one, 4, channel_axis=-1) for one in larger[1] / 255])
    truth = (255 * smooth).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 40, truth.shape)
    noisy = np.clip(truth + noise, 0, 255).astype(np.uint8)
    grey = np.full_like(truth, round(float(truth.mean())))
    assert gaussian_similarity(grey, truth).mean() > gaussian_similarity(noisy, truth).mean()
    assert pixel_correlation(noisy, truth).mean() > pixel_correlation(grey, truth).mean()
