"""Noise ceilings of planted signal and noise, with their number of trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.ceilings import (
    noise_ceiling,
    normalise_correlation,
    signal_to_noise,
)
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def recording(ratio: np.ndarray, counts: np.ndarray, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    shown = np.repeat(np.arange(len(counts)), counts)
    signal = rng.normal(size=(len(counts), len(ratio))) * ratio
    data = (signal[shown] + rng.normal(size=(len(shown), len(ratio)))).astype(np.float32)
    table = complete_trials(pd.DataFrame({"stimulus_id": shown.astype(str)}), len(shown))
    return Recording(data, "fmri", "01", table, VoxelSpace.columns(len(ratio)))


def test_planted_ratios_come_back() -> None:
    ratio = np.array([0.0, 0.2, 0.42, 0.9, 2.0])
    counts = np.random.default_rng(1).integers(1, 5, size=1500)  # unequal, some never repeated
    found = signal_to_noise(recording(np.repeat(ratio, 40), counts)).reshape(5, 40)
    np.testing.assert_allclose(np.square(found[1:]).mean(axis=1), ratio[1:] ** 2, 0.05, 4e-3)
    assert np.median(found[0]) < 0.1


def test_ceilings_of_one_and_three_trials() -> None:
    np.testing.assert_allclose(noise_ceiling(np.array([0.42, 0.9]), 1), [0.15, 0.45], atol=0.003)
    assert noise_ceiling(0.42, 3) == pytest.approx(0.35, abs=0.005)
    with pytest.raises(UsageError):
        noise_ceiling(0.42, 0)


def test_the_true_signal_reaches_the_ceiling() -> None:
    rng = np.random.default_rng(2)
    ratio, n_trials = np.array([0.3, 0.6, 1.2]), 3
    signal = rng.normal(size=(20000, 3)) * ratio
    measured = signal + rng.normal(size=signal.shape) / np.sqrt(n_trials)
    r = np.array([np.corrcoef(signal[:, k], measured[:, k])[0, 1] for k in range(3)])
    np.testing.assert_allclose(normalise_correlation(r, ratio, n_trials), 1, atol=0.03)
    assert np.isnan(normalise_correlation(r, np.array([0.01, 0.6, 1.2]), 1)[0])


def test_without_repetitions_there_is_no_ceiling() -> None:
    with pytest.raises(InputError, match="0 pictures with repetitions"):
        signal_to_noise(recording(np.ones(2), np.ones(9, dtype=int)))


def test_without_noise_the_ceiling_is_one() -> None:
    """Trials of a picture that never differ are the best recording there is, not the worst."""
    clean = recording(np.ones(3), np.full(6, 4))
    shown = clean.trials["stimulus_id"].astype(int).to_numpy()
    values = np.stack([0.1 * shown + 1000, np.full(len(shown), 0.3), shown % 2], axis=1)
    found = signal_to_noise(replace(clean, data=values.astype(np.float32)))
    assert found.tolist() == [np.inf, 0, np.inf]  # the second voxel never says anything
    assert noise_ceiling(found, 1).tolist() == [1, 0, 1]
    np.testing.assert_array_equal(
        normalise_correlation(np.array([0.5, 0.5, 1]), found, 2), [0.5, np.nan, 1]
    )
