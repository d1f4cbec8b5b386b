from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage import data

from phosphene.data.pictures import fit_pictures
from phosphene.data.scenes import render_movie, sample_movie
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics.clips import still_clips
from phosphene.pipelines.metrics.optical_flow import (
    FlowError,
    angular_error,
    end_point_error,
    estimate_flow,
)

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def shifted() -> Array:
    """Return a photograph that moves by (2, 1) pixels to the right and down (1, 2, 48, 48, 3)."""
    photo = fit_pictures([data.astronaut()], size=64, channels=3)[0]
    return np.stack([photo[8:56, 8:56], photo[7:55, 6:54]])[None]


def test_end_point_error_by_hand() -> None:
    truth = np.zeros((2, 1, 2, 2, 2))
    truth[0, 0, :, :, 0] = 3.0
    found = truth.copy()
    found[0, 0, 0, 0] = [3, 4]
    assert end_point_error(found, truth).tolist() == [1.0, 0.0]
    assert end_point_error(np.zeros_like(truth), truth).tolist() == [3.0, 0.0]
    seen = np.zeros(truth.shape[:-1], dtype=bool)
    seen[0, 0, 0, 0] = True
    np.testing.assert_array_equal(end_point_error(found, truth, visible=seen), [4.0, np.nan])


def test_the_angle_is_another_number() -> None:
    """Published code prints the angle in the place of the distance: here they have two names."""
    truth = np.zeros((3, 1, 2, 2, 2))
    truth[1, ..., 0], truth[2, ..., 0] = 1, 8
    found = np.zeros_like(truth)
    found[2, ..., 0] = 7
    np.testing.assert_allclose(end_point_error(found, truth), [0, 1, 1])
    angles = angular_error(found, truth)
    np.testing.assert_allclose(angles[:2], [0, 45], atol=1e-9)
    # As far off in pixels, hardly in angle: the fast motion is nearly right.
    assert angles[2] == pytest.approx(np.degrees(np.arctan(8) - np.arctan(7)))
    tiny = angular_error(truth + np.array([1e-9, 0]), truth)
    assert 0 < tiny[1] < 1e-6


def test_a_shift_is_estimated(shifted: Array) -> None:
    flow = estimate_flow(shifted)
    assert flow.shape == (1, 1, 48, 48, 2)
    inner = flow[0, 0, 8:40, 8:40]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), [2, 1], atol=0.15)


def test_true_flow_of_rendered_scenes_is_estimated_better_than_by_none() -> None:
    """The renderer knows where every point goes."""
    movie = render_movie(sample_movie(0, n_frames=3, mean_shot=float("inf"), seed=3), 48)
    truth, seen = movie.flow[None, :-1], movie.visible[None, :-1]
    found = estimate_flow(movie.images[None])
    error = end_point_error(found, truth, visible=seen)
    none = end_point_error(np.zeros_like(truth), truth, visible=seen)
    assert none[0] > 0.3
    assert error[0] < 0.97 * none[0]
    assert end_point_error(truth, truth)[0] == 0
    backwards = end_point_error(-truth, truth, visible=seen)
    np.testing.assert_allclose(backwards, 2 * none, rtol=1e-6)


def test_a_still_scores_the_length_of_the_true_flow(shifted: Array) -> None:
    measure = FlowError(size=32)
    truth = measure.describe(shifted)
    still = measure.describe(still_clips(shifted))
    np.testing.assert_array_equal(still, 0)
    length = np.linalg.norm(truth, axis=-1).mean()
    assert measure.compare(still, truth)[0] == pytest.approx(length)
    assert measure.compare(truth, truth)[0] == 0


def test_what_has_no_flow(shifted: Array) -> None:
    flow = np.zeros((1, 1, 4, 4, 2))
    with pytest.raises(InputError, match="equal shape"):
        end_point_error(flow, flow[..., 0])
    with pytest.raises(InputError, match="one value per pixel"):
        end_point_error(flow, flow, visible=np.ones((1, 1, 4, 3)))
    with pytest.raises(InputError, match="at least two frames"):
        estimate_flow(shifted[:, :1])
    with pytest.raises(UsageError, match="`size` is 8"):
        FlowError(size=8)
