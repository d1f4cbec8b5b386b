"""Continuous BOLD of movies: timing, units, noise, and what is written."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from phosphene.data.movies import MovieDataset
from phosphene.data.scenes import render_movie, sample_movie
from phosphene.data.virtual.haemodynamics import run_model
from phosphene.data.virtual.movies import MovieSubject, simulate_run
from phosphene.data.virtual.movies.subject import STEP, blood_responses
from phosphene.data.virtual.movies.writing import MoviePlan, run_path, write_movie_experiment
from phosphene.errors import InputError, UsageError


@pytest.fixture(scope="module")
def subject() -> MovieSubject:
    return MovieSubject("01")


def test_a_picture_of_three_seconds_gives_the_response_of_the_picture_experiment() -> None:
    responses = blood_responses(0.0, 120)
    steps = round(3 / STEP)
    sustained = np.stack([np.convolve(row, np.ones(steps))[:120] for row in responses])
    np.testing.assert_allclose(sustained.max(axis=1), 1, atol=0.01)
    # Against the design of the picture experiment, whose pictures are on for 3 s.
    design = run_model(0.25, 1).design[:, :, 0]
    onset = run_model(0.25, 1).onsets[0]
    first = round(onset / 0.25)
    np.testing.assert_allclose(
        sustained[:, :60], design[:, first : first + 60], atol=0.06
    )  # times of drives are their middles


def test_neurons_without_noise_come_through_blood_at_their_delay(subject: MovieSubject) -> None:
    neural = np.zeros((240, subject.n_voxels), dtype=np.float32)
    neural[120:132] = 1  # 3 s from second 30 on
    run = simulate_run(subject, neural, seed=0, name="impulse")
    rise = run.signal - run.signal[10:20].mean(axis=0)
    peak = rise.argmax(axis=0) * subject.tr - run.onset - 30
    # Peaks of the library lie 4 to 6 s after a brief event, half the duration later for 3 s.
    assert 4.5 < np.median(peak) < 8
    np.testing.assert_allclose(rise.max(axis=0), 1, atol=0.15)  # volumes miss the peak


def test_runs_are_the_same_for_a_name_and_others_for_another(subject: MovieSubject) -> None:
    neural = np.zeros((64, subject.n_voxels), dtype=np.float32)
    one, two = (simulate_run(subject, neural, seed=0, name="a") for _ in range(2))
    other = simulate_run(subject, neural, seed=0, name="b")
    np.testing.assert_array_equal(one.bold, two.bold)
    np.testing.assert_array_equal(one.signal, other.signal)
    assert np.corrcoef(one.bold[:, 0] - one.signal[:, 0], other.bold[:, 0])[0, 1] < 0.9


def test_motion_drives_the_motion_area_and_a_still_movie_does_not(subject: MovieSubject) -> None:
    movie = sample_movie(3, n_frames=16, fps=8, mean_shot=float("inf"))
    images = render_movie(movie).images
    moving = subject.neural(movie, images)
    still = subject.neural(movie, np.repeat(images[:1], 16, axis=0))
    area = subject.movie_anatomy.area_names == "MT"
    assert moving.shape == (8, subject.n_voxels)
    assert moving[1:, area].mean() > still[1:, area].mean() + 0.1
    with pytest.raises(InputError, match="a picture per frame"):
        subject.neural(movie, images[:5])


def test_what_is_written_is_read_as_runs_with_the_right_times(
    tmp_path: Path, subject: MovieSubject
) -> None:
    plan = MoviePlan(movies=1, training_movies=1, seconds=8, mean_shot=2.0, seed=5)
    first = write_movie_experiment(tmp_path / "sim", subject, plan)
    assert first == run_path(tmp_path / "sim", "01", 2)
    image = nib.load(first)
    assert image.header.get_zooms()[3] == 1.0
    assert image.header.get_xyzt_units() == ("mm", "sec")
    data = MovieDataset.open(tmp_path / "sim")
    assert data.subjects == ["01"]
    train, test = data.runs("01")
    assert (train.recording.trials["split"].iloc[0], test.segment) == ("train", "test-000")
    assert (test.tr, test.onset, test.duration) == (1.0, 4.0, 8.0)
    assert test.recording.data.shape[1] == subject.n_voxels
    flow = np.load(tmp_path / "sim" / "truth" / "flow" / "test-000.npy")
    assert flow.shape == (64, 32, 32, 2)
    scene = plan.scenes()[1][2]
    assert test.cuts == tuple(frame / 8 for frame in scene.cuts)
    signal = np.load(tmp_path / "sim/truth/signal/sub-01_task-movies_run-02.npy")
    assert signal.shape == test.recording.data.shape
    clips = test.clips(2.0, delay=4.0)
    assert clips.rows[0].tolist() == [8, 9]


@pytest.mark.parametrize(
    "options", [{"movies": 0}, {"seconds": 2}, {"fps": 5.0}, {"repetitions": 0}]
)
def test_impossible_plans(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MoviePlan(**options)
