from __future__ import annotations

import numpy as np
import pytest

from phosphene.data.virtual.haemodynamics import (
    HRF_PARAMETERS,
    PAUSE_SECONDS,
    PICTURE_SECONDS,
    TRIALS_PER_BLANK,
    double_gamma,
    run_model,
)
from phosphene.errors import UsageError


def test_twenty_responses_peak_at_five_seconds_give_or_take_one() -> None:
    times = np.arange(0, 40, 0.01)
    assert len(HRF_PARAMETERS) == 20
    for peak, undershoot in HRF_PARAMETERS:
        response = double_gamma(times, peak, undershoot)
        assert times[response.argmax()] == pytest.approx(peak, abs=0.05)
        assert 4 - 0.05 <= times[response.argmax()] <= 6 + 0.05
        assert undershoot - 0.1 <= times[response.argmin()] <= undershoot + 3
        assert response[times < 0.2].max() < 0.01 * response.max()


def test_timing_is_three_on_one_off_with_empty_trials() -> None:
    steps = np.diff(run_model(1.6, 25).onsets)
    step = PICTURE_SECONDS + PAUSE_SECONDS
    assert set(np.round(steps, 6)) == {step, 2 * step}
    assert np.flatnonzero(steps == 2 * step).tolist() == [TRIALS_PER_BLANK - 1, 19]


@pytest.mark.parametrize("hrf", [0, 7, 19])
def test_lsa_equals_one_explicit_model(hrf: int) -> None:
    model = run_model(1.5, 13)
    series = np.random.default_rng(1).normal(size=(model.n_volumes, 3))
    design = np.concatenate([model.design[hrf], model.nuisance], axis=1)
    expected = np.linalg.lstsq(design, series, rcond=None)[0][:13]
    np.testing.assert_allclose(model.estimate[hrf] @ series, expected, atol=1e-8)
    np.testing.assert_allclose(model.mixing(hrf), np.eye(13), atol=1e-8)


def test_one_trial_is_the_same_for_both_estimators() -> None:
    lsa, lss = run_model(1.6, 1), run_model(1.6, 1, "lss")
    assert np.isfinite(lss.estimate).all()
    np.testing.assert_array_equal(lsa.estimate, lss.estimate)


def test_lss_equals_one_explicit_model_per_trial() -> None:
    model = run_model(1.6, 9, "lss")
    series = np.random.default_rng(2).normal(size=(model.n_volumes, 2))
    for trial in range(9):
        own = model.design[4][:, trial : trial + 1]
        rest = model.design[4].sum(axis=1, keepdims=True) - own
        design = np.concatenate([own, rest, model.nuisance], axis=1)
        expected = np.linalg.lstsq(design, series, rcond=None)[0][0]
        np.testing.assert_allclose((model.estimate[4] @ series)[trial], expected, atol=1e-8)


@pytest.mark.parametrize("estimator", ["lsa", "lss"])
def test_errors_of_neighbouring_trials_correlate(estimator: str) -> None:
    """Closed form against simulated AR(1) noise."""
    model = run_model(1.6, 12, estimator)
    covariance = model.error_covariance(9, 9, 0.4)
    generator = np.random.default_rng(3)
    lags = np.abs(np.subtract.outer(np.arange(model.n_volumes), np.arange(model.n_volumes)))
    noise = np.linalg.cholesky(0.4**lags) @ generator.normal(size=(model.n_volumes, 20_000))
    np.testing.assert_allclose(np.cov(model.estimate[9] @ noise), covariance, atol=0.06)
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    assert max(abs(np.diag(correlation, lag)).mean() for lag in (1, 2)) > 0.2
    table = model.error_table(0.4)
    assert table[9, 9] == pytest.approx(np.diag(covariance).mean())


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(UsageError, match="lsa, lss"):
        run_model(1.6, 10, "glmsingle")
