"""A response planted at a known delay is found within one TR, on segments nothing learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.movies import Movie, MovieDataset, MovieRun, write_movie
from phosphene.data.movies.dataset import write_movie_dataset
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.delay_curve import delay_curve, parse_delays, write_delay_curve
from phosphene.storage import read_json
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]
TR, FPS, CLIPS = 1.5, 2.0, 60


def write_dataset(
    root: Path, delay: float, onset: float, n_segments: int = 3, signal: float = 1.0
) -> MovieDataset:
    """Voxels follow the colour of the clip that began ``delay`` seconds before the volume."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 30))
    runs, movies, splits = [], [], {}
    for number in range(n_segments):
        colours = rng.integers(20, 235, size=(CLIPS, 3))
        name = f"seg{number + 1}"
        frames = np.repeat(colours, 4, axis=0).astype(np.uint8)[:, None, None]
        path = root / f"{name}.mp4"
        write_movie(path, np.broadcast_to(frames, (CLIPS * 4, 16, 16, 3)), FPS)
        times = np.arange(int((CLIPS * 2 + onset + 16) / TR)) * TR - onset
        shown = np.floor((times - delay + TR / 2) / 2).astype(int)
        inside = (shown >= 0) & (shown < CLIPS)
        drive = np.where(inside[:, None], colours[np.clip(shown, 0, CLIPS - 1)] / 128 - 1, 0)
        data = (signal * drive @ weights + rng.normal(size=(len(times), 30))).astype(np.float32)
        trials = complete_trials(None, len(times))
        recording = Recording(data, "fmri", "01", trials, VoxelSpace.columns(30))
        runs.append(MovieRun(recording, name, tr=TR, onset=onset, duration=CLIPS * 2.0))
        movies.append(Movie(name, path))
        splits[name] = "validation" if number == n_segments - 1 else "train"
    return write_movie_dataset(root / "data", runs, movies, splits=splits)


@pytest.mark.parametrize(("delay", "onset"), [(4.5, 6.0), (7.5, -1.0)])
def test_a_planted_delay_is_found_within_one_tr(tmp_path: Path, delay: float, onset: float) -> None:
    dataset = write_dataset(tmp_path, delay, onset)
    curve = delay_curve(dataset, "01", delays="0:12")
    assert abs(curve.best - delay) <= TR
    assert curve.segments == ("seg3",)
    assert curve.correlation.max() > 0.5 > abs(curve.correlation[0])
    assert curve.identification.max() > 0.8
    assert curve.p_value is not None
    assert curve.p_value < 0.05
    path = write_delay_curve(curve, tmp_path / "curve")
    assert path.stat().st_size > 1000
    assert read_json(path.with_name("delay.json"))["best_delay"] == curve.best
    lines = path.with_name("delay.tsv").read_text().splitlines()
    assert lines[0] == "delay\tcorrelation\tidentification"
    assert len(lines) == 1 + len(curve.delays)


def test_a_best_delay_of_noise_does_not_stand_out(tmp_path: Path, cli: Any) -> None:
    write_dataset(tmp_path, 4.5, 6.0, signal=0.0)
    words = ("--dataset", tmp_path / "data", "--output")
    done = cli("evaluate delay", *words, tmp_path / "a", "--delays", "0:9").succeeds()
    p = read_json(tmp_path / "a" / "delay.json")["p_value"]
    assert p > 0.05
    assert "no delay stands out: movies shifted against the volumes reach as much" in done.out
    assert done.out.splitlines()[-2].startswith("best delay: ")
    done = cli("evaluate delay", *words, tmp_path / "b", "--delays", "0:70:70").succeeds()
    assert "too short to tell it from chance" in done.out


def test_one_segment_cannot_be_held_out(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, 4.5, 0.0, n_segments=1)
    with pytest.raises(InputError, match="1 segments"):
        delay_curve(dataset, "01")


def test_delays_are_read() -> None:
    np.testing.assert_allclose(parse_delays("0:3", 1.5), [0, 1.5, 3])
    np.testing.assert_allclose(parse_delays("0:1:.5", 1.5), [0, 0.5, 1])
    np.testing.assert_allclose(parse_delays(None, 2.0)[[0, 2, -1]], [-4, 0, 14])
    for wrong in ("a", "3:0", "0:1:0", "0:1:2:3", "nan:12", "0:inf"):
        with pytest.raises(UsageError, match="--delays"):
            parse_delays(wrong, 2.0)
