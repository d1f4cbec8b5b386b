"""Writing runs of movies as a folder in BIDS form, with the truth beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.data.movies.dataset import Movie, write_movies
from phosphene.data.movies.frames import write_movie
from phosphene.data.scenes import MovingScene, movie_captions, render_movie, sample_movie
from phosphene.data.virtual.haemodynamics import HRF_PARAMETERS
from phosphene.data.virtual.movies.experiment import SimulatedRun, simulate_run
from phosphene.data.virtual.movies.motion_area import MOVIE_AREA_NAMES
from phosphene.data.virtual.movies.subject import MOVIE_VERSION, MovieSubject
from phosphene.data.virtual.writing import mask_path, save_table
from phosphene.errors import UsageError
from phosphene.progress import progress
from phosphene.storage import atomic_path, new_folder, save_array, write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FLOW_SIZE", "MoviePlan", "run_path", "write_movie_experiment"]

Array = np.ndarray[Any, Any]

SIZE = 64
FLOW_SIZE = 32
"""Side of the true flow that is written, mean over 2 x 2 pixels."""
REPETITIONS = (1, 3, 10)


@dataclass(frozen=True)
class MoviePlan:
    """Which movies are shown.

    Attributes
    ----------
    movies, training_movies, validation_movies : int
        Movies of each split, of scenes that no other split has.
    seconds : float
    repetitions : int
        Showings of each.
    fps : float
        4 or a multiple.
    mean_shot : float
        Mean length of a shot in seconds; cuts are a Poisson process.
    seed : int
    """

    movies: int = 2
    training_movies: int = 0
    validation_movies: int = 0
    seconds: float = 60.0
    repetitions: int = 1
    fps: float = 8.0
    mean_shot: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.movies, self.training_movies, self.validation_movies)
        if min(counts) < 0 or sum(counts) == 0 or self.repetitions < 1:
            raise UsageError(
                f"{counts} movies, {self.repetitions} repetitions",
                expected="at least one movie and one showing",
            )
        if not 8 <= self.seconds <= 1200 or self.fps < 4 or self.fps % 4:
            raise UsageError(
                f"movies of {self.seconds:g} s at {self.fps:g} frames per second",
                expected="8 to 1200 s, at 4 frames per second or a multiple",
            )

    def scenes(self) -> list[tuple[str, str, MovingScene]]:
        """Return identifier, split and moving scene of each movie."""
        counts = {
            "train": self.training_movies,
            "validation": self.validation_movies,
            "test": self.movies,
        }
        found = []
        for split, count in counts.items():
            for index in range(count):
                scene = sample_movie(
                    index,
                    n_frames=round(self.seconds * self.fps),
                    fps=self.fps,
                    mean_shot=self.mean_shot,
                    seed=self.seed,
                    split=split,
                )
                found.append((f"{split}-{index:03d}", split, scene))
        return found


def run_path(folder: str | os.PathLike[str], subject: str, number: int) -> Path:
    """Return where a simulation keeps the volumes of a run, numbered from 1."""
    stem = f"sub-{subject}_task-movies_run-{number:02d}_bold.nii.gz"
    return Path(folder) / f"sub-{subject}" / "func" / stem


def write_movie_experiment(
    folder: str | os.PathLike[str], subject: MovieSubject, plan: MoviePlan
) -> Path:
    """Simulate runs and write volumes, events, movies and truth into a new folder.

    Parameters
    ----------
    folder : path
        Must not exist or be empty.
    subject : MovieSubject
    plan : MoviePlan

    Returns
    -------
    Path
        Volumes of the first run of a test movie, or else of the last run.
    """
    shown = plan.scenes()
    with new_folder(folder) as root:
        movies, told, number, signals = [], {}, 0, []
        first = 0
        for name, split, scene in progress(shown, label="movies"):
            rendered = render_movie(scene, SIZE)
            path = root / "stimuli" / f"{name}.mp4"
            write_movie(path, rendered.images, plan.fps)
            caption = movie_captions(scene, 1)[0]
            cuts = tuple(frame / plan.fps for frame in scene.cuts)
            movies.append(Movie(name, path, cuts, caption))
            save_array(root / "truth" / "flow" / f"{name}.npy", _coarse(rendered.flow))
            told[name] = _told(scene, split, plan, caption)
            neural = subject.neural(scene, rendered.images)
            for repetition in range(1, plan.repetitions + 1):
                number += 1
                first = number if split == "test" and not first else first
                run = simulate_run(subject, neural, seed=plan.seed, name=f"{name}/{repetition}")
                _write_run(root, subject, run, number, name, split, repetition, plan)
                signals.append(run.signal)
        write_movies(root / "stimuli", movies, copy=False)
        _write_anatomy(root, subject)
        variance = np.concatenate(signals).var(axis=0)
        _write_truth(root / "truth", subject, variance)
        write_json(root / "truth" / "movies.json", told)
        write_json(root / "truth" / "simulation.json", _settings(subject, plan))
        write_json(root / "dataset_description.json", _description(subject))
    return run_path(folder, subject.label, first or number)


def _coarse(flow: Array) -> Array:
    """Return flow (F, 64, 64, 2) as means of 2 x 2 pixels, in half precision."""
    coarse: Array = flow.reshape(len(flow), FLOW_SIZE, 2, FLOW_SIZE, 2, 2).mean(axis=(2, 4))
    return coarse.astype(np.float16)


def _told(scene: MovingScene, split: str, plan: MoviePlan, caption: str) -> dict[str, Any]:
    return {
        "scene": scene.name,
        "split": split,
        "fps": scene.fps,
        "n_frames": scene.n_frames,
        "mean_shot": plan.mean_shot,
        "cuts_seconds": [frame / scene.fps for frame in scene.cuts],
        "caption": caption,
        "motions": [list(words) for words in scene.motion_words()],
    }


def _write_run(
    root: Path,
    subject: MovieSubject,
    run: SimulatedRun,
    number: int,
    name: str,
    split: str,
    repetition: int,
    plan: MoviePlan,
) -> None:
    import pandas as pd

    path = run_path(root, subject.label, number)
    stem = path.name.removesuffix("_bold.nii.gz")
    _save(path, _volumes(subject, run.bold), subject)
    write_json(
        path.with_name(f"{stem}_bold.json"),
        {"RepetitionTime": subject.tr, "TaskName": "movies", "Units": "percent of the baseline"},
    )
    events = pd.DataFrame(
        {
            "onset": [run.onset],
            "duration": [plan.seconds],
            "trial_type": ["movie"],
            "stimulus_id": [name],
            "stim_file": [f"{name}.mp4"],
            "repetition": [repetition],
            "split": [split],
        }
    )
    save_table(path.with_name(f"{stem}_events.tsv"), events)
    save_array(root / "truth" / "signal" / f"{stem}.npy", run.signal)


def _volumes(subject: MovieSubject, columns: Array) -> Array:
    """Return columns (n, V) as a volume per row (X, Y, Z, n), zero outside the voxels."""
    shape = subject.space.grid_shape
    grid = np.zeros((int(np.prod(shape)), len(columns)), dtype=columns.dtype)
    grid[subject.space.indices] = columns.T
    return grid.reshape(*shape, len(columns))


def _save(path: Path, values: Array, subject: MovieSubject) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(values, subject.space.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm", "sec")  # type: ignore[no-untyped-call]
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], subject.tr))  # type: ignore[no-untyped-call]
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _write_anatomy(root: Path, subject: MovieSubject) -> None:
    import pandas as pd

    path = mask_path(root, subject.label)
    stem = path.with_name(f"sub-{subject.label}_desc-areas_dseg")
    areas = _volumes(subject, subject.movie_anatomy.anatomy.area[None].astype(np.int16))[..., 0]
    _save(path, (areas > 0).astype(np.uint8), subject)
    _save(stem.with_name(stem.name + ".nii.gz"), areas, subject)
    numbers = np.arange(1, len(MOVIE_AREA_NAMES) + 1)
    labels = pd.DataFrame({"index": numbers, "name": MOVIE_AREA_NAMES})
    save_table(stem.with_name(stem.name + ".tsv"), labels)


def _write_truth(folder: Path, subject: MovieSubject, variance: Array) -> None:
    """Write what is known of each voxel, and how much of its variance anyone could explain."""
    table = _voxel_table(subject)
    noise = table["noise_sd"].to_numpy() ** 2
    ceilings = {n: variance / (variance + noise / n) for n in REPETITIONS}
    for n, values in ceilings.items():
        table[f"noise_ceiling_{n}_run{'s' if n > 1 else ''}"] = values
    save_table(folder / "voxels.tsv", table)
    areas = {name: table["area"].to_numpy() == name for name in MOVIE_AREA_NAMES}
    write_json(
        folder / "noise_ceiling.json",
        {
            "what": "share of a volume's variance that is signal, median over voxels, for the "
            "mean of as many runs of the same movie; without drift and gain of sessions",
            "runs": list(REPETITIONS),
            "median": [float(np.median(ceilings[n])) for n in REPETITIONS],
            "by_area": {
                name: [float(np.median(ceilings[n][rows])) for n in REPETITIONS]
                for name, rows in areas.items()
            },
        },
    )


def _voxel_table(subject: MovieSubject) -> pd.DataFrame:
    import pandas as pd

    movie = subject.movie_anatomy
    anatomy = movie.anatomy
    at = np.unravel_index(subject.space.indices, subject.space.grid_shape)
    peaks = np.array(HRF_PARAMETERS)[subject.noise.hrf]
    # Of the time series by itself: what the brain's state adds differs with the movie.
    series = subject.noise.sample_series(400, np.random.default_rng(0))
    return pd.DataFrame(
        {
            "i": at[0],
            "j": at[1],
            "k": at[2],
            "area": movie.area_names,
            "hemisphere": np.array(["L", "R"])[anatomy.hemisphere],
            "rf_x_degrees": anatomy.rf_x,
            "rf_y_degrees": anatomy.rf_y,
            "rf_sigma_degrees": anatomy.rf_sigma,
            "motion_share": subject.motion_share,
            "hrf_peak_seconds": peaks[:, 0],
            "hrf_undershoot_seconds": peaks[:, 1],
            "signal_sd": subject.amplitude,
            "noise_sd": series.std(axis=0),
            "ncsnr": subject.ncsnr,
        }
    )


def _settings(subject: MovieSubject, plan: MoviePlan) -> dict[str, Any]:
    return {
        "virtual": True,
        "version": MOVIE_VERSION,
        "subject": subject.label,
        "preset": subject.preset.name,
        "realistic": not subject.preset.independent,
        "seed": plan.seed,
        "tr_seconds": subject.tr,
        "seconds": plan.seconds,
        "fps": plan.fps,
        "mean_shot_seconds": plan.mean_shot,
        "repetitions": plan.repetitions,
        "units": "percent of the baseline",
        "flow": f"{FLOW_SIZE} x {FLOW_SIZE}, right and down, in pixels of {SIZE} to the next frame",
    }


def _description(subject: MovieSubject) -> dict[str, Any]:
    return {
        "Name": f"Virtual fMRI subject {subject.label} watching movies of scenes",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "Apache-2.0",
        "GeneratedBy": [
            {
                "Name": "phosphene",
                "Version": phosphene.__version__,
                "Description": f"Simulation: virtual fMRI subject, movies version {MOVIE_VERSION}, "
                f"preset {subject.preset.name}. Not human data.",
            }
        ],
    }
