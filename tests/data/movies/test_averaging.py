"""Averaging showings: by seconds of the movie, each run by itself first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phosphene.data.movies import MovieRun, average_runs
from phosphene.data.movies.averaging import showings
from phosphene.data.movies.bids import find_showings
from phosphene.data.movies.standardising import standardised
from phosphene.errors import InputError
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def run_of(
    data: np.ndarray, *, onset: float = 0.0, tr: float = 1.0, segment: str = "a", **known: object
) -> MovieRun:
    trials = complete_trials(None, len(data)).assign(stimulus_id=segment, run="01")
    space = VoxelSpace.columns(data.shape[1])
    recording = Recording(data.astype(np.float32), "fmri", "01", trials, space)
    return MovieRun(recording, segment, tr, onset, **known)


def test_the_mean_is_of_standardised_runs_at_the_same_seconds_of_the_movie() -> None:
    draw = np.random.default_rng(0)
    signal = draw.normal(size=(60, 5))  # a row per second from 5 s before the movie on
    first, second = signal[2:52], signal[5:58] * 7 + 100
    runs = [run_of(first, onset=3.0), run_of(second, onset=0.0)]
    found = average_runs(runs)
    assert found.averaged == 2
    assert found.onset == 0.0
    assert found.times.tolist() == list(range(47))
    expected = (standardised(first, 1.0)[3:50] + standardised(second, 1.0)[:47]) / 2
    np.testing.assert_allclose(found.recording.data, expected, atol=1e-6)
    assert (found.recording.trials["repetition"] == 2).all()
    # The order of the runs changes nothing but which of them says the times.
    turned = average_runs(runs[::-1])
    np.testing.assert_allclose(turned.recording.data, found.recording.data, atol=1e-6)
    assert turned.times.tolist() == found.times.tolist()


def test_volumes_between_those_of_others_are_the_nearest() -> None:
    ramp = np.arange(40.0)[:, None] + np.sin(np.arange(40.0))[:, None] * np.ones((1, 2)) * 9
    found = average_runs([run_of(ramp, onset=0.0, tr=2.0), run_of(ramp, onset=-0.9, tr=2.0)])
    assert found.times.tolist() == [2.0 * k for k in range(40)]
    np.testing.assert_allclose(found.recording.data, standardised(ramp, 2.0), atol=1e-5)


def test_averaging_brings_the_signal_out() -> None:
    draw = np.random.default_rng(0)
    signal = draw.normal(size=(200, 10))
    runs = [run_of(signal + 2 * draw.normal(size=signal.shape)) for _ in range(10)]

    def likeness(run: MovieRun) -> float:
        return float(np.corrcoef(run.recording.data.ravel(), signal.ravel())[0, 1])

    assert likeness(runs[0]) == pytest.approx(5**-0.5, abs=0.05)
    assert likeness(average_runs(runs)) == pytest.approx((1 / 1.4) ** 0.5, abs=0.05)
    assert average_runs(runs[:1]) is runs[0]


def test_runs_of_something_else_are_refused() -> None:
    data = np.random.default_rng(0).normal(size=(30, 4))
    one = run_of(data, duration=20.0)
    for other in (
        run_of(data, segment="b"),
        run_of(data, tr=2.0),
        run_of(data[:, :3]),
        run_of(data, duration=25.0),
        replace(one, recording=replace(one.recording, subject="02")),
    ):
        with pytest.raises(InputError, match="beside a run of a"):
            average_runs([one, other])
    with pytest.raises(InputError, match="share 0 moments"):
        average_runs([run_of(data, onset=0.0), run_of(data, onset=-500.0, duration=None)])


def test_showings_go_together_in_their_order() -> None:
    data = np.random.default_rng(0).normal(size=(30, 4))
    runs = [run_of(data, segment=name) for name in ("b", "a", "b")]
    assert [[run.segment for run in group] for group in showings(runs)] == [["b", "b"], ["a"]]


def test_showings_are_found_beside_a_run_and_in_other_sessions(tmp_path: Path) -> None:
    def write(session: str, run: int, movie: str, space: str = "") -> Path:
        folder = tmp_path / "sub-01" / session / "func"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"sub-01_{session}_task-films_run-{run:02d}{space}"
        (folder / f"{stem}_bold.nii.gz").touch()
        table = pd.DataFrame({"onset": [0.0], "duration": [9.0], "stim_file": [f"{movie}.mp4"]})
        table.to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
        return folder / f"{stem}_bold.nii.gz"

    one, _, two = write("ses-1", 1, "a"), write("ses-1", 2, "b"), write("ses-2", 1, "a")
    write("ses-1", 3, "a", "_space-T1w")  # the same volumes in another space are no showing
    assert find_showings(one) == [one, two]
    assert find_showings(tmp_path / "sub-01" / "ses-2") == [two]
    with pytest.raises(InputError, match="runs of a, b"):
        find_showings(tmp_path / "sub-01")
    alone = tmp_path / "run.npy"
    alone.touch()
    with pytest.raises(InputError, match="nothing says which movie"):
        find_showings(alone)
