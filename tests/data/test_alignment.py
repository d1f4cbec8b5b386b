"""Alignment without labels, and which trials may be used for it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phosphene.data.alignment import EuclideanAlignment, calibration_rows
from phosphene.errors import InputError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording


def recording(data: np.ndarray, table: pd.DataFrame | None = None) -> Recording:
    names = tuple(f"C{k}" for k in range(data.shape[1]))
    info = SensorInfo(names, 250.0, unit="uV")
    return Recording(data, "eeg", "01", complete_trials(table, len(data)), info=info)


def test_the_mean_covariance_becomes_the_identity() -> None:
    rng = np.random.default_rng(0)
    trials = recording(
        np.einsum("cd,ndt->nct", rng.normal(size=(4, 4)), rng.normal(size=(30, 4, 50)))
    )
    fitted = EuclideanAlignment.fit(trials)
    aligned = fitted.apply(trials)
    mean = np.einsum("nct,ndt->cd", aligned.data, aligned.data) / (30 * 50)
    np.testing.assert_allclose(mean, np.eye(4), atol=1e-5)
    assert (aligned.info.unit, fitted.n_trials) == ("whitened", 30)
    np.testing.assert_allclose(fitted.matrix, fitted.matrix.T, atol=1e-12)


def test_subjects_that_differ_by_a_rotation_and_scale_meet() -> None:
    """A symmetric mixing of one subject's white sources is undone up to nothing."""
    rng = np.random.default_rng(1)
    sources = rng.normal(size=(200, 3, 40))
    white = EuclideanAlignment.fit(recording(sources)).apply(recording(sources)).data
    mixing = rng.normal(size=(3, 3))
    mixing = mixing @ mixing.T + np.eye(3)
    mixed = recording(np.einsum("cd,ndt->nct", mixing, white.astype(np.float64)))
    back = EuclideanAlignment.fit(mixed).apply(mixed).data
    np.testing.assert_allclose(back, white, atol=1e-4)


def test_dependent_channels_are_refused() -> None:
    data = np.random.default_rng(2).normal(size=(20, 3, 30))
    data -= data.mean(axis=1, keepdims=True)
    with pytest.raises(InputError, match="singular"):
        EuclideanAlignment.fit(recording(data))


def test_calibration_shares_neither_trials_nor_pictures_with_the_test() -> None:
    table = pd.DataFrame({"stimulus_id": list("abcabcdefg"), "split": ["test"] * 3 + ["train"] * 7})
    given = recording(np.random.default_rng(3).normal(size=(10, 2, 5)), table)
    rows = calibration_rows(given, 3)
    assert rows.tolist() == [6, 7, 8]
    with pytest.raises(InputError, match="4 trials of subject 01"):
        calibration_rows(given, 5)
