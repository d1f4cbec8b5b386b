"""Predictions that fall into few directions are flagged, and unseen categories stand apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.collapse import check_collapse, effective_rank

Array = np.ndarray[Any, Any]


def test_effective_rank_of_known_spectra() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(50, 10)))[0]
    axes = np.linalg.qr(axes - axes.mean(axis=0))[0]  # centred directions
    for k in (1, 3, 10):
        assert effective_rank(axes[:, :k] * 7) == pytest.approx(k, abs=1e-6)
    weights = np.array([0.5, 0.25, 0.25])
    expected = np.exp(-(weights * np.log(weights)).sum())
    assert effective_rank(axes[:, :3] * weights) == pytest.approx(expected, abs=1e-6)
    assert effective_rank(np.ones((5, 3))) == 0.0
    assert effective_rank(1000 + 1e-14 * rng.normal(size=(5, 3))) == 0.0


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(1).normal(size=(60, 40))


def test_honest_predictions_pass(truth: Array) -> None:
    noisy = 0.4 * (truth + 2 * np.random.default_rng(2).normal(size=truth.shape))  # shrunk
    found = check_collapse(noisy, truth)
    assert not found.collapsed
    assert found.finding().verdict == "passed"
    assert found.seen is found.unseen is None
    assert found.spread == pytest.approx(0.4 * np.sqrt(5), rel=0.05)


@pytest.mark.parametrize("kind", ["constant", "line", "two clusters", "tiny"])
def test_collapsed_predictions_trip(truth: Array, kind: str) -> None:
    rng = np.random.default_rng(3)
    predicted = {
        "constant": np.tile(rng.normal(size=40), (60, 1)),
        "line": rng.normal(size=(60, 1)) * rng.normal(size=40),
        "two clusters": rng.normal(size=(2, 40))[rng.integers(0, 2, 60)],
        "tiny": truth.mean(axis=0) + 0.01 * truth,
    }[kind]
    found = check_collapse(predicted, truth)
    assert found.collapsed, found
    assert found.finding().verdict == "tripped"


def test_a_decoder_of_training_categories_fails_on_unseen_ones() -> None:
    rng = np.random.default_rng(4)
    centres = 3 * rng.normal(size=(20, 40))
    category = np.repeat(np.arange(20), 6)
    truth = centres[category] + rng.normal(size=(120, 40))
    known = centres[:10]
    nearest = ((truth[:, None] - known) ** 2).sum(-1).argmin(1)
    predicted = known[nearest] + 0.3 * rng.normal(size=truth.shape)  # only what it was trained on
    found = check_collapse(predicted, truth, categories=category, training_categories=range(10))
    assert found.seen is not None
    assert found.unseen is not None
    assert found.unseen_interval is not None
    assert found.seen > 0.9
    assert found.unseen < found.seen - 0.1
    assert found.unseen_interval[0] < found.unseen < found.unseen_interval[1]
    assert f"{found.unseen:.2f} among pictures of unseen" in found.finding().summary
    whole = check_collapse(
        truth + rng.normal(size=truth.shape), truth, categories=category, training_categories=[]
    )
    assert whole.seen is None
    assert whole.unseen is not None


def test_what_cannot_be_compared_is_refused(truth: Array) -> None:
    with pytest.raises(InputError, match="at least three items"):
        check_collapse(truth[:, :5], truth)
