from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.data.virtual import VirtualSubject, plan_trials
from phosphene.data.virtual.areas import get_preset
from phosphene.data.virtual.confounds import AROUSAL, DRIFT
from phosphene.data.virtual.haemodynamics import run_model
from phosphene.data.virtual.noise import build_noise
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]


def standardised(betas: Array, sessions: Any) -> Array:
    out = np.empty_like(betas)
    for session in np.unique(sessions):
        rows = sessions == session
        out[rows] = (betas[rows] - betas[rows].mean(axis=0)) / betas[rows].std(axis=0)
    return out


def test_every_picture_is_shown_as_often_as_asked() -> None:
    trials = plan_trials(50, 4, seed=1)
    assert (trials.groupby("stimulus")["repetition"].apply(sorted) == [[1, 2, 3, 4]] * 50).all()
    assert trials["session"].nunique() == 3
    assert trials["trial"].tolist() == list(range(200))
    assert plan_trials(50, 4, seed=1).equals(trials)
    assert not plan_trials(50, 4, seed=2).equals(trials)
    assert plan_trials(800, 1, seed=0)["session"].nunique() == 2
    assert plan_trials(700, 1, seed=0).groupby("run").size().max() <= 60


@pytest.mark.parametrize(("pictures", "repetitions", "sessions"), [(0, 3, None), (5, 0, None)])
def test_an_empty_plan_is_refused(pictures: int, repetitions: int, sessions: Any) -> None:
    with pytest.raises(UsageError, match="at least one"):
        plan_trials(pictures, repetitions, seed=0, sessions=sessions)


def test_more_sessions_than_trials_are_refused() -> None:
    with pytest.raises(UsageError, match="sessions"):
        plan_trials(3, 1, seed=0, sessions=4)


def test_simulation_repeats_by_seed_and_writes_where_told(
    subject: VirtualSubject, signal: Array
) -> None:
    one = subject.simulate(signal, repetitions=2, seed=3)
    out = np.zeros_like(one.betas)
    again = subject.simulate(signal, repetitions=2, seed=3, out=out)
    assert again.betas is out
    np.testing.assert_array_equal(one.betas, out)
    other = subject.simulate(signal, repetitions=2, seed=4)
    assert abs(np.corrcoef(one.betas[:, 5], other.betas[:, 5])[0, 1]) < 0.9
    recording = one.recording()
    assert recording.data.shape == (24, subject.n_voxels)
    assert recording.trials["repetition"].max() == 2


def test_measured_signal_to_noise_is_the_planned_one(subject: VirtualSubject) -> None:
    signal = (subject._calibration.signal * subject.amplitude).astype(np.float32)
    simulation = subject.simulate(signal, repetitions=3, seed=9)
    betas = standardised(simulation.betas, simulation.trials["session"].to_numpy())
    order = np.argsort(simulation.trials["stimulus"].to_numpy(), kind="stable")
    grouped = betas[order].reshape(len(signal), 3, -1)
    noise = grouped.var(axis=1, ddof=1).mean(axis=0)
    ratio = np.sqrt(np.maximum(betas.var(axis=0) - noise, 0) / noise)
    assert np.median(subject.ncsnr) == pytest.approx(0.42, rel=0.01)
    assert np.percentile(subject.ncsnr, 95) == pytest.approx(0.9, rel=0.02)
    assert np.median(ratio) == pytest.approx(0.42, rel=0.08)
    assert np.corrcoef(ratio, subject.ncsnr)[0, 1] > 0.9


def test_noise_has_the_stated_covariance(subject: VirtualSubject) -> None:
    noise, generator = subject.noise, np.random.default_rng(0)
    model = run_model(noise.tr, 60)
    errors = np.concatenate(
        [
            noise.sample_errors(model, generator) + noise.sample_state(60, generator)
            for _ in range(10)
        ]
    )
    voxels = np.random.default_rng(1).permutation(subject.n_voxels)[:400]
    scale = np.outer(noise.sd[voxels], noise.sd[voxels])
    planned = noise.covariance()[np.ix_(voxels, voxels)] / scale
    found = errors[:, voxels].T @ errors[:, voxels] / len(errors) / scale
    np.testing.assert_allclose(np.diag(planned), 1, rtol=1e-4)
    assert np.diag(found).mean() == pytest.approx(1, abs=0.05)
    pairs = np.triu_indices(len(voxels), 1)
    slope = (planned[pairs] * found[pairs]).sum() / (planned[pairs] ** 2).sum()
    assert slope == pytest.approx(1, abs=0.12)
    assert np.corrcoef(planned[pairs], found[pairs])[0, 1] > 0.8


def test_noise_is_made_as_documented(subject: VirtualSubject) -> None:
    noise = subject.noise
    share = (noise.state_loadings**2).sum(axis=0) / noise.sd**2
    assert share.mean() == pytest.approx(0.2, abs=0.001)
    total = share + sum(part.share for part in noise.components)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    for part in noise.components:
        assert 0.3 <= part.correlation <= 0.5
    # The state's noise is the signal's own: nothing of it outside the span of signals.
    low = share < 0.7
    pattern = noise.state_loadings[:, low] / subject.amplitude[low]
    span = subject._calibration.signal[:, low].astype(np.float64)
    fitted = np.linalg.lstsq(span.T, pattern[-1], rcond=None)[0] @ span
    assert np.abs(fitted - pattern[-1]).max() < 0.02 * np.abs(pattern[-1]).max()


def test_independent_noise_is_independent(subject: VirtualSubject) -> None:
    preset = get_preset("independent")
    assert preset.independent
    reference = subject._calibration.signal
    noise, ncsnr = build_noise("01", subject.anatomy, preset, subject.amplitude, reference)
    covariance = noise.covariance()
    np.testing.assert_array_equal(covariance, np.diag(np.diag(covariance)))
    np.testing.assert_allclose(np.diag(covariance), noise.sd**2, rtol=1e-5)
    np.testing.assert_array_equal(ncsnr, subject.ncsnr)


def test_repeated_pictures_get_weaker_responses(subject: VirtualSubject) -> None:
    zeros = np.zeros((40, subject.n_voxels), dtype=np.float32)
    simulation = subject.simulate(zeros, repetitions=6, seed=1, sessions=1)
    first = (simulation.trials["repetition"] == 1).to_numpy()
    # Offsets and drift belong to the session: average over voxels to see the suppression.
    ratio = simulation.betas[~first].mean() / simulation.betas[first].mean()
    assert 0.7 < ratio < 1.0


def test_lss_mixes_neighbouring_trials(subject: VirtualSubject, signal: Array) -> None:
    clean = subject.simulate(signal, repetitions=1, seed=2)
    mixed = subject.simulate(signal, repetitions=1, seed=2, estimator="lss")
    assert clean.betas.shape == mixed.betas.shape
    assert np.abs(clean.betas - mixed.betas).max() > 0.1
    covariance = subject.noise.covariance("lss")
    assert np.linalg.eigvalsh(covariance[:50, :50]).min() > 0


def test_arousal_adds_to_the_whole_brain_by_category_and_changes_nothing_else(
    subject: VirtualSubject, signal: Array
) -> None:
    kinds = ["a", "b", "c"] * 4
    clean = subject.simulate(signal, repetitions=2, seed=5)
    tied = subject.simulate(signal, repetitions=2, seed=5, confounds=["arousal"], categories=kinds)
    level = np.array([-AROUSAL, 0, AROUSAL])[clean.trials["stimulus"].to_numpy() % 3]
    spread = np.hypot(subject.noise.sd, subject.amplitude)
    gain = clean.trials["gain"].to_numpy()
    added = (gain * level)[:, None] * spread
    np.testing.assert_allclose(tied.betas - clean.betas, added, atol=1e-4)


def test_block_drift_orders_by_category_and_adds_a_ramp(
    subject: VirtualSubject, signal: Array
) -> None:
    kinds = ["a", "b", "c"] * 4
    zeros = np.zeros_like(signal)
    clean = subject.simulate(zeros, repetitions=1, seed=5)
    tied = subject.simulate(
        zeros, repetitions=1, seed=5, confounds=["block-drift"], categories=kinds
    )
    shown = np.array(kinds)[tied.trials["stimulus"].to_numpy()]
    assert (shown[1:] != shown[:-1]).sum() == 2
    spread = np.hypot(subject.noise.sd, subject.amplitude)
    ramp = DRIFT * np.linspace(-0.5, 0.5, len(zeros))[:, None] * spread
    np.testing.assert_allclose(tied.betas - clean.betas, ramp, atol=1e-4)


@pytest.mark.parametrize("estimator", ["lsa", "lss"])
def test_one_trial_is_enough(subject: VirtualSubject, signal: Array, estimator: str) -> None:
    simulation = subject.simulate(signal[:1], repetitions=1, seed=0, estimator=estimator)
    assert simulation.betas.shape == (1, subject.n_voxels)
    assert np.isfinite(simulation.betas).all()
    with pytest.raises(InputError, match="session 01 with a single trial"):
        simulation.averaged()


def test_averages_are_the_mean_of_standardised_trials(
    subject: VirtualSubject, signal: Array
) -> None:
    simulation = subject.simulate(signal, repetitions=2, seed=6)
    trials = simulation.trials
    betas = standardised(simulation.betas, trials["session"].to_numpy())
    stimulus = trials["stimulus"].to_numpy()
    expected = np.stack([betas[stimulus == k].mean(axis=0) for k in range(12)])
    np.testing.assert_allclose(simulation.averaged(), expected, atol=1e-5)


def test_wrong_arguments_are_refused(subject: VirtualSubject, signal: Array) -> None:
    with pytest.raises(InputError, match="one row per picture"):
        subject.simulate(signal[:, :-1])
    with pytest.raises(InputError, match="out"):
        subject.simulate(signal, repetitions=1, out=np.zeros((3, 3)))
    with pytest.raises(UsageError, match="did you mean 'gaze'"):
        subject.simulate(signal, confounds=["gase"])
    with pytest.raises(UsageError, match="categories"):
        subject.simulate(signal, confounds=["arousal"])
