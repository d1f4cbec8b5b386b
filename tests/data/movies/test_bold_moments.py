"""A miniature BOLD Moments in its four forms: every clip reads its own response, pickles safe."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from phosphene.data.movies import MovieDataset, open_movie, write_movie
from phosphene.data.movies import bold_moments_betas as betas
from phosphene.data.movies import clip_responses as module
from phosphene.data.movies.bold_moments import BoldMomentsSettings, prepare_bold_moments
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]
N = {"train": 11, "test": 6}
SHOWINGS = {"train": 3, "test": 10}
NAMES = {
    "train": [f"vid{number:04d}" for number in range(1, 12)],
    "test": [f"vid{number}" for number in range(1001, 1007)],
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LENGTH", 4)


def dump(path: Path, content: Any, protocol: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def responses(part: str, width: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, N[part]]).normal(size=(N[part], SHOWINGS[part], width))


def areas(root: Path) -> Path:
    folder = root / "derivatives" / "versionB" / "MNI152" / "prepared_allvoxel_pkl" / "sub-01"
    for seed, (area, width) in enumerate({"lV1v": 3, "rV1v": 2, "lMT": 4, "BMDgeneral": 5}.items()):
        content = {f"{part}_data_allvoxel": responses(part, width, seed) for part in N}
        dump(folder / f"sub-01_roi-{area}_betas_normalized.pkl", content)
    return root


def first_run(dataset: MovieDataset, part: str) -> Array:
    """Return the responses to the first four clips of a part, shown for the first time."""
    assert dataset.canonical is not None
    start = 0 if part == "train" else N["train"] * SHOWINGS["train"]
    return np.asarray(dataset.canonical.recording("01").data[start : start + 4])


def whole(root: Path, space: str, *tail: Any, width: int = 6, side: str = "", **how: Any) -> Path:
    folder = root / "derivatives" / "versionB" / space / "GLM" / "sub-01" / "prepared_betas"
    for part in N:
        name = f"sub-01_organized_betas_task-{part}{side}_normalized.pkl"
        data = responses(part, width, len(side))
        dump(folder / name, (data, NAMES[part], *tail), **how)
    return root


def write_stimuli(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in (*range(1, 12), *range(1001, 1007)):
        frames = np.full((12, 16, 16, 3), 20 * (number % 12), np.uint8)
        write_movie(folder / f"{number:04d}.mp4", frames, 4.0)
    (folder / "._0001.mp4").write_bytes(b"of a Mac")


def test_every_clip_reads_its_own_response(tmp_path: Path, cli: Any) -> None:
    source = areas(tmp_path / "a copy of ds005165")
    write_stimuli(source / "derivatives" / "stimuli_metadata" / "stimulus_set" / "mp4_h264")
    done = cli(
        "prepare", "bold-moments", "--source", source / "derivatives", "--output",
        tmp_path / "out", "--size", 16, "--fps", 4, "--validation", 1, "--subject", 1,
    ).succeeds()  # fmt: skip
    assert "11 clips of train shown 3 times, 6 clips of test shown 10 times" in done.out
    assert "voxels: lMT 4, lV1v 3, rV1v 2" in done.out  # not those chosen by test clips too
    assert done.out.splitlines()[-1] == f"dataset: {tmp_path / 'out'}"
    dataset = MovieDataset.open(tmp_path / "out")
    shown = {
        split: sorted({run.segment for run in dataset.runs("01", [split])})
        for split in ("train", "validation", "test")
    }
    assert shown == {
        "train": ["clips-0001-0004", "clips-0005-0008"],
        "validation": ["clips-0009-0011"],
        "test": ["clips-1001-1004", "clips-1005-1006"],
    }
    run = next(one for one in dataset.runs("01", ["test"]) if one.repetition == 10)
    cut = run.clips(3.0, delay=0.0, window=3.0)
    assert not cut.straddles.any()
    np.testing.assert_allclose(
        run.windows(cut)[:, 0, :4], responses("test", 4, 2)[:4, 9], rtol=1e-6
    )
    film = open_movie(tmp_path / "out" / "stimuli" / "clips-1001-1004.mp4")
    means = film.read([0, 47], 16).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [20 * (1001 % 12), 20 * (1004 % 12)], atol=4)


def test_areas_are_chosen_by_name(tmp_path: Path) -> None:
    source = areas(tmp_path / "in")
    chosen = BoldMomentsSettings(areas=("V1v", "BMDgeneral"))
    dataset, notes = prepare_bold_moments(source, tmp_path / "out", chosen)
    assert dataset.canonical is not None
    assert dataset.canonical.recording("01").data.shape == (11 * 3 + 6 * 10, 10)
    assert any("chosen by responses to test clips too" in note for note in notes)
    with pytest.raises(UsageError, match="no area V9"):
        prepare_bold_moments(source, tmp_path / "o", BoldMomentsSettings(areas=("V9",)))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_tuple_with_an_image_is_read_up_to_the_image(tmp_path: Path, protocol: int) -> None:
    """The published files end in the image of the mask, which would need code to be made."""
    image = nibabel.Nifti1Image(np.ones((2, 3, 1), np.uint8), np.eye(4))
    source = whole(tmp_path / "in", "MNI152", image, protocol=protocol)
    rois = source / "derivatives" / "versionB" / "MNI152" / "GLM" / "sub-01" / "ROIs"
    places = np.array([[4], [1]])
    dump(rois / "ROI-lMT_indices.pkl", (np.zeros((2, 3), int), places, image), protocol)
    for chosen, columns in (((), range(6)), (("MT",), [1, 4])):
        settings = BoldMomentsSettings(areas=chosen)
        dataset, _ = prepare_bold_moments(source, tmp_path / f"out{len(chosen)}", settings)
        expected = responses("train", 6)[:4, 0, list(columns)]
        np.testing.assert_allclose(first_run(dataset, "train"), expected, rtol=1e-6)


def test_surfaces_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(betas, "GRAYORDINATES", 6)
    monkeypatch.setattr(betas, "CORTEX", 4)
    source = whole(tmp_path / "cifti", "fsLR32k")
    dataset, notes = prepare_bold_moments(source, tmp_path / "o1", BoldMomentsSettings())
    assert notes[0] == "form: fslr32k"
    assert first_run(dataset, "test").shape == (4, 4)
    source = tmp_path / "surface"
    for side in ("_hemi-left", "_hemi-right"):
        whole(source, "fsaverage", side=side, width=3)
    dataset, notes = prepare_bold_moments(source, tmp_path / "o2", BoldMomentsSettings())
    left, right = (responses("test", 3, len(side))[:4, 0] for side in ("_hemi-left", "_hemi-right"))
    np.testing.assert_allclose(first_run(dataset, "test"), np.c_[left, right], rtol=1e-6)


def test_voxels_without_responses_are_left_out_and_clips_put_in_order(tmp_path: Path) -> None:
    source = whole(tmp_path / "in", "MNI152")
    path = next(source.rglob("*task-train*"))
    data = responses("train", 6)
    data[3, 1, 2] = np.nan
    order = np.random.default_rng(0).permutation(N["train"])
    dump(path, (data[order], [NAMES["train"][k] for k in order]))
    dataset, notes = prepare_bold_moments(source, tmp_path / "out", BoldMomentsSettings())
    assert any("1 without a finite response to every clip left out" in note for note in notes)
    expected = np.delete(data[:4, 0], 2, axis=1)
    np.testing.assert_allclose(first_run(dataset, "train"), expected, rtol=1e-6)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_wrong_input_is_told(tmp_path: Path) -> None:
    source = whole(tmp_path / "in", "MNI152")
    path = next(source.rglob("*task-train*"))

    def refused(match: str, **options: Any) -> None:
        with pytest.raises((InputError, UsageError), match=match):
            prepare_bold_moments(source, tmp_path / "o", BoldMomentsSettings(**options))

    refused("no subject 07", subjects=("07",))
    refused("no prepared betas", form="areas")
    train, names = responses("train", 6), NAMES["train"]
    for content, told in (
        ((train[0], names), "has the shape"),
        ((train[:3], names), "3 responses and names of 11 clips"),
        ({"betas": train}, "no responses with the names"),
        ((train * np.nan, names), "no voxel"),
        (Evil(tmp_path / "harm"), "nothing of it was executed"),
        ((train, names, Evil(tmp_path / "harm")), "nothing of it was executed"),
    ):
        dump(path, content)
        refused(told)
    assert not (tmp_path / "harm").exists()
    write_stimuli(tmp_path / "clips")
    (tmp_path / "clips" / "0003.mp4").unlink()
    dump(path, (train, names))
    refused("lacks 1 clips, 0003 first", movies=tmp_path / "clips")
    for file in source.rglob("*.pkl"):
        file.unlink()
        file.symlink_to("not-fetched")
    refused("the content of 2 files was not fetched")
