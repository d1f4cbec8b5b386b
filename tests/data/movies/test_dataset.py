"""Movies and runs on disk: what is written comes back, what does not fit is one message."""

from __future__ import annotations

from pathlib import Path

import av
import nibabel as nib
import numpy as np
import pytest

from phosphene.data.movies import Movie, MovieDataset, MovieRun, open_movie, write_movie
from phosphene.data.movies.bids import read_movie_run
from phosphene.data.movies.dataset import write_movie_dataset
from phosphene.data.movies.repetition_time import repetition_time, settle_repetition_time
from phosphene.errors import InputError
from phosphene.storage import write_json, write_text
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def film(n_frames: int = 12, size: int = 16) -> np.ndarray:
    ramp = np.linspace(20, 230, n_frames)[:, None, None, None]
    return np.broadcast_to(ramp, (n_frames, size, size, 3)).astype(np.uint8)


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    write_movie(tmp_path / "a.mp4", film(), fps=4.0)
    return tmp_path / "a.mp4"


def test_frames_come_back_by_number(movie: Path) -> None:
    opened = open_movie(movie)
    assert (opened.fps, opened.n_frames, opened.seconds) == (4.0, 12, 3.0)
    frames = opened.read([3, 0, 11, 3], size=8)
    assert frames.shape == (4, 8, 8, 3)
    expected = film()[[3, 0, 11, 3], 0, 0, 0]
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), expected, atol=3)
    parts = list(opened.read_clips([[0, 1], [1, 3], [11]], size=8))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(parts[1][1], frames[0])
    np.testing.assert_array_equal(parts[2][0], frames[2])
    with pytest.raises(InputError, match="frame 12"):
        opened.read([12], size=8)


def test_a_variable_frame_rate_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for place, picture in zip((0, 1, 2, 7, 8, 9), film(6), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="variable frame rate"):
        open_movie(path)


@pytest.mark.parametrize("content", [b"", b"not a movie", b"\x00" * 5000])
def test_what_cannot_be_decoded_is_one_message(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.mp4"):
        open_movie(tmp_path / "x.mp4")
    with pytest.raises(InputError, match="no movie"):
        open_movie(tmp_path / "none.mp4")


def test_a_damaged_movie_is_one_message(movie: Path) -> None:
    content = bytearray(movie.read_bytes())
    content[-400:] = b"\xff" * 400
    movie.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"a\.mp4"):
        open_movie(movie).read(range(12), size=8)


def runs_of(movie: Path) -> list[MovieRun]:
    space = VoxelSpace.columns(5)
    runs = []
    for repetition, onset in ((1, 4.0), (2, -1.0)):
        data = np.random.default_rng(repetition).normal(size=(10, 5)).astype(np.float32)
        recording = Recording(data, "fmri", "01", complete_trials(None, 10), space)
        runs.append(
            MovieRun(recording, "a", 1.0, onset, duration=3.0, cuts=(1.5,), repetition=repetition)
        )
    return runs


def test_a_dataset_gives_back_its_runs(tmp_path: Path, movie: Path) -> None:
    runs = runs_of(movie)
    made = write_movie_dataset(
        tmp_path / "data", runs, [Movie("a", movie, (1.5,), "a ramp")], splits={"a": "train"}
    )
    assert made.movie("a").caption == "a ramp"
    assert made.subjects == ["01"]
    found = MovieDataset.open(tmp_path / "data").runs("01", ["train"])
    for run, back in zip(runs, found, strict=True):
        np.testing.assert_array_equal(back.recording.data, run.recording.data)
        assert (back.tr, back.onset, back.duration) == (run.tr, run.onset, 3.0)
        assert (back.cuts, back.repetition, back.segment) == ((1.5,), run.repetition, "a")
        np.testing.assert_array_equal(back.clips(1.0).rows, run.clips(1.0).rows)
    with pytest.raises(InputError, match="no run in test"):
        made.runs("01", ["test"])
    with pytest.raises(InputError, match=r"movies\.tsv"):
        MovieDataset.open(tmp_path)


def volume(path: Path, tr: float, unit: str = "sec") -> Path:
    data = np.random.default_rng(0).normal(10, 1, (2, 2, 2, 8)).astype(np.float32)
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_zooms((1, 1, 1, tr))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, path)
    return path


def test_the_repetition_time_is_read_in_any_unit_and_contradictions_are_refused(
    tmp_path: Path,
) -> None:
    assert repetition_time(volume(tmp_path / "a.nii.gz", 1.5)) == 1.5
    path = volume(tmp_path / "b.nii.gz", 1500.0, "msec")
    assert settle_repetition_time(path, None) == pytest.approx(1.5)
    assert settle_repetition_time(path, 1.5) == pytest.approx(1.5)
    with pytest.raises(InputError, match=r"--tr is 2 s and .* states 1\.5 s"):
        settle_repetition_time(path, 2.0)
    write_json(tmp_path / "b.json", {"RepetitionTime": 2.0})
    with pytest.raises(InputError, match="one and the same"):
        repetition_time(path)
    np.save(tmp_path / "c.npy", np.zeros((4, 2)))
    with pytest.raises(InputError, match="does not state"):
        settle_repetition_time(tmp_path / "c.npy", None)
    assert settle_repetition_time(tmp_path / "c.npy", 2.0) == 2.0
    with pytest.raises(InputError, match="TR of 2000"):
        settle_repetition_time(tmp_path / "c.npy", 2000.0)


def test_a_run_takes_the_onset_from_its_events(tmp_path: Path) -> None:
    path = volume(tmp_path / "sub-01_task-m_run-02_bold.nii.gz", 1.0)
    write_text(
        tmp_path / "sub-01_task-m_run-02_events.tsv",
        "onset\tduration\tstim_file\n2.5\t4\tfilm.mp4\n",
    )
    space = VoxelSpace((2, 2, 2), np.arange(8), np.eye(4))
    run = read_movie_run(path, subject="01", space=space)
    assert (run.onset, run.duration, run.segment) == (2.5, 4.0, "film")
    assert run.recording.trials["run"].unique().tolist() == ["02"]
    assert read_movie_run(path, subject="01", space=space, onset=1.0).onset == 1.0
    with pytest.raises(InputError, match="before the run ends"):
        read_movie_run(path, subject="01", space=space, onset=9.0)


def test_volumes_of_nan_are_one_message(tmp_path: Path) -> None:
    path = volume(tmp_path / "a.nii.gz", 1.0)
    data = nib.load(path).get_fdata()
    data[..., 3] = np.nan
    image = nib.Nifti1Image(data.astype(np.float32), np.eye(4))
    image.header.set_zooms((1, 1, 1, 1.0))
    nib.save(image, path)
    space = VoxelSpace((2, 2, 2), np.arange(8), np.eye(4))
    with pytest.raises(InputError, match="NaN or infinity"):
        read_movie_run(path, subject="01", space=space)


def test_a_header_that_nobody_filled_in_contradicts_nobody(tmp_path: Path) -> None:
    """Writers of NIfTI leave 1 and no unit where no TR was given."""
    path = volume(tmp_path / "a.nii.gz", 1.0, "unknown")
    assert settle_repetition_time(path, None) == 1.0
    assert settle_repetition_time(path, 2.0) == 2.0
    write_json(tmp_path / "a.json", {"RepetitionTime": 2.0})
    assert settle_repetition_time(path, None) == 2.0
    with pytest.raises(InputError, match=r"--tr is 3 s and .* states 2 s"):
        settle_repetition_time(path, 3.0)


def test_what_is_no_run_is_told_by_what_it_is(tmp_path: Path) -> None:
    space = VoxelSpace((2, 2, 2), np.arange(8), np.eye(4))

    def refused(path: Path, match: str) -> None:
        with pytest.raises(InputError, match=match):
            read_movie_run(path, subject="01", space=space)

    refused(tmp_path / "nothing.nii.gz", "there is no file")
    refused(tmp_path / "nothing.npy", "there is no file")
    refused(tmp_path, "is a folder")
    write_text(tmp_path / "text.nii.gz", "no volumes")
    refused(tmp_path / "text.nii.gz", "is damaged or is not")
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), tmp_path / "map.nii.gz")
    refused(tmp_path / "map.nii.gz", r"a single volume of the shape \(2, 2, 2\)")
    still = nib.Nifti1Image(np.ones((2, 2, 2, 5), np.float32), np.eye(4))
    nib.save(still, tmp_path / "still.nii.gz")
    refused(tmp_path / "still.nii.gz", "5 times the same volume")


@pytest.mark.parametrize(
    ("table", "message", "enough"),
    [
        ("onset\tduration\tstim_file\nfour\t4\ta.mp4\n", "the onset 'four'", False),
        ("onset\tduration\tstim_file\n0\tlong\ta.mp4\n", "the duration 'long'", False),
        ("onset\tduration\tstim_file\nn/a\t4\ta.mp4\n", "when the movie began", True),
        ("onset\tduration\ttrial_type\n0\t4\tmovie\n", "no column stim_file", True),
        ("onset\tduration\tstim_file\n0\t4\tn/a\n", "names 0 movies", True),
    ],
)
def test_events_that_say_too_little_are_enough_where_the_onset_is_given(
    tmp_path: Path, table: str, message: str, enough: bool
) -> None:
    path = volume(tmp_path / "sub-01_task-m_bold.nii.gz", 1.0)
    write_text(tmp_path / "sub-01_task-m_events.tsv", table)
    space = VoxelSpace((2, 2, 2), np.arange(8), np.eye(4))
    with pytest.raises(InputError, match=message):
        read_movie_run(path, subject="01", space=space)
    if enough:
        assert read_movie_run(path, subject="01", space=space, onset=1.0).onset == 1.0
