"""Paired tests, groups of subjects and corrections against scipy and published values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.statistics import (
    adjust_p_values,
    group_result,
    grouped_interval,
    picture_means,
    sign_flip_test,
)
from phosphene.pipelines.metrics import bootstrap_interval


def test_sign_flips_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 9, 12):
        a, b = rng.normal(size=(2, n)) + 0.3
        reference = stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples",
            alternative="two-sided", n_resamples=np.inf,
        )  # fmt: skip
        difference, p = sign_flip_test(a, b)
        assert difference == pytest.approx((a - b).mean())
        assert p == pytest.approx(reference.pvalue)


def test_sampled_flips_come_near_the_exact_p() -> None:
    differences = np.random.default_rng(1).normal(0.35, 1, size=13)
    _, exact = sign_flip_test(differences)
    _, sampled = sign_flip_test(differences, n_permutations=4000)
    assert sampled == pytest.approx(exact, abs=0.03)
    assert sign_flip_test(np.ones(40), n_permutations=999)[1] == 1 / 1000
    assert sign_flip_test(np.zeros(40), n_permutations=999)[1] == 1.0


def test_repeating_a_picture_adds_no_evidence() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, size=10)
    once = sign_flip_test(differences)
    names = [f"p{k}" for k in range(10)]
    many = sign_flip_test(np.repeat(differences, 5), pictures=np.repeat(names, 5))
    assert many == pytest.approx(once)


def test_sign_flip_p_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(3)
    found = [
        sign_flip_test(rng.normal(size=30), n_permutations=299, seed=seed)[1] for seed in range(200)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_scenes_are_drawn_whole() -> None:
    rng = np.random.default_rng(4)
    scene = np.repeat(np.arange(8), 10)
    scores = rng.normal(size=8)[scene] + 0.05 * rng.normal(size=80)
    names = np.arange(80)
    low, high = grouped_interval(scores, names, scene)
    apart = bootstrap_interval(scores)
    assert high - low > 2 * (apart[1] - apart[0])  # 80 clips are eight scenes
    own = grouped_interval(scores, names, names)
    assert own == pytest.approx(apart, abs=0.1)
    with pytest.raises(InputError, match="in the scenes"):
        grouped_interval(np.ones(2), ["a", "a"], ["x", "y"])
    with pytest.raises(InputError, match="of one scene"):
        grouped_interval(np.ones(2), ["a", "b"], ["x", "x"])


def test_subjects_are_the_random_factor() -> None:
    rng = np.random.default_rng(5)
    scores = {f"{k:02d}": rng.normal(0.6 + 0.05 * k, 0.1, size=50) for k in range(4)}
    found = group_result(scores, chance=0.5)
    means = [values.mean() for values in scores.values()]
    reference = stats.ttest_1samp(means, 0.5)
    assert found.value == pytest.approx(np.mean(means))
    assert found.p_value == pytest.approx(reference.pvalue)
    expected = reference.confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert [row.subject for row in found.rows] == ["00", "01", "02", "03"]
    assert all(row.n_pictures == 50 for row in found.rows)
    # more pictures of the same people say nothing more about other people
    doubled = group_result({k: np.tile(v, 4) for k, v in scores.items()}, chance=0.5)
    assert doubled.p_value == pytest.approx(found.p_value)


def test_one_subject_says_nothing_about_others() -> None:
    found = group_result({"01": np.array([0.7, 0.9])}, chance=0.5)
    assert (found.interval, found.p_value) == (None, None)
    assert found.note
    same = group_result({"01": np.ones(3), "02": np.ones(3)}, chance=1.0)
    assert same.p_value == 1.0
    assert group_result({"01": np.ones(3), "02": np.ones(3)}, chance=0.5).p_value == 0.0
    repeated = group_result({"01": np.array([0.0, 1.0, 1.0])}, pictures={"01": ["a", "b", "b"]})
    assert repeated.value == 0.5


def test_holm_and_benjamini_hochberg() -> None:
    # R: p.adjust(c(.01,.02,.03,.04,.05), "holm"), and "BH"
    p = [0.03, 0.01, 0.05, 0.02, 0.04]
    np.testing.assert_allclose(adjust_p_values(p), [0.09, 0.05, 0.09, 0.08, 0.09])
    np.testing.assert_allclose(adjust_p_values(p, "benjamini-hochberg"), [0.05] * 5)
    rng = np.random.default_rng(6)
    p = rng.uniform(size=30)
    np.testing.assert_allclose(
        adjust_p_values(p, "benjamini-hochberg"), stats.false_discovery_control(p)
    )
    holm = adjust_p_values(p)
    assert (holm >= adjust_p_values(p, "benjamini-hochberg") - 1e-12).all()
    assert (holm <= np.minimum(1, 30 * p) + 1e-12).all()
    assert (np.argsort(holm[np.argsort(p)], kind="stable") == np.arange(30)).all()


def test_what_is_no_score_is_refused() -> None:
    means, names = picture_means(np.array([1.0, np.nan, 3.0, 5.0]), ["a", "b", "c", "c"])
    assert means.tolist() == [1.0, 4.0]
    assert names.tolist() == ["a", "c"]
    for wrong in (
        lambda: picture_means(np.array([np.nan]), None),
        lambda: group_result({}),
        lambda: adjust_p_values([0.2, 1.2]),
        lambda: adjust_p_values([]),
    ):
        with pytest.raises(InputError):
            wrong()
    with pytest.raises(UsageError):
        picture_means(np.ones(3), ["a"])
    unknown: Any = "bonferoni"
    with pytest.raises(UsageError, match="method"):
        adjust_p_values([0.1], unknown)
