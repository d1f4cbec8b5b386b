"""Clips and volumes meet in absolute seconds of the movie, whatever was trimmed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.data.movies import MovieRun, scene_groups
from phosphene.data.splits import GroupFolds
from phosphene.errors import InputError, UsageError
from phosphene.trials import complete_trials
from phosphene.types import Recording


def recording(n_volumes: int, data: np.ndarray | None = None) -> Recording:
    values = np.zeros((n_volumes, 3), dtype=np.float32) if data is None else data
    values = values + np.arange(n_volumes, dtype=np.float32)[:, None]
    return Recording(values, "fmri", "01", complete_trials(None, n_volumes))


def movie_run(n_volumes: int, tr: float = 2.0, **timing: object) -> MovieRun:
    return MovieRun(recording(n_volumes), "seg1", tr, **timing)


def test_volumes_of_both_kinds_of_runs_of_one_study_have_the_same_absolute_times() -> None:
    # 245 volumes: the scanner started 2 s into the movie; 246: together with it.
    late = movie_run(245, onset=-2.0, duration=480.0)
    together = movie_run(246, onset=0.0, duration=480.0)
    clips = [run.clips(2.0, delay=4.0) for run in (late, together)]
    assert [len(part) for part in clips] == [240, 240]
    for part in clips:
        np.testing.assert_array_equal(part.times[:, 0], part.start + 4.0)
    # What the authors kept after trimming: from the second volume of one, the third of the other.
    assert clips[0].rows[0].tolist() == [1]
    assert clips[1].rows[0].tolist() == [2]


def test_a_trimmed_array_is_a_run_whose_movie_began_before_it() -> None:
    trimmed = movie_run(240, onset=-4.0, duration=480.0)
    clips = trimmed.clips(2.0, delay=4.0)
    assert clips.rows[:, 0].tolist() == list(range(240))
    # A further 4 s on top would read eight seconds after the clip.
    assert trimmed.clips(2.0, delay=8.0).rows[0].tolist() == [2]


def test_a_brief_event_is_found_at_its_delay() -> None:
    event, delay = 10.0, 5.0  # second of the movie; seconds until the response
    data = np.zeros((40, 3), dtype=np.float32)
    run = MovieRun(recording(40), "m", 1.0, onset=6.0)
    data[int(6 + event + delay)] = 100
    run = MovieRun(Recording(data, "fmri", "01", run.recording.trials), "m", 1.0, onset=6.0)
    clips = run.clips(2.0, delay=delay, window=1.0)
    response = run.windows(clips)[:, :, 0].max(axis=1)
    assert clips.start[response.argmax()] == event


@settings(deadline=None)
@given(
    tr=st.floats(0.5, 3.0),
    onset=st.floats(-20, 20),
    delay=st.floats(0, 8),
    window=st.floats(1, 8),
    length=st.floats(0.5, 4),
)
def test_every_window_starts_within_half_a_tr(
    tr: float, onset: float, delay: float, window: float, length: float
) -> None:
    run = movie_run(80, tr, onset=onset)
    try:
        clips = run.clips(length, delay=delay, window=window)
    except InputError:
        return  # nothing of the movie lies in the run
    assert np.all(np.abs(clips.times[:, 0] - clips.start - delay) <= tr / 2 + 1e-4)
    assert np.all(np.diff(clips.rows, axis=1) == 1)
    assert clips.rows.min() >= 0
    assert clips.rows.max() < 80
    np.testing.assert_allclose(run.windows(clips)[..., 0], clips.rows)


def test_clips_over_a_cut_are_marked_and_their_scenes_stay_together() -> None:
    run = movie_run(20, 1.0, cuts=[4.0, 7.0])
    clips = run.clips(2.0, delay=0.0)
    assert clips.start[clips.straddles].tolist() == [6.0]  # a cut at the seam is none inside
    assert clips.scene[:5].tolist() == [
        "seg1/0000",
        "seg1/0000",
        "seg1/0001",
        "seg1/0001-0002",
        "seg1/0002",
    ]
    groups = scene_groups(clips.scene.tolist())
    assert groups[2] == groups[3] == groups[4] != groups[0]
    for train, test in GroupFolds(2).split(groups, groups=groups):
        shown = [{s for g in part for s in clips.scene[g].split("-")} for part in (train, test)]
        assert not shown[0] & shown[1]


def test_frames_of_a_clip() -> None:
    clips = movie_run(20, 1.0).clips(2.0, delay=0.0)
    assert clips.frames(8.0)[1].tolist() == list(range(16, 32))
    # Of 60 frames in two seconds, six: the middles of their shares.
    assert clips.frames(30.0, 6)[0].tolist() == [5, 15, 25, 35, 45, 55]
    with pytest.raises(UsageError, match="frame"):
        clips.frames(8.0, 0)


def test_clips_without_volumes_are_left_out_and_counted() -> None:
    run = movie_run(10, 2.0, onset=-4.0, duration=30.0)
    clips = run.clips(2.0, delay=4.0)
    assert len(clips) == 10
    assert clips.n_left_out == 5
    assert len(clips.select(clips.start < 4)) == 2


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ({"tr": 0.0}, "TR of 0 s"),
        ({"tr": float("nan")}, "TR of nan"),
        ({"tr": 2.0, "onset": 40.0}, "before the run ends"),
        ({"tr": 2.0, "onset": -50.0, "duration": 30.0}, "running during the run"),
        ({"tr": 2.0, "cuts": [3.0, 2.0]}, "go back"),
        ({"tr": 2.0, "cuts": [35.0], "duration": 30.0}, "outside"),
    ],
)
def test_impossible_timing_is_one_message(timing: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MovieRun(recording(20), "seg1", **timing)


def test_a_run_shorter_than_the_window_says_what_it_would_need() -> None:
    with pytest.raises(InputError, match="goes on for at least 8 s"):
        movie_run(3, 2.0).clips(2.0, delay=4.0, window=4.0)


def test_lengths_that_are_no_numbers_are_told() -> None:
    for wrong in ({"length": float("nan")}, {"window": float("inf")}, {"delay": float("nan")}):
        with pytest.raises(UsageError, match="positive lengths"):
            movie_run(10, 2.0).clips(**wrong)


def test_a_movie_shorter_than_a_clip_is_told_by_its_length() -> None:
    with pytest.raises(InputError, match=r"lasts 0\.5 s"):
        movie_run(10, 2.0, duration=0.5).clips(2.0)
