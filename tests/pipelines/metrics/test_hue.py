from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.color import hsv2rgb

from phosphene.pipelines.metrics.hue import HueCorrelation, LegacyHue, circular_correlation

Array = np.ndarray[Any, Any]


def coloured(hue: Array, saturation: Array | float = 1.0, value: float = 1.0) -> Array:
    """Return one clip of one frame (1, 1, H, W, 3) with the hue of 0..1 in each pixel."""
    hsv = np.stack(np.broadcast_arrays(hue % 1, saturation, value), axis=-1)
    return np.rint(hsv2rgb(hsv) * 255).astype(np.uint8)[None, None]


def test_known_value() -> None:
    """Wind directions at 6 a.m. and noon on 21 days; Fisher 1993, *Circular data*, appendix B."""
    six = [356, 97, 211, 232, 343, 292, 157, 302, 335, 302, 324,
           85, 324, 340, 157, 238, 254, 146, 232, 122, 329]  # fmt: skip
    noon = [119, 162, 221, 259, 270, 29, 97, 292, 40, 313, 94,
            45, 47, 108, 221, 270, 119, 248, 270, 45, 23]  # fmt: skip
    found = circular_correlation(np.radians(six), np.radians(noon))
    assert found == pytest.approx(0.2704648826748831, abs=1e-12)


def test_by_hand() -> None:
    angles = np.radians([350.0, 10.0, 40.0])
    assert circular_correlation(angles, angles) == pytest.approx(1)
    assert circular_correlation(angles, angles + 2.0) == pytest.approx(1)
    assert circular_correlation(angles, 1 - angles) == pytest.approx(-1)
    # Small angles: the usual correlation.
    rng = np.random.default_rng(0)
    a, b = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 4000).T * 1e-3
    assert circular_correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
    # A weight of two is a pixel that stands twice.
    twice = circular_correlation(np.append(a[:9], a[3]), np.append(b[:9], b[3]))
    weights = np.where(np.arange(9) == 3, 2, 1)
    assert circular_correlation(a[:9], b[:9], weights) == pytest.approx(twice)
    assert circular_correlation(np.zeros(3), angles) == 0
    assert circular_correlation(angles, angles, np.zeros(3)) == 0


def test_independent_hues_correlate_nowhere_and_score_three_quarters_in_the_legacy_form() -> None:
    rng = np.random.default_rng(1)
    one, other = (coloured(rng.random((120, 120))) for _ in range(2))
    assert HueCorrelation().compare(one, other)[0] == pytest.approx(0, abs=0.03)
    assert LegacyHue().compare(one, other)[0] == pytest.approx(0.75, abs=0.01)


def test_hue_is_an_angle() -> None:
    """A hair's breadth on either side of red, or of cyan: far apart in the legacy form only."""
    rng = np.random.default_rng(2)
    layout = rng.normal(0, 0.06, (40, 40))
    for centre in (0.0, 1 / 3, 2 / 3):
        one, other = coloured(centre + layout), coloured(centre + layout + 0.003)
        assert HueCorrelation().compare(one, other)[0] > 0.99
    # Red and blue change places before the hue is taken, so that hues wrap at blue.
    wrapped = coloured(np.full((8, 8), 2 / 3 - 0.01)), coloured(np.full((8, 8), 2 / 3 + 0.01))
    steps = [LegacyHue().compare(*wrapped)[0], LegacyHue().compare(wrapped[0], wrapped[0])[0]]
    np.testing.assert_allclose(steps, 1, atol=1e-6)  # a cosine does not see a flat map's level
    halves = np.where(np.arange(8)[:, None] < 4, 2 / 3 - 0.01, 2 / 3 + 0.01) * np.ones((8, 8))
    assert LegacyHue().compare(coloured(halves), coloured(halves[::-1]))[0] < 0.1
    assert LegacyHue().compare(coloured(halves), coloured(halves))[0] == pytest.approx(1)


def test_grey_pixels_say_nothing() -> None:
    rng = np.random.default_rng(3)
    layout, other = rng.normal(0, 0.06, (2, 40, 40))
    left = np.arange(40)[None, :] < 20
    # To the right hues differ but one of the two is nearly grey.
    prediction = coloured(np.where(left, layout, other), np.where(left, 1.0, 0.02))
    assert HueCorrelation().compare(prediction, coloured(layout))[0] > 0.95
    grey = np.full_like(prediction, 128)
    assert HueCorrelation().compare(grey, prediction)[0] == 0


def test_legacy_looks_at_six_frames() -> None:
    rng = np.random.default_rng(4)
    clips = rng.integers(0, 256, (2, 8, 6, 6, 3), dtype=np.uint8)
    changed = clips.copy()
    changed[:, 6:] = 0
    measure = LegacyHue()
    assert measure.describe(clips).shape[1] == 6
    same = measure.compare(measure.describe(changed), measure.describe(clips))
    np.testing.assert_allclose(same, 1)
    assert HueCorrelation().compare(changed, clips).max() <= 0.76
    np.testing.assert_allclose(HueCorrelation().compare(clips, clips), 1)
