"""Whitening of sensors and time against what was planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import toeplitz

from phosphene.data.sensor_preprocessing import SensorPreprocessor, load_preprocessor
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

CHANS, TIMES = 4, 20
SPACE = np.array([[4, 1, 0, 0], [1, 2, 0.5, 0], [0, 0.5, 1, 0.2], [0, 0, 0.2, 3]])
TIME = toeplitz(0.8 ** np.arange(TIMES))


def recording(subject: str = "01", n: int = 1500, scale: float = 1.0, **more: Any) -> Recording:
    """Noise of a known covariance over sensors and time, about a mean response."""
    rng = np.random.default_rng([int(subject), n])
    noise = rng.standard_normal((n, CHANS, TIMES))
    data = np.linalg.cholesky(SPACE) @ noise @ np.linalg.cholesky(TIME).T
    data = scale * (data + np.sin(np.arange(TIMES))).astype(np.float32)
    table = pd.DataFrame({"stimulus_id": [f"p{row % 50}" for row in range(n)], "split": "train"})
    info = SensorInfo(tuple("abcd"), 100.0, -0.05, unit="uV", reference="average")
    table = complete_trials(table, n)
    return replace(Recording(data, "eeg", subject, table, info=info), **more)


def test_planted_noise_becomes_white_over_sensors_and_time() -> None:
    given = recording()
    fitted = SensorPreprocessor(window=(-0.05, 1.0)).fit(given)
    white = fitted.transform(given).data.reshape(len(given), -1)
    assert np.abs(white.mean(axis=0)).max() < 1e-3
    covariance = white.T @ white / len(white)
    # Shrinkage by 1 % leaves a little; 1,500 trials scatter by .026.
    assert np.abs(covariance - np.eye(len(covariance))).max() < 0.15
    assert np.abs(covariance - np.eye(len(covariance))).mean() < 0.03


def test_means_of_samples_keep_a_standard_deviation_of_one() -> None:
    given = recording()
    fitted = SensorPreprocessor(window=(-0.05, 1.0), bin=5).fit(given)
    found = fitted.transform(given)
    assert found.data.shape == (len(given), CHANS, 4)
    assert found.data.std() == pytest.approx(1, abs=0.02)
    assert found.info is not None
    assert (found.info.sfreq, found.info.unit) == (20.0, "whitened")
    assert found.info.tmin == pytest.approx(-0.05 + 0.02)  # the middle of five samples


def test_the_unit_of_a_recording_does_not_matter() -> None:
    small, large = (
        SensorPreprocessor(bin=2).fit(recording(scale=s)).transform(recording(scale=s)).data
        for s in (1e-7, 1.0)
    )
    np.testing.assert_allclose(small, large, atol=1e-3)


def test_trials_are_transformed_alone_as_together() -> None:
    given = recording(n=300)
    fitted = SensorPreprocessor(bin=2).fit(given)
    together = fitted.transform(given).data
    np.testing.assert_allclose(fitted.transform(given.select(np.array([7]))).data[0], together[7])
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(fitted.transform(given.select(order)).data, together[order])


def test_saved_and_read_again(tmp_path: Path) -> None:
    given = recording(n=300)
    fitted = SensorPreprocessor(bin=2).fit(given).fit(recording("02", n=300, scale=2.0))
    fitted.save(tmp_path)
    read = load_preprocessor(tmp_path)
    assert isinstance(read, SensorPreprocessor)
    assert read.subjects == ["01", "02"]
    for label in ("01", "09"):
        one = replace(given, subject=label)
        np.testing.assert_allclose(read.transform(one).data, fitted.transform(one).data, atol=1e-4)
    assert read.protocol.info.hash == fitted.protocol.info.hash


def test_a_stranger_is_whitened_by_a_block_of_its_own_trials() -> None:
    """With sensors that are mixed otherwise, the mean noise of others does not whiten."""
    fitted = SensorPreprocessor(window=(-0.05, 1.0)).fit(recording()).fit(recording("02"))
    mixed = recording("03", n=600)
    mixed = replace(mixed, data=np.ascontiguousarray(mixed.data[:, ::-1]))
    block, rest = mixed.select(np.arange(50)), mixed.select(np.arange(50, 600))

    def off(preprocessor: SensorPreprocessor) -> float:
        white = np.swapaxes(preprocessor.transform(rest).data, 0, 1).reshape(CHANS, -1)
        return float(np.abs(np.cov(white) - np.eye(CHANS)).mean())

    assert off(fitted.adapted(block)) < 0.5 * off(fitted)
    assert fitted.subjects == ["01", "02"]  # the first one stays as it was


def test_test_trials_and_other_sensors_are_refused() -> None:
    given = recording(n=100)
    with pytest.raises(InputError, match="test split"):
        SensorPreprocessor().fit(replace(given, trials=given.trials.assign(split="test")))
    fitted = SensorPreprocessor().fit(given)
    assert given.info is not None
    for info in (
        replace(given.info, sfreq=200.0),
        replace(given.info, unit="V"),
        replace(given.info, ch_names=tuple("abdc")),
        replace(given.info, tmin=0.1),
    ):
        with pytest.raises(InputError, match="Expected: 4 channels"):
            fitted.transform(replace(given, info=info))
    with pytest.raises(InputError, match="variance"):
        SensorPreprocessor().fit(replace(given, data=np.zeros_like(given.data)))
    with pytest.raises(InputError, match="window"):
        SensorPreprocessor(window=(3.0, 4.0)).fit(given)
    with pytest.raises(UsageError, match="not fitted"):
        _ = SensorPreprocessor().protocol
