"""Tiny runs under tiny movies: voxels are a linear map of the screen of four seconds ago."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from phosphene.data.movies import Movie, MovieDataset, MovieRun, write_movie
from phosphene.data.movies.dataset import write_movie_dataset
from phosphene.data.scenes import movie_captions, render_movie, sample_movie
from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder
from phosphene.pipelines.training.video import VideoTrainingConfig, train_video
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

SIZE, FPS, SECONDS, VOXELS = 64, 4.0, 12, 24


@dataclass(frozen=True)
class VideoToy:
    """A dataset, a model trained on it, and a run that nobody trained on.

    Attributes
    ----------
    run : Path
        Array of volumes, TR 1 s, the movie begins 2 s after the first.
    truth : Path
        Its movie.
    """

    root: Path
    dataset: Path
    model: Path
    run: Path
    truth: Path


@pytest.fixture(scope="session")
def picture_model(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "tiny-pictures"
    config = DecoderConfig(
        dataset=str(tiny_dataset),
        output=str(folder),
        subjects=("01",),
        target=str(tiny_parts_folder / "target"),
        generator=str(tiny_parts_folder / "generator"),
        prior="identity",
    )
    train_decoder(config)
    return folder


@pytest.fixture(scope="session")
def video_toy(picture_model: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoToy:
    root = tmp_path_factory.mktemp("video")
    weights = np.random.default_rng(0).normal(size=(16 * 16 * 3, VOXELS))
    runs, movies = [], []
    for number in range(4):
        film = sample_movie(number, n_frames=int(SECONDS * FPS), fps=FPS, mean_shot=3.0)
        images = render_movie(film, SIZE).images
        path = root / "films" / f"film-{number}.mp4"
        write_movie(path, images, FPS)
        cuts = tuple(frame / FPS for frame in film.cuts)
        movies.append(Movie(path.stem, path, cuts, movie_captions(film, 1)[0]))
        small = images.reshape(len(images), 16, 4, 16, 4, 3).mean((2, 4)).reshape(len(images), -1)
        # One volume per second: what was on 4 s before, the first and last frame held still.
        shown = np.clip((np.arange(SECONDS + 10) - 2 - 4) * FPS, 0, len(images) - 1).astype(int)
        noise = np.random.default_rng(number).normal(size=(len(shown), VOXELS))
        data = (small[shown] / 255 @ weights + 0.2 * noise).astype(np.float32)
        recording = Recording(
            data, "fmri", "01", complete_trials(None, len(data)), VoxelSpace.columns(VOXELS)
        )
        runs.append(MovieRun(recording, path.stem, 1.0, 2.0, float(SECONDS), cuts))
    splits = {"film-0": "train", "film-1": "train", "film-2": "validation", "film-3": "test"}
    write_movie_dataset(root / "data", runs, movies, splits=splits)
    np.save(root / "run.npy", runs[3].recording.data)
    train_video(
        VideoTrainingConfig(
            dataset=(str(root / "data"),),
            output=str(root / "tiny-video"),
            pictures=str(picture_model),
            step=1.0,
            window=2.0,
            moments=2,
            n_frames=8,
            grid=4,
            rank=12,
            validation_clips=3,
        )
    )
    assert MovieDataset.open(root / "data").subjects == ["01"]
    return VideoToy(
        root, root / "data", root / "tiny-video", root / "run.npy", root / "films" / "film-3.mp4"
    )
