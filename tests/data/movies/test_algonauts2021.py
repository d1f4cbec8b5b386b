"""A miniature Algonauts 2021: responses as volumes of movies, clips in a row, pickles safe."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.movies import MovieDataset, open_movie, write_movie
from phosphene.data.movies import clip_responses as module
from phosphene.data.movies.algonauts2021 import Algonauts2021Settings, prepare_algonauts2021
from phosphene.errors import InputError, UsageError

N, SHOWINGS = 26, 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LENGTH", 10)


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    mini = tmp_path / "in" / "participants_data_v2021" / "mini_track" / "sub01"
    for area, width in (("V1", 4), ("LOC", 3)):
        dump(mini / f"{area}.pkl", {"train": rng.normal(size=(N, SHOWINGS, width))})
    mask = np.zeros((2, 3, 4), bool)
    mask[1, :, :2] = True
    full = tmp_path / "in" / "participants_data_v2021" / "full_track" / "sub01"
    data = rng.normal(size=(N, SHOWINGS, 6)).astype(np.float32)
    dump(full / "WB.pkl", {"train": data, "voxel_mask": mask})
    return tmp_path / "in"


def clips(folder: Path, count: int = N, seconds: float = 3.0) -> None:
    folder.mkdir()
    for number in range(count):
        frames = np.full((round(4 * seconds), 16, 16, 3), 8 * number, np.uint8)
        write_movie(folder / f"{number:04d}_x.mp4", frames, 4.0)


def test_every_clip_reads_its_own_response(
    source: Path, tmp_path: Path, cli: Any, few: None
) -> None:
    clips(source / "AlgonautsVideos268_All_30fpsmax", N + 2)
    done = cli(
        "prepare", "algonauts2021", "--source", source, "--output", tmp_path / "out", "--size", 16,
        "--fps", 4, "--validation", 1, "--test", 1,
    ).succeeds()  # fmt: skip
    assert "voxels: V1 4, LOC 3" in done.out
    assert done.out.splitlines()[-1] == f"dataset: {tmp_path / 'out'}"
    dataset = MovieDataset.open(tmp_path / "out")
    runs = dataset.runs("01", ["train"])
    assert [(run.segment, run.repetition) for run in runs] == [
        ("clips-0001-0010", 1), ("clips-0001-0010", 2), ("clips-0001-0010", 3),
    ]  # fmt: skip
    v1 = pickle.loads((next(source.rglob("V1.pkl"))).read_bytes())["train"]  # written above
    cut = runs[1].clips(3.0, delay=0.0, window=3.0)
    assert len(cut) == 10
    assert not cut.straddles.any()
    np.testing.assert_allclose(runs[1].windows(cut)[:, 0, :4], v1[:10, 1], rtol=1e-6)
    last = open_movie(tmp_path / "out" / "stimuli" / "clips-0021-0026.mp4")
    assert (last.n_frames, last.fps) == (6 * 12, 4.0)
    shown = last.read([0, 71], 16).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(shown, [8 * 20, 8 * 25], atol=4)


def test_the_whole_brain_has_its_places_and_areas_may_be_chosen(
    source: Path, tmp_path: Path, few: None
) -> None:
    settings = Algonauts2021Settings(track="full", validation=1, test=1)
    dataset, notes = prepare_algonauts2021(source, tmp_path / "full", settings)
    assert dataset.canonical.recording("01").space.grid_shape == (2, 3, 4)
    assert any("no clips" in note for note in notes)
    settings = Algonauts2021Settings(areas=("LOC",), validation=1, test=1)
    dataset, _ = prepare_algonauts2021(source, tmp_path / "loc", settings)
    assert dataset.canonical.recording("01").data.shape == (N * SHOWINGS, 3)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_wrong_input_is_told(source: Path, tmp_path: Path, few: None) -> None:
    def prepare(root: Path = source, **options: Any) -> None:
        known = {"validation": 1, "test": 1} | options
        prepare_algonauts2021(root, tmp_path / "o", Algonauts2021Settings(**known))

    with pytest.raises(InputError, match="holds no responses"):
        prepare(tmp_path / "in" / "participants_data_v2021" / "full_track", track="mini")
    with pytest.raises(UsageError, match="no subject 07"):
        prepare(subjects=("07",))
    with pytest.raises(UsageError, match="no area V4"):
        prepare(areas=("V4",))
    with pytest.raises(UsageError, match="left for training"):
        prepare(validation=2)
    with pytest.raises(UsageError, match="even side"):
        prepare(size=17)
    path = next(source.rglob("LOC.pkl"))
    for content, told in (
        ({"train": np.zeros((N, 5))}, "shape"),
        ({"x": 1}, "no `train`"),
        ({"train": np.full((N, SHOWINGS, 3), np.nan)}, "not finite"),
        ({"train": np.zeros((N - 1, SHOWINGS, 3))}, "different numbers"),
        (Evil(tmp_path / "harm"), "nothing of it was executed"),
    ):
        dump(path, content)
        with pytest.raises(InputError, match=told):
            prepare()
    assert not (tmp_path / "harm").exists()
    path.unlink()
    clips(source / "few", 3)
    with pytest.raises(InputError, match="holds 3 clips"):
        prepare(movies=source / "few")
