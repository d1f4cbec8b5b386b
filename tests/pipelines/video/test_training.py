"""Training a video decoder from several showings of each movie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phosphene.data.movies import MovieDataset
from phosphene.data.movies.dataset import write_movie_dataset
from phosphene.pipelines.training.video import VideoTrainingConfig, _flow_among, train_video
from phosphene.pipelines.training.video_runs import runs_by_split
from phosphene.pipelines.video.model import load_video_model
from phosphene.types import VoxelSpace


@pytest.fixture(scope="module")
def shown_twice(video_toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("showings") / "data"
    once = MovieDataset.open(video_toy.dataset)
    runs = [
        replace(
            run,
            repetition=repetition,
            recording=replace(
                run.recording,
                data=run.recording.data
                + np.random.default_rng(repetition).normal(size=run.recording.data.shape),
            ),
        )
        for run in once.runs("01")
        for repetition in (1, 2)
    ]
    splits = {run.segment: str(run.recording.trials["split"].iloc[0]) for run in runs}
    write_movie_dataset(root, runs, list(once.movies.values()), splits=splits)
    return root


def test_showings_are_averaged_and_validation_says_how_long_flow_is(
    shown_twice: Path, picture_model: Path, tmp_path: Path
) -> None:
    config = VideoTrainingConfig(
        dataset=(str(shown_twice),),
        output=str(tmp_path / "model"),
        pictures=str(picture_model),
        average="stimulus",
        flow_voxels=8,
        flow_epochs=2,
        validation_clips=2,
        window=2.0,
        moments=2,
        n_frames=8,
        grid=4,
        rank=12,
    )
    folder, summary = train_video(config)
    # A factor for one showing and for two, and the error of what it leads to beside no motion's.
    assert {"flow_gain_1_sub-01", "flow_gain_2_sub-01"} <= set(summary)
    assert "flow_gain_3_sub-01" not in summary
    none = summary["validation_flow_error_none_sub-01"]
    assert 0 < summary["validation_flow_error_sub-01"] <= 1.2 * none
    model = load_video_model(str(folder))
    assert model.protocol.n_train_trials == {"01": 12}  # clips of two movies, not of four runs
    assert model.protocol.averaging_train == "mean of all showings"
    _, run = runs_by_split([MovieDataset.open(shown_twice)], "01", "stimulus")["validation"][0]
    assert run.averaged == 1  # means of fewer are needed too
    decoded = model.decode(run, model.clips(run))["flow"]
    assert decoded.shape[1:] == (2, 2, 4, 4)
    assert (decoded == decoded[:, :1]).all()


def test_clips_find_words_among_those_of_training_clips(video_toy, tmp_path: Path) -> None:
    model = load_video_model(str(video_toy.model))
    assert model.encoder.heads["caption"] == (
        model.pictures.parts.target.encode_text(["a"]).shape[1],
    )
    data = MovieDataset.open(video_toy.dataset)
    told = {name: set(data.movies[name].caption.split("; then ")) for name in data.movies}
    assert set(model.captions) <= told["film-0"] | told["film-1"]
    run = next(run for run in data.runs("01") if run.segment == "film-3")
    words = model.words(model.decode(run, model.clips(run)))
    assert words is not None
    assert len(words) == len(model.clips(run))
    assert set(words) <= set(model.captions)


def test_the_region_is_taken_among_the_voxels_of_the_runs(tmp_path: Path) -> None:
    mask = np.zeros(6, dtype=np.int64)
    mask[[1, 4]] = 2
    np.save(tmp_path / "areas-07.npy", mask)
    config = VideoTrainingConfig(
        dataset=("x",), output="y", flow_roi=f"{tmp_path}/areas-{{subject}}.npy"
    )
    found = _flow_among(config, "07", VoxelSpace.columns(6))
    assert found is not None
    assert found.tolist() == [1, 4]
    assert _flow_among(VideoTrainingConfig(dataset=("x",), output="y"), "07", None) is None
