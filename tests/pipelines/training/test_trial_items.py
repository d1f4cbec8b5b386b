"""Items of trials and their voxels: held, or read from the memory map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.errors import InputError
from phosphene.pipelines.training.brain_materials import held_out_pictures
from phosphene.pipelines.training.trial_items import (
    LazyRows,
    VoxelStore,
    choose_repetitions,
    lazy_recording,
    make_items,
)
from phosphene.types import Recording


@pytest.fixture(scope="module")
def training(tiny_dataset: Path) -> tuple[list[Recording], Preprocessor, dict[str, int]]:
    dataset = CanonicalDataset.open(tiny_dataset)
    recordings = []
    for subject in ("01", "02"):
        trials = dataset.recording(subject).trials
        recordings.append(lazy_recording(dataset, subject, (trials["split"] == "train").to_numpy()))
    preprocessor = Preprocessor()
    for one in recordings:
        preprocessor.fit(one)
    pictures = {f"{row:03d}": row for row in range(40)}
    return recordings, preprocessor, pictures


def test_lazy_rows_are_an_array_of_them() -> None:
    data = np.arange(30).reshape(10, 3)
    rows = np.array([7, 1, 4])
    lazy = LazyRows(data, rows)
    assert (len(lazy), lazy.shape, lazy.ndim) == (3, (3, 3), 2)
    assert np.array_equal(np.asarray(lazy), data[rows])
    assert np.array_equal(lazy[0], data[7])
    assert np.array_equal(lazy[1:], data[[1, 4]])
    assert np.array_equal(lazy[np.array([2, 0])], data[[4, 7]])


def test_preprocessing_learns_the_same_from_lazy_rows(
    training: tuple[list[Recording], Preprocessor, dict[str, int]], tiny_dataset: Path
) -> None:
    recordings, preprocessor, _ = training
    whole = CanonicalDataset.open(tiny_dataset).recording("01", splits=["train"])
    expected = Preprocessor().fit(whole)
    for found, wanted in zip(preprocessor.scaling("01"), expected.scaling("01"), strict=True):
        np.testing.assert_array_equal(found, wanted)
    store = VoxelStore(recordings, preprocessor)
    np.testing.assert_array_equal(
        store.take("01", torch.arange(len(whole))), expected.transform(whole).data
    )


def test_held_and_memory_mapped_voxels_are_the_same(
    training: tuple[list[Recording], Preprocessor, dict[str, int]],
) -> None:
    recordings, preprocessor, _ = training
    held = VoxelStore(recordings, preprocessor)
    size = 4 * len(recordings[0]) * 30
    half = VoxelStore(recordings, preprocessor, budget=size)
    mapped = VoxelStore(recordings, preprocessor, budget=0)
    assert (sorted(held.held), sorted(half.held), mapped.held) == (["01", "02"], ["01"], {})
    rows = torch.tensor([[3, 9], [5, -1]])
    for subject in ("01", "02"):
        values = [one.mean(subject, rows, rows >= 0) for one in (held, half, mapped)]
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[0], values[2])
        trials = held.take(subject, torch.tensor([3, 9, 5]))
        torch.testing.assert_close(values[0], torch.stack([trials[:2].mean(0), trials[2]]))


def test_single_trials_and_pictures_as_items(
    training: tuple[list[Recording], Preprocessor, dict[str, int]],
) -> None:
    recordings, _, pictures = training
    single = make_items(recordings, pictures, "single")
    assert len(single) == 128  # two subjects, 32 pictures, twice
    assert single.rows.shape == (128, 1)
    average = make_items(recordings, pictures, "average")
    assert len(average) == 64
    assert average.subjects == ("01", "02")
    for place in (0, 40, 63):
        names = recordings[int(average.subject[place])].trials["stimulus_id"]
        shown = {pictures[names[row]] for row in average.rows[place].tolist()}
        assert shown == {int(average.target[place])}
    assert sorted(average.rows[average.subject == 1].flatten().tolist()) == list(range(64))


def test_repetitions_are_drawn_evenly() -> None:
    rows = torch.tensor([[4, 8, 2], [6, 7, -1], [5, -1, -1]]).repeat(2000, 1)
    generator = torch.Generator().manual_seed(0)
    kept = choose_repetitions(rows, "random", generator).reshape(2000, 3, 3)
    assert not (kept & (rows < 0).reshape(2000, 3, 3)).any()
    counts = kept.sum(2)
    assert counts.min() == 1
    for item, most in enumerate((3, 2, 1)):
        share = torch.bincount(counts[:, item], minlength=4)[1 : most + 1] / 2000
        assert (share - 1 / most).abs().max() < 0.04
    assert (kept[:, 0].float().mean(0) - 2 / 3).abs().max() < 0.03
    assert torch.equal(choose_repetitions(rows, "average", generator), rows >= 0)


def test_held_out_pictures_are_of_no_training_of_any_subject(tiny_dataset: Path) -> None:
    dataset = CanonicalDataset.open(tiny_dataset)
    both = held_out_pictures(dataset, ("01", "02"), (), 0)
    assert both == {f"{row:03d}" for row in range(32, 40)}
    unmarked = CanonicalDataset(
        dataset.root, dataset.file, dataset.table.assign(split="train"), dataset.stimuli
    )
    drawn = held_out_pictures(unmarked, ("01", "02"), (), 0)
    assert len(drawn) == 2  # a twentieth of 40
    assert drawn == held_out_pictures(unmarked, ("02", "01"), (), 0)
    assert drawn != held_out_pictures(unmarked, ("01",), (), 1)
    twins = dataset.stimuli.assign(hash="same")
    copies = CanonicalDataset(dataset.root, dataset.file, dataset.table, twins)
    assert len(held_out_pictures(copies, ("01",), (), 0)) == 40  # under every name
    with pytest.raises(InputError, match="sessions 77"):
        held_out_pictures(dataset, ("01",), ("77",), 0)
