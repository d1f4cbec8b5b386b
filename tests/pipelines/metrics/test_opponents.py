from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from phosphene.errors import InputError
from phosphene.pipelines.metrics.opponents import colour_agreement, edge_agreement

Array = np.ndarray[Any, Any]


@pytest.fixture
def truth() -> Array:
    """Four coloured pictures of 32 x 32: smooth patches within what sRGB can show."""
    rng = np.random.default_rng(4)
    chroma = np.kron(rng.uniform(-25, 25, (4, 4, 4, 2)), np.ones((1, 8, 8, 1)))
    lab = np.concatenate([np.full((4, 32, 32, 1), 60.0), chroma], axis=-1)
    return np.rint(255 * lab2rgb(lab)).astype(np.uint8)


def changed(truth: Array, *, chroma: float = 1.0, lightness: float = 0.0) -> Array:
    lab = rgb2lab(truth)
    lab[..., 1:] *= chroma
    lab[..., 0] += lightness
    return np.rint(255 * lab2rgb(lab)).astype(np.uint8)


def test_colours_agree_whatever_the_lightness(truth: Array) -> None:
    np.testing.assert_allclose(colour_agreement(truth, truth), 1)
    np.testing.assert_allclose(colour_agreement(changed(truth, lightness=12), truth), 1, atol=0.02)
    np.testing.assert_allclose(colour_agreement(changed(truth, chroma=0), truth), 0, atol=0.01)
    # c' = c / 2 gives 2 (1/2) / (1 + 1/4)
    np.testing.assert_allclose(colour_agreement(changed(truth, chroma=0.5), truth), 0.8, atol=0.01)
    np.testing.assert_allclose(colour_agreement(changed(truth, chroma=-1), truth), -1, atol=0.01)


def test_colours_at_the_size_they_are_compared_in_are_a_plain_sum() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, 3, 16, 16, 3), dtype=np.uint8)
    x, y = (rgb2lab(one)[..., 1:] for one in (a, b))
    expected = 2 * (x * y).sum((1, 2, 3)) / (np.square(x) + np.square(y)).sum((1, 2, 3))
    np.testing.assert_allclose(colour_agreement(a, b), expected, rtol=1e-12)


def test_a_grey_truth_has_no_colour_to_agree_with(truth: Array) -> None:
    grey = np.repeat(truth[..., :1], 3, axis=-1)
    assert np.isnan(colour_agreement(truth, grey)).all()
    np.testing.assert_allclose(colour_agreement(grey, truth), 0, atol=0.01)
    assert np.isnan(colour_agreement(truth, truth[..., :1])).all()  # one channel is grey


def test_edges_agree_whatever_colours_and_polarity(truth: Array) -> None:
    squares = np.zeros((2, 64, 64, 3), np.uint8)
    squares[0, 16:40, 20:44], squares[1, 8:50, 30:60] = 200, 90
    np.testing.assert_allclose(edge_agreement(squares, squares), 1)
    np.testing.assert_allclose(edge_agreement(255 - squares, squares), 1)
    np.testing.assert_allclose(edge_agreement(squares // 2, squares), 1)
    flat = np.full_like(squares, 128)
    assert edge_agreement(flat, squares).tolist() == [0, 0]
    assert edge_agreement(squares, flat).tolist() == [0, 0]
    one_off, far_off = (edge_agreement(np.roll(squares, k, axis=2), squares) for k in (1, 9))
    assert (one_off > 0.7).all()
    assert (far_off < 0.6).all()
    assert (edge_agreement(squares[::-1], squares) < 0.3).all()


def test_pictures_have_to_match(truth: Array) -> None:
    for measure in (colour_agreement, edge_agreement):
        with pytest.raises(InputError, match="equal shape"):
            measure(truth[:2], truth)
