"""Confidence: the softmax it starts from, its calibration, and what may not teach it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.confidence import (
    calibration_error,
    confidence,
    fit_confidence,
    log_odds,
)
from phosphene.schemas import ConfidenceFile

Array = np.ndarray[Any, Any]
SIZES = (50, 400, 1500)


def world(seed: int, n: int, noise: float = 2.2) -> tuple[Array, Array]:
    """Predictions (n, 30) that err alike in all directions, and their pictures."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, 30))
    return truth + noise * rng.normal(size=truth.shape), truth


@pytest.fixture(scope="module")
def fitted() -> ConfidenceFile:
    queries, truth = world(0, 250)
    pool = np.random.default_rng(9).normal(size=(1600, 30))
    return fit_confidence(
        queries, truth, pool, pictures=[f"c{n}" for n in range(250)], refused={"train", "test"},
        sizes=SIZES, ks=(1, 10),
    )  # fmt: skip


def test_with_every_score_at_hand_it_is_the_softmax() -> None:
    scores = np.sort(np.random.default_rng(0).normal(size=(4, 6)), axis=1)[:, ::-1]
    share = np.exp(3 * scores)[:, :2].sum(1) / np.exp(3 * scores).sum(1)
    found = log_odds(scores, scores[:, -1:], 3.0, size=6, k=2)
    np.testing.assert_allclose(found, np.log(share / (1 - share)))


def test_rivals_that_were_not_fetched_count_through_the_sample() -> None:
    """All rivals in the sample: the rest is exact, as if every score had been fetched."""
    rng = np.random.default_rng(1)
    scores = np.sort(rng.normal(size=(3, 300)), axis=1)[:, ::-1]
    everything = log_odds(scores, scores[:, -1:], 2.0, size=300, k=5)
    sampled = log_odds(scores[:, :20], scores[:, 20:], 2.0, size=300, k=5)
    np.testing.assert_allclose(sampled, everything)


def test_confidences_of_new_pictures_are_calibrated(fitted: ConfidenceFile) -> None:
    queries, truth = world(5, 300)
    pool = np.random.default_rng(11).normal(size=(799, 30))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, truth, pool)]
    rivals = unit[0] @ unit[2].T
    own = (unit[0] * unit[1]).sum(1)
    scores = np.sort(np.c_[rivals, own], axis=1)[:, ::-1][:, :50]
    for k in (1, 10):  # a pool of 800 was not among those of the fit
        predicted = confidence(fitted, scores, rivals[:, :500], size=800, k=k)
        hits = (rivals > own[:, None]).sum(1) < k
        assert abs(predicted.mean() - hits.mean()) < 0.07
        assert calibration_error(predicted, hits) < 0.1
        assert predicted[hits].mean() > predicted[~hits].mean() + 0.03


def test_the_error_is_told_for_each_pool(fitted: ConfidenceFile) -> None:
    assert [(point.pool, point.k) for point in fitted.points] == [
        (size, k) for size in SIZES for k in (1, 10)
    ]
    rates = [point.hit_rate for point in fitted.points if point.k == 1]
    means = [point.mean_confidence for point in fitted.points if point.k == 1]
    assert rates == sorted(rates, reverse=True)
    assert means == sorted(means, reverse=True)
    assert max(point.calibration_error for point in fitted.points) < 0.12


def test_it_is_saved_and_read(fitted: ConfidenceFile, tmp_path: Any) -> None:
    fitted.save(tmp_path / "confidence.json")
    assert ConfidenceFile.load(tmp_path / "confidence.json") == fitted


def test_calibration_error_by_hand() -> None:
    predicted = np.array([0.1, 0.1, 0.9, 0.9])
    assert calibration_error(predicted, np.array([0, 0, 1, 1]), bins=2) == pytest.approx(0.1)
    assert calibration_error(predicted, np.array([1, 1, 0, 0]), bins=2) == pytest.approx(0.9)


def test_training_and_test_pictures_may_not_teach_it() -> None:
    queries, truth = world(0, 60)
    pool = np.ones((99, 30))
    names = [f"c{n}" for n in range(60)]
    with pytest.raises(InputError, match="'c7' is one of training or test"):
        fit_confidence(queries, truth, pool, pictures=names, refused={"c7"}, sizes=(10,))
    with pytest.raises(InputError, match="a picture stands twice"):
        fit_confidence(queries, truth, pool, pictures=["a"] * 60, refused=(), sizes=(10,))
    with pytest.raises(InputError, match=r"pools of \[101\]"):
        fit_confidence(queries, truth, pool, pictures=names, refused=(), sizes=(101,))
    with pytest.raises(UsageError, match="`k` is 9"):
        log_odds(np.ones((1, 3)), np.ones((1, 3)), 1.0, size=9, k=9)
