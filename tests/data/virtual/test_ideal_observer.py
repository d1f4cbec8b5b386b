from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from phosphene.data.virtual import (
    LinearObserver,
    Observer,
    SceneBank,
    VirtualSubject,
    build_bank,
    fraction_of_ideal,
    ideal_identification,
    ideal_pixels,
    posterior_mean,
)
from phosphene.data.virtual.ideal_observer import _identify
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]


@pytest.fixture
def small() -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(7, 7))
    return generator.normal(size=(11, 7)), mixing @ mixing.T + np.eye(7)


def test_likelihood_is_that_of_the_normal_distribution(small: tuple[Array, Array]) -> None:
    candidates, covariance = small
    observed = candidates[:3] + 0.5
    found = Observer(covariance).log_likelihood(observed, candidates, 4)
    expected = np.array(
        [[multivariate_normal.logpdf(y, s, covariance / 4) for s in candidates] for y in observed]
    )
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], atol=1e-8)


def test_two_way_identification_follows_the_distance() -> None:
    """Two candidates d apart in white noise are told apart with probability Phi(d / 2)."""
    for repetitions in (1, 4):
        signal = np.array([[0.3, 0.0], [-0.5, 0.6]])
        apart = np.sqrt(repetitions) * np.linalg.norm(signal[0] - signal[1])
        generator = np.random.default_rng(repetitions)
        gram = signal @ signal.T
        values, vectors = np.linalg.eigh(gram)
        root = vectors * np.sqrt(np.maximum(values, 0))
        found = np.mean([_identify(gram, root, repetitions, generator)[1] for _ in range(4000)])
        assert found == pytest.approx(norm.cdf(apart / 2), abs=0.02)


def test_equal_candidates_are_at_chance() -> None:
    top1, two_way = _identify(np.ones((5, 5)), np.zeros((5, 5)), 1, np.random.default_rng(0))
    assert top1 == pytest.approx(1 / 5)
    assert two_way == pytest.approx(1 / 2)


def test_posterior_mean_is_bayes_rule(small: tuple[Array, Array]) -> None:
    bank, covariance = small
    values = np.arange(33.0).reshape(11, 3)
    observed = bank[4:6] + 0.2
    found = posterior_mean(Observer(covariance), observed, bank, values, 2, block=4)
    density = np.array(
        [[multivariate_normal.pdf(y, s, covariance / 2) for s in bank] for y in observed]
    )
    weights = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.mean, weights @ values)
    np.testing.assert_allclose(found.effective_scenes, 1 / (weights**2).sum(axis=1))
    assert np.all(found.error >= 0)


def test_linear_observer_is_the_conditional_mean_of_normal_variables() -> None:
    generator = np.random.default_rng(4)
    signal = generator.normal(size=(20_000, 3)) + 2
    values = signal @ np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]) + 7
    noise = 0.5 * np.eye(3)
    observed = np.array([[2.0, 2.5, 1.0]])
    found = LinearObserver(signal, values, block=999).estimate(observed, noise, 2)
    shrunk = 2 + (observed - 2) / 1.25
    expected = shrunk @ np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]]) + 7
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_more_repetitions_help_and_shuffling_is_chance(
    subject: VirtualSubject, signal: Array
) -> None:
    """Twenty voxels, so that identification is not perfect; real simulated betas."""
    chosen = np.arange(0, subject.n_voxels, subject.n_voxels // 20)[:20]
    covariance = subject.noise.covariance()[np.ix_(chosen, chosen)]
    observer = Observer(covariance)
    simulation = subject.simulate(signal, repetitions=60, seed=8)
    trials = simulation.trials
    betas = simulation.betas[:, chosen]
    for rows in trials.groupby("session").indices.values():
        gain = trials["gain"].to_numpy()[rows[0]]
        betas[rows] = (betas[rows] - betas[rows].mean(axis=0)) / gain
    candidates = subject.averaged_signal(signal, 60)[:, chosen]
    candidates = candidates - candidates.mean(axis=0)

    def correct(repetitions: int) -> Array:
        hits = []
        stimulus, showing = trials["stimulus"].to_numpy(), trials["repetition"].to_numpy()
        for block in range(60 // repetitions):
            in_block = (showing - 1) // repetitions == block
            mean = np.stack([betas[in_block & (stimulus == k)].mean(axis=0) for k in range(12)])
            hits.append(observer.log_likelihood(mean, candidates, repetitions).argmax(axis=1))
        return np.array(hits)

    truth = np.arange(12)
    one, many = (correct(1) == truth).mean(), (correct(12) == truth).mean()
    assert 1 / 12 + 0.05 < one < many - 0.05
    shuffled = (correct(1) == np.roll(truth, 5)).mean()
    assert shuffled == pytest.approx(1 / 12, abs=0.06)


def test_scores_of_presented_pictures(subject: VirtualSubject, signal: Array) -> None:
    scores = ideal_identification(subject, signal, repetitions=(1, 10), draws=3)
    assert [score.repetitions for score in scores] == [1, 10]
    assert scores[0].chance == pytest.approx(1 / 12)
    assert scores[0].separation < scores[1].separation < scores[0].separation * np.sqrt(10)
    assert 0.5 < scores[0].two_way <= scores[1].two_way <= 1
    assert fraction_of_ideal(scores[0].chance, scores[0].chance, scores[0].top1) == 0


@pytest.mark.slow
def test_a_bank_is_written_read_and_used(
    subject: VirtualSubject, signal: Array, images: Array, tmp_path: Any
) -> None:
    bank = build_bank(subject, 9, tmp_path / "bank", block=4)
    assert bank.signal.dtype == np.float16
    assert len(SceneBank.load(tmp_path / "bank", subject)) == 9
    with pytest.raises(UsageError, match="bank"):
        SceneBank.load(tmp_path / "bank", VirtualSubject("02"))
    scores = ideal_pixels(subject, bank, signal[:3], images[:3], repetitions=(3,))
    assert scores[0]["bank_scenes"] == 9
    assert -1 <= scores[0]["best_linear_pixel_correlation"] <= 1


def test_wrong_arguments_are_refused(subject: VirtualSubject, signal: Array) -> None:
    with pytest.raises(InputError, match="positive definite"):
        Observer(-np.eye(3))
    with pytest.raises(UsageError, match="lsa"):
        ideal_identification(subject, signal, estimator="lss")
    with pytest.raises(UsageError, match="bank of 1"):
        build_bank(subject, 1, "nowhere")
