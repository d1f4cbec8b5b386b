"""A miniature tree of HCP 7T: seconds, the shared film left out, whole movies held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, SeriesAxis

from phosphene.data.movies import MovieDataset, write_movie
from phosphene.data.movies.hcp7t import HCP7TSettings, find_hcp_runs, prepare_hcp7t
from phosphene.errors import InputError, UsageError

N_CORTEX, N_OTHER = 6, 3
ENDS = {1: "AP", 2: "PA", 3: "PA", 4: "AP"}


def write_runs(
    root: Path, n: int = 830, variants: tuple[str, ...] = ("_Atlas",), tr: float = 1.0
) -> Path:
    parts = [
        BrainModelAxis.from_mask(np.ones(N_CORTEX // 2, bool), name=name)
        for name in ("CortexLeft", "CortexRight")
    ]
    rest = np.ones((N_OTHER, 1, 1), bool)
    other = BrainModelAxis.from_mask(rest, affine=np.eye(4), name="ThalamusLeft")
    axes = (SeriesAxis(0, tr, n), parts[0] + parts[1] + other)
    for number, direction in ENDS.items():
        name = f"tfMRI_MOVIE{number}_7T_{direction}"
        data = np.random.default_rng(number).normal(100, 1, (n, N_CORTEX + N_OTHER))
        folder = root / "100610" / "MNINonLinear" / "Results" / name
        folder.mkdir(parents=True, exist_ok=True)
        for variant in variants:
            image = Cifti2Image(data.astype(np.float32), axes)
            nibabel.save(image, folder / f"{name}{variant}.dtseries.nii")
    return root


def test_runs_keep_their_seconds_and_lose_the_film_that_all_share(tmp_path: Path, cli: Any) -> None:
    source = write_runs(tmp_path / "hcp")
    done = cli("prepare", "hcp7t", "--source", source, "--output", tmp_path / "out").succeeds()
    assert done.out.splitlines()[-1] == f"dataset: {tmp_path / 'out'}"
    assert "the film that ends every movie is left out" in done.out
    assert "no movie of 7T_MOVIE1_CC1_v2" in done.out
    dataset = MovieDataset.open(tmp_path / "out")
    table = dataset.canonical.table
    ends = table.groupby("stimulus_id")["movie_time"].agg(["min", "max"])
    assert ends.loc["7T_MOVIE1_CC1_v2"].tolist() == [0.0, 813.0]
    assert ends.loc["7T_MOVIE4_HO2_v2"].tolist() == [0.0, 792.0]
    splits = table.groupby("stimulus_id")["split"].first().to_dict()
    assert sorted(splits.values()) == ["test", "train", "train", "validation"]
    assert splits["7T_MOVIE4_HO2_v2"] == "test"
    assert dataset.canonical.recording("100610").data.shape[1] == N_CORTEX


def test_movies_are_found_and_clips_read_their_volumes(tmp_path: Path) -> None:
    source = write_runs(tmp_path / "hcp", n=60)
    (source / "movies").mkdir()
    frames = np.zeros((58, 16, 16, 3), np.uint8)
    frames[40:, :, :, 0] = 200
    for name in ("7T_MOVIE1_CC1", "7T_MOVIE2_HO1_v2", "7T_MOVIE3_CC2", "7T_MOVIE4_HO2"):
        write_movie(source / "movies" / f"{name}.mp4", frames, 1.0)
    dataset, notes = prepare_hcp7t(source, tmp_path / "out", HCP7TSettings(onset=2.0))
    assert "movies: 4, 4 cuts" in notes
    run = dataset.runs("100610", ["train"])[0]
    assert (run.tr, run.onset, run.cuts) == (1.0, 2.0, (40.0,))
    clips = run.clips(2.0, delay=4.0, window=1.0)
    np.testing.assert_array_equal(clips.rows[:, 0], clips.start + 6)


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        prepare_hcp7t(tmp_path / "none", tmp_path / "o", HCP7TSettings())
    with pytest.raises(InputError, match="holds no movie run"):
        prepare_hcp7t(tmp_path, tmp_path / "o", HCP7TSettings())
    two = write_runs(tmp_path / "two", n=60, variants=("_Atlas", "_Atlas_MSMAll"))
    with pytest.raises(InputError, match=r"2 files of movie 1.*\n*.*") as told:
        prepare_hcp7t(two, tmp_path / "o", HCP7TSettings())
    assert "--variant" in str(told.value)
    found = find_hcp_runs(two, "_Atlas_MSMAll")
    assert {path.name for path in found["100610"].values()} == {
        f"tfMRI_MOVIE{k}_7T_{d}_Atlas_MSMAll.dtseries.nii" for k, d in ENDS.items()
    }
    with pytest.raises(InputError, match="with the variant _x"):
        prepare_hcp7t(two, tmp_path / "o", HCP7TSettings(variant="_x"))
    with pytest.raises(UsageError, match="two different movies"):
        prepare_hcp7t(two, tmp_path / "o", HCP7TSettings(test=3))
    with pytest.raises(InputError, match="of 7"):
        prepare_hcp7t(two, tmp_path / "o", HCP7TSettings(subjects=("7",), variant="_Atlas"))
    slow = write_runs(tmp_path / "slow", n=60, tr=2.0)
    with pytest.raises(InputError, match="states 2 s"):
        prepare_hcp7t(slow, tmp_path / "o", HCP7TSettings())
    short = write_runs(tmp_path / "short", n=60)
    write_movie(short / "7T_MOVIE1_CC1_v2.mp4", np.zeros((90, 16, 16, 3), np.uint8), 1.0)
    with pytest.raises(InputError, match=r"lasts 90 s and its run goes on for 60 s"):
        prepare_hcp7t(short, tmp_path / "o", HCP7TSettings())
