from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from phosphene.errors import UsageError
from phosphene.pipelines.evaluation.brain_controls import (
    fewer_repetitions,
    noise_brain,
    other_brains,
    repetition_counts,
)
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def recording(stimuli: list[str], seed: int = 0) -> Recording:
    data = np.random.default_rng(seed).normal(size=(len(stimuli), 5)).astype(np.float32)
    table = complete_trials(pd.DataFrame({"stimulus_id": stimuli}), len(stimuli))
    return Recording(data, "fmri", "01", table, VoxelSpace.columns(5))


@pytest.mark.parametrize("seed", range(5))
def test_every_item_gets_the_brain_of_another_picture(seed: int) -> None:
    pictures = ["a", "b", "a", "c", "b", "c", "d", "d"]
    order = other_brains(pictures, seed=seed).tolist()
    assert all(pictures[row] != name for row, name in zip(order, pictures, strict=True))
    assert sorted(order) == list(range(8))  # as many items each: every recording is used once


def test_unequal_numbers_of_items_still_get_another_picture() -> None:
    pictures = ["a"] * 5 + ["b"]
    order = other_brains(pictures, seed=0).tolist()
    assert order[:5] == [5] * 5
    assert order[5] < 5
    with pytest.raises(UsageError, match="one picture"):
        other_brains(["a", "a"], seed=0)


def test_noise_keeps_means_and_spreads_and_nothing_of_the_trials() -> None:
    items = recording([f"{row}" for row in range(4000)])
    noise = noise_brain(items, seed=0)
    np.testing.assert_allclose(noise.data.mean(axis=0), items.data.mean(axis=0), atol=0.06)
    np.testing.assert_allclose(noise.data.std(axis=0), items.data.std(axis=0), rtol=0.05)
    for column in range(5):
        assert abs(np.corrcoef(noise.data[:, column], items.data[:, column])[0, 1]) < 0.06


def test_counts_of_the_curve_stay_below_all_repetitions_of_every_picture() -> None:
    assert repetition_counts(recording(["a", "b"])) == []
    assert repetition_counts(recording(["a", "b"] * 2)) == [1]
    assert repetition_counts(recording(["a", "b"] * 8)) == [1, 2, 4]
    assert repetition_counts(recording(["a"] * 3 + ["b"] * 9)) == [1, 2]


def test_averages_over_fewer_repetitions_are_means_of_that_pictures_trials() -> None:
    trials = recording(["a", "b", "c"] * 4)
    pictures = ["c", "a", "b"]
    all_of_them = fewer_repetitions(trials, pictures, 4, seed=0)
    whole = trials.average("stimulus_id")
    np.testing.assert_allclose(all_of_them.data, whole.data[[2, 0, 1]], atol=1e-6)
    assert all_of_them.trials["stimulus_id"].tolist() == pictures
    one = fewer_repetitions(trials, pictures, 1, seed=0)
    for row, name in enumerate(pictures):
        own = trials.data[(trials.trials["stimulus_id"] == name).to_numpy()]
        assert (np.abs(own - one.data[row]).max(axis=1) < 1e-6).any()
    drawn = Counter(
        tuple(fewer_repetitions(trials, ["a"], 1, seed=seed).data[0]) for seed in range(20)
    )
    assert len(drawn) > 1  # chosen at random, not always the first
