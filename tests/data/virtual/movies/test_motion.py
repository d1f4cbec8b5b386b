"""Motion energy against gratings whose direction and speed are known; the area of motion."""

from __future__ import annotations

import numpy as np
import pytest

from phosphene.data.virtual import VirtualSubject
from phosphene.data.virtual.early_vision import FREQUENCIES
from phosphene.data.virtual.movies import MOVIE_AREA_NAMES, MovieSubject, motion_channels
from phosphene.data.virtual.movies.frozen import MOVIE_SUBJECT_HASH, movie_subject_hash
from phosphene.data.virtual.movies.motion_energy import DIRECTIONS
from phosphene.errors import InputError

PIXELS_PER_DEGREE = 64 / 8.4


def grating(direction: np.ndarray, shift: float, frequency: float = FREQUENCIES[1]) -> np.ndarray:
    """Return a grating (1, 64, 64, 3) that has moved by ``shift`` pixels along a direction."""
    place = np.arange(64) + 0.5
    along = place[None] * direction[0] + place[:, None] * direction[1] - shift
    wave = 0.5 + 0.3 * np.sin(2 * np.pi * frequency / PIXELS_PER_DEGREE * along)
    return np.repeat((wave * 255).astype(np.uint8)[None, ..., None], 3, axis=-1)


@pytest.mark.parametrize("number", range(8))
def test_the_strongest_channel_is_that_of_the_direction_of_motion(number: int) -> None:
    towards = DIRECTIONS[number]
    channels = motion_channels(grating(towards, 1.0), grating(towards, 0.0))[0]
    inner = channels[:, :, 8:24, 8:24].mean(axis=(2, 3))
    assert np.unravel_index(inner.argmax(), inner.shape) == (1, number)
    opposite = inner[1, (number + 4) % 8]
    assert opposite < 0.02 * inner[1, number]


def test_energy_follows_the_sine_of_the_phase_that_a_step_takes() -> None:
    towards = DIRECTIONS[0]
    period = PIXELS_PER_DEGREE / FREQUENCIES[1]
    steps = np.array([1, 2, 3]) / 12 * period
    measured = [
        motion_channels(grating(towards, step), grating(towards, 0.0))[0, 1, 0, 8:24, 8:24].mean()
        for step in steps
    ]
    expected = np.sin(2 * np.pi * steps / period)
    np.testing.assert_allclose(np.array(measured) / measured[2], expected, atol=0.03)


def test_what_stands_still_or_flickers_has_no_direction() -> None:
    still = grating(DIRECTIONS[0], 0.0)
    assert motion_channels(still, still).max() < 1e-5
    flicker = motion_channels(255 - still, still)  # counterphase: half a period either way
    assert flicker.mean() < 0.02 * motion_channels(grating(DIRECTIONS[0], 1.0), still).mean() + 0.02


def test_other_frames_are_refused() -> None:
    with pytest.raises(InputError, match="frames of shape"):
        motion_channels(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 32, 32, 3), np.uint8))


def test_the_motion_area_lies_on_free_cortex_and_pictures_areas_stay_as_they_are() -> None:
    subject, pictures = MovieSubject("01"), VirtualSubject("01")
    movie = subject.movie_anatomy
    assert (movie.area_names == "MT").sum() > 100
    np.testing.assert_array_equal(
        movie.anatomy.space.indices[movie.still], pictures.anatomy.space.indices
    )
    np.testing.assert_array_equal(movie.anatomy.rf_x[movie.still], pictures.anatomy.rf_x)
    assert np.all(np.diff(movie.anatomy.space.indices) > 0)
    # Left cortex sees the right half of the field more than the left one.
    own = movie.anatomy.area == len(MOVIE_AREA_NAMES)
    left = movie.anatomy.hemisphere == 0
    assert movie.anatomy.rf_x[own & left].mean() > 0.5
    assert movie.anatomy.rf_x[own & ~left].mean() < -0.5


def test_subjects_are_frozen() -> None:
    assert movie_subject_hash() == MOVIE_SUBJECT_HASH
