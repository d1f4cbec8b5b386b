"""Miniature copies of CC2017 in its forms: absolute seconds, the mask, splits, what is left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from nibabel.cifti2 import Cifti2Image
from nibabel.cifti2.cifti2_axes import BrainModelAxis, SeriesAxis

from phosphene.data.movies import MovieDataset
from phosphene.data.movies.cc2017 import kept_volumes
from phosphene.data.movies.cc2017_prepare import CC2017Settings, prepare_cc2017
from phosphene.data.movies.frames import write_movie
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]
N_CORTEX, N_OTHER = 14, 5
ALL = CC2017Settings(mask="all", validation=1)


def activity(segment: str, repetition: int, n: int, width: int, start: float) -> Array:
    """Half of the voxels follow the second of the movie, the others are noise."""
    seconds = start + 2.0 * np.arange(n)
    seed = sum(map(ord, segment))
    signal = np.random.default_rng(seed).normal(size=(260, width))
    noise = np.random.default_rng([seed, repetition, width]).normal(size=(n, width))
    noise[:, : width // 2] = (
        0.2 * noise[:, : width // 2] + signal[(seconds / 2).astype(int)][:, : width // 2]
    )
    return noise.astype(np.float32) + 100


def write_cifti(path: Path, data: Array, tr: float = 2.0) -> None:
    left = BrainModelAxis.from_mask(np.ones(N_CORTEX // 2, bool), name="CortexLeft")
    right = BrainModelAxis.from_mask(np.ones(N_CORTEX // 2, bool), name="CortexRight")
    other = BrainModelAxis.from_mask(
        np.ones((N_OTHER, 1, 1), bool), affine=np.eye(4), name="ThalamusLeft"
    )
    axes = (SeriesAxis(0, tr, len(data)), left + right + other)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(Cifti2Image(data, axes), path)


def write_tree(
    root: Path, runs: dict[str, int], repetitions: dict[str, list[int]], subject: int = 1
) -> Path:
    for segment, n in runs.items():
        start = {245: 2.0, 246: 0.0}.get(n, 4.0)
        for repetition in repetitions.get(segment, [1, 2]):
            data = activity(segment, repetition, n, N_CORTEX + N_OTHER, start)
            folder = root / "video_fmri_dataset" / f"subject{subject}" / "fmri" / segment / "cifti"
            write_cifti(folder / f"{segment}_{repetition}_Atlas.dtseries.nii", data)
    return root


def times(dataset: Any) -> dict[tuple[str, int], Array]:
    groups = dataset.table.groupby(["stimulus_id", "repetition"])
    return {name: part["movie_time"].to_numpy() for name, part in groups}


def test_runs_of_245_and_246_volumes_have_the_same_seconds(tmp_path: Path) -> None:
    found = []
    for n in (245, 246):
        source = write_tree(tmp_path / str(n), {"seg1": n, "seg2": n, "test1": n}, {"test1": [1]})
        dataset, _ = prepare_cc2017(source, tmp_path / f"out{n}", ALL)
        found.append((times(dataset), dataset.recording("01").data))
    for name, seconds in found[0][0].items():
        np.testing.assert_array_equal(seconds, 4.0 + 2 * np.arange(240))
        np.testing.assert_array_equal(seconds, found[1][0][name])
    signal = N_CORTEX // 4  # of the same second, the same signal, in both kinds of run
    a, b = (np.asarray(data[:240, signal], dtype=float) for _, data in found)
    assert np.corrcoef(a, b)[0, 1] > 0.9
    assert np.corrcoef(a[1:], b[:-1])[0, 1] < 0.3


def test_untrimmed_runs_keep_their_seconds_too(tmp_path: Path) -> None:
    source = write_tree(tmp_path, {"seg1": 245, "test2": 246}, {"seg1": [1], "test2": [1]})
    settings = CC2017Settings(mask="all", trim=False)
    dataset, _ = prepare_cc2017(source, tmp_path / "out", settings)
    seconds = times(dataset)
    np.testing.assert_array_equal(seconds["seg1", 1], 2.0 + 2 * np.arange(245))
    np.testing.assert_array_equal(seconds["test2", 1], 2.0 * np.arange(246))


def test_standard_trimming_is_a_delay_of_four_seconds() -> None:
    for n, first in ((245, 1), (246, 2)):
        kept, start = kept_volumes(n, "a run", trim=True)
        assert (kept.start, kept.stop - kept.start, n - kept.stop, start) == (first, 240, 4, 4.0)


def test_only_cortex_is_kept_and_reproducible_voxels_are_found(tmp_path: Path) -> None:
    runs = {f"seg{k}": 245 for k in range(1, 6)}
    source = write_tree(tmp_path, runs | {"test1": 245}, {"test1": [1]})
    dataset, notes = prepare_cc2017(source, tmp_path / "all", ALL)
    assert dataset.recording("01").data.shape == (11 * 240, N_CORTEX)
    dataset, notes = prepare_cc2017(source, tmp_path / "out", CC2017Settings(alpha=0.001))
    kept = dataset.recording("01").space.indices
    np.testing.assert_array_equal(kept, np.arange((N_CORTEX + N_OTHER) // 2))
    assert any("9 of 14 voxels are reproducible" in note for note in notes)
    splits = dataset.table.groupby("stimulus_id")["split"].unique()
    assert {name: list(value) for name, value in splits.items()} == {
        "seg1": ["train"], "seg2": ["train"], "seg3": ["train"],
        "seg4": ["validation"], "seg5": ["validation"], "test1": ["test"],
    }  # fmt: skip


def test_the_run_that_lags_is_left_out(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path, {"seg1": 245, "test2": 246}, {"seg1": [1], "test2": [8, 9, 10]}, subject=3
    )
    dataset, notes = prepare_cc2017(source, tmp_path / "out", ALL)
    assert set(times(dataset)) == {("seg1", 1), ("test2", 8), ("test2", 10)}
    assert any("test2 repetition 9 left out" in note for note in notes)


def test_volumes_in_nifti_are_read(tmp_path: Path) -> None:
    data = activity("seg1", 1, 245, 24, 2.0).T.reshape(2, 3, 4, 245)
    data[0] = 0  # outside the brain
    image = nibabel.Nifti1Image(data, np.diag([2.0, 2, 2, 1]))
    image.header.set_zooms((2, 2, 2, 2.0))
    image.header.set_xyzt_units("mm", "sec")
    folder = tmp_path / "subject1" / "fmri" / "seg1" / "mni"
    folder.mkdir(parents=True)
    nibabel.save(image, folder / "seg1_1_mni.nii.gz")
    dataset, notes = prepare_cc2017(tmp_path, tmp_path / "out", ALL)
    assert notes[0] == "form: mni"
    assert dataset.recording("01").data.shape == (240, 12)


def write_tensors(root: Path, frames: bool = True) -> None:
    rng = np.random.default_rng(0)
    torch.save(torch.tensor(rng.normal(size=(480, 2, 6))), root / "subj01_train_fmri.pt")
    torch.save(torch.tensor(rng.normal(size=(240, 10, 6))), root / "subj01_test_fmri.pt")
    if frames:
        scenes = torch.zeros(480, 1, 3, 16, 16)
        scenes[100:240, :, 0] = 1.0  # one cut, at second 200 of the first segment
        torch.save(scenes, root / "GT_train_3fps.pt")
        torch.save(scenes[:240].to(torch.uint8), root / "GT_test_3fps.pt")


def test_repackaged_tensors_are_read_with_their_movies(tmp_path: Path) -> None:
    write_tensors(tmp_path)
    dataset, notes = prepare_cc2017(tmp_path, tmp_path / "out", ALL)
    np.testing.assert_array_equal(times(dataset)["test1", 10], 4.0 + 2 * np.arange(240))
    assert len(times(dataset)) == 2 * 2 + 10
    movies = MovieDataset.open(tmp_path / "out")
    assert movies.movies["seg1"].cuts == (200.0,)
    runs = movies.runs("01", ["train"])
    assert [run.segment for run in runs] == ["seg1", "seg1"]
    clips = runs[0].clips(2.0, delay=4.0)
    assert len(clips) == 240
    np.testing.assert_array_equal(clips.rows[:, 0], np.arange(240))
    clips = runs[0].clips(4.0, step=2.0, delay=4.0)
    assert np.flatnonzero(clips.straddles).tolist() == [99]
    assert clips.scene[99] == "seg1/0000-0001"
    assert "movies: 3, 1 cuts" in notes


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    torch.save({"x": Evil(tmp_path / "harm")}, tmp_path / "subj01_train_fmri.pt")
    with pytest.raises(InputError, match="not a tensor that can be read safely"):
        prepare_cc2017(tmp_path, tmp_path / "out", ALL)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("subject3", "video_fmri_dataset"), ("subject3", "video_fmri_dataset/subject3"),
        ("subject3", "video_fmri_dataset/subject3/fmri"), ("Subject03", "."), ("sub-03", "."),
    ],
)  # fmt: skip
def test_the_tree_is_found_from_where_it_is_named(
    tmp_path: Path, folder: str, source: str, cli: Any
) -> None:
    root = write_tree(tmp_path / "a copy", {"seg1": 245}, {"seg1": [1]}, subject=3)
    run = next(root.rglob("*.dtseries.nii"))
    for clutter in (run.with_name(f"._{run.name}"), run.with_name(".DS_Store"), root / ".DS_Store"):
        clutter.write_bytes(b"of a Mac")
    (root / "video_fmri_dataset" / "subject3").rename(root / "video_fmri_dataset" / folder)
    done = cli(
        "prepare", "cc2017", "--source", root / source, "--subject", "3", "--output",
        tmp_path / "out",
    ).succeeds()  # fmt: skip
    assert "subject 03: 1 runs, 240 volumes" in done.out
    assert "validation: none, as there are too few training segments" in done.out


def test_nothing_but_the_run_that_lags_is_told(tmp_path: Path, cli: Any) -> None:
    source = write_tree(tmp_path, {"test2": 246}, {"test2": [9]}, subject=3)
    words = ("prepare", "cc2017", "--source", source, "--output", tmp_path / "out")
    cli(*words).refuses(3, "subject 03 has no runs", "lags the movie")


def test_what_torch_says_of_a_program_is_not_repeated(tmp_path: Path) -> None:
    """It says how to have it executed."""
    torch.save(Evil(tmp_path / "harm"), tmp_path / "subj01_train_fmri.pt")
    with pytest.raises(InputError, match="more than tensors need") as told:
        prepare_cc2017(tmp_path, tmp_path / "out", ALL)
    assert "weights_only" not in str(told.value)
    assert not (tmp_path / "harm").exists()


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run of CC2017"):
        prepare_cc2017(tmp_path, tmp_path / "out", ALL)
    source = write_tree(tmp_path / "a", {"seg1": 250}, {"seg1": [1]})
    with pytest.raises(InputError, match="has 250 volumes"):
        prepare_cc2017(source, tmp_path / "out", ALL)
    source = write_tree(tmp_path / "b", {"seg1": 245}, {"seg1": [1]})
    with pytest.raises(UsageError, match="has no subject 07"):
        prepare_cc2017(source, tmp_path / "out", CC2017Settings(subjects=("07",)))
    path = next(source.rglob("*.dtseries.nii"))
    write_cifti(path, activity("seg1", 1, 245, N_CORTEX + N_OTHER, 2.0), tr=1.5)
    with pytest.raises(InputError, match=r"the TR of CC2017 is 2 s and .* states 1\.5 s"):
        prepare_cc2017(source, tmp_path / "out", ALL)
    broken = activity("seg1", 1, 245, N_CORTEX + N_OTHER, 2.0)
    broken[7] = np.nan
    write_cifti(path, broken)
    with pytest.raises(InputError, match=r"finite|NaN"):
        prepare_cc2017(source, tmp_path / "out", ALL)


def test_a_movie_of_another_length_is_told(tmp_path: Path) -> None:
    source = write_tree(tmp_path, {"seg1": 245}, {"seg1": [1]})
    (source / "stimuli").mkdir()
    write_movie(source / "stimuli" / "seg1.mp4", [np.zeros((16, 16, 3), np.uint8)] * 4, 2.0)
    with pytest.raises(InputError, match="lasts 2 s"):
        prepare_cc2017(source, tmp_path / "out", ALL)


def test_the_table_is_read_back_in_order(tmp_path: Path) -> None:
    source = write_tree(tmp_path, {"seg2": 245, "seg10": 245, "test1": 245}, {})
    dataset, _ = prepare_cc2017(source, tmp_path / "out", ALL)
    order = list(pd.unique(dataset.table["stimulus_id"]))
    assert order == ["seg2", "seg10", "test1"]
