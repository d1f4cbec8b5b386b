"""A miniature SEED-DV: clips at their seconds, whole blocks held out, the confound said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.confounds import CONCEPT_CUE, confound_lines
from phosphene.data.movies import seed_dv as module
from phosphene.data.movies import write_movie
from phosphene.data.movies.seed_dv import SeedDVSettings, prepare_seed_dv
from phosphene.errors import InputError, UsageError


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four concepts in place of forty, at 10 Hz in place of 200."""
    monkeypatch.setattr(module, "CONCEPTS", 4)
    monkeypatch.setattr(module, "RATE", 10.0)
    monkeypatch.setattr(module, "BLOCK_SECONDS", 52.0)
    monkeypatch.setattr(module, "SEGMENTED", (7, 4, 5, 62, 20))
    monkeypatch.setattr(module, "WHOLE", (7, 62, 520))


def write(root: Path, segmented: bool, size: float = 20.0) -> Path:
    """Every sample tells its block and second."""
    whole = np.random.default_rng(0).normal(0, size, (7, 62, 520))
    whole[:, 0] = np.arange(7)[:, None] * 1000 + np.arange(520) / 10
    folder = root / ("Segmented_Rawf_200Hz_2s" if segmented else "EEG")
    folder.mkdir(parents=True)
    if segmented:
        starts = [[round(10 * module.clip_start(k, c)) for c in range(5)] for k in range(4)]
        whole = np.stack(
            [np.stack([whole[:, :, s : s + 20] for s in row], axis=1) for row in starts], axis=1
        )
    np.save(folder / "sub3.npy", whole)
    return root


@pytest.mark.parametrize("segmented", [True, False])
def test_clips_lie_at_their_seconds_and_blocks_are_held_out(
    segmented: bool, tmp_path: Path, cli: Any
) -> None:
    source = write(tmp_path / "in", segmented)
    np.save(source / "All_video_label.npy", np.stack([np.roll([1, 2, 3, 4], k) for k in range(7)]))
    done = cli("prepare", "seed-dv", "--source", source, "--output", tmp_path / "o").succeeds()
    assert done.out.splitlines()[0].startswith(f"{CONCEPT_CUE}: people were told the concept")
    assert "taken to be in uV" in done.out
    dataset = CanonicalDataset.open(tmp_path / "o")
    assert dataset.file.name == f"seed-dv {CONCEPT_CUE}"
    table, recording = dataset.table, dataset.recording("03")
    seconds = np.asarray(recording.data[:, 0, 0], dtype=float)
    block = table["run"].astype(int).to_numpy()
    np.testing.assert_allclose(seconds, (block - 1) * 1000 + table["movie_time"], atol=0.01)
    splits = table.groupby("run")["split"].unique()
    assert {run: list(names) for run, names in splits.items()} == {
        f"{k:02d}": ["test" if k == 7 else "validation" if k == 6 else "train"] for k in range(1, 8)
    }
    assert table["concept"].iloc[20] == "concept-04"
    assert (recording.info.unit, recording.info.sfreq) == ("uV", 10.0)


def test_middle_frames_stand_for_clips(tmp_path: Path) -> None:
    source = write(tmp_path / "in", segmented=True, size=2e-5)
    (source / "Video").mkdir()
    frames = np.broadcast_to(
        (4 * np.arange(52, dtype=np.uint8))[:, None, None, None], (52, 16, 16, 3)
    )
    for block, ending in enumerate(("st", "nd", "rd", "th", "th", "th", "th"), start=1):
        write_movie(source / "Video" / f"{block}{ending}_10min.mp4", frames, 1.0)
    dataset, said = prepare_seed_dv(source, tmp_path / "o", SeedDVSettings(size=16))
    assert "middle frames of 140 clips" in said
    assert any("in V by" in line for line in said)
    picture = dataset.pictures(["block-2_place-02_clip-3"])[0]  # second 13 + 3 + 4, its middle 21
    assert abs(float(picture.mean()) - 4 * 21) < 4


def test_wrong_input_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no recording"):
        prepare_seed_dv(tmp_path, tmp_path / "o", SeedDVSettings())
    source = write(tmp_path / "in", segmented=True)
    for blocks in ({"test": (8,)}, {"test": (6,)}, {"test": ()}, {"test": (1, 2, 3, 4, 5, 7)}):
        with pytest.raises(UsageError, match="only whole blocks"):
            prepare_seed_dv(source, tmp_path / "o", SeedDVSettings(**blocks))
    with pytest.raises(InputError, match="of 04"):
        prepare_seed_dv(source, tmp_path / "o", SeedDVSettings(subjects=("04",)))
    labels = tmp_path / "labels.npy"
    np.save(labels, np.ones((7, 4), int))
    with pytest.raises(InputError, match="each concept once"):
        prepare_seed_dv(source, tmp_path / "o", SeedDVSettings(labels=labels))
    np.save(next(source.rglob("sub3.npy")), np.full((7, 4, 5, 62, 20), np.nan))
    with pytest.raises(InputError, match="not finite"):
        prepare_seed_dv(source, tmp_path / "o", SeedDVSettings())
    np.save(next(source.rglob("sub3.npy")), np.zeros((7, 4, 5, 62, 100)))
    with pytest.raises(InputError, match="of shape"):
        prepare_seed_dv(source, tmp_path / "o", SeedDVSettings())


def test_results_say_it() -> None:
    assert confound_lines(f"seed-dv {CONCEPT_CUE} (abc)")[0].startswith(f"careful: {CONCEPT_CUE}")
    assert confound_lines("things-eeg2") == []
