"""Folds share no group, in this product's loops and in scikit-learn's, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from phosphene.data.splits import BlockFolds, GroupFolds, group_table
from phosphene.errors import InputError, UsageError
from phosphene.trials import complete_trials

Array = np.ndarray[Any, Any]


def table(n_pictures: int = 12, repetitions: int = 3, n_sessions: int = 3) -> pd.DataFrame:
    """Every picture once in each session; four pictures per concept; two runs per session."""
    n = n_pictures * repetitions
    row = np.arange(n)
    return complete_trials(
        pd.DataFrame(
            {
                "stimulus_id": [f"p{k % n_pictures}" for k in row],
                "session": [f"{1 + k * n_sessions // n:02d}" for k in row],
                "run": [f"{1 + k % 2:02d}" for k in row],
                "concept": [f"c{k % n_pictures // 4}" for k in row],
            }
        ),
        n,
    )


@pytest.mark.parametrize("n_folds", [2, 3, None])
@pytest.mark.parametrize("by", ["picture", "concept", "session", "run"])
def test_train_and_test_share_no_group(by: str, n_folds: int | None) -> None:
    trials = table()
    labels = group_table(trials, by)[by].to_numpy()
    folds = GroupFolds(n_folds, trials=trials, by=by)
    seen = np.zeros(len(trials), dtype=int)
    found = list(folds.split(np.zeros((len(trials), 2))))
    for train, test in found:
        assert not set(labels[train]) & set(labels[test])
        assert sorted([*train, *test]) == list(range(len(trials)))
        seen[test] += 1
    assert (seen == 1).all()
    assert len(found) == folds.get_n_splits(np.zeros((len(trials), 2)))
    if n_folds is None:
        assert len(found) == len(set(labels))


def test_runs_of_two_sessions_with_one_label_are_two_runs() -> None:
    assert GroupFolds(None, trials=table(), by="run").get_n_splits() == 6


@given(st.lists(st.integers(0, 6), min_size=8, max_size=40), st.integers(2, 4), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_folds_of_any_groups(groups: list[int], n_folds: int, seed: int) -> None:
    labels = np.array(groups)
    folds = GroupFolds(n_folds, seed=seed)
    if len(set(groups)) < n_folds:
        with pytest.raises(InputError, match="separate groups"):
            list(folds.split(labels, groups=labels))
        return
    tests = [set(labels[test]) for _, test in folds.split(labels, groups=labels)]
    assert sum(map(len, tests)) == len(set(groups))  # disjoint, and all of them
    again = [set(labels[test]) for _, test in folds.split(labels, groups=labels)]
    assert tests == again


def test_folds_are_of_nearly_equal_size() -> None:
    groups = np.repeat(np.arange(20), np.r_[[8] * 5, [2] * 15])
    sizes = [len(test) for _, test in GroupFolds(5).split(groups, groups=groups)]
    assert max(sizes) - min(sizes) <= 2


def test_sessions_that_repeat_pictures_hang_together() -> None:
    trials = table()
    with pytest.raises(InputError, match="1 separate groups of session and picture"):
        list(GroupFolds(3, trials=trials, by=("session", "picture")).split())
    trials["stimulus_id"] = trials["stimulus_id"] + " of " + trials["session"]
    for train, test in GroupFolds(3, trials=trials, by=("session", "picture")).split():
        for column in ("session", "stimulus_id"):
            assert not set(trials[column].iloc[train]) & set(trials[column].iloc[test])


def test_shared_pictures_can_be_dropped_from_training() -> None:
    trials = table(n_pictures=12, repetitions=2, n_sessions=3)  # every picture in two sessions
    folds = GroupFolds(None, trials=trials, by=("session", "picture"), purge=True)
    for train, test in folds.split():
        assert len(train)
        for column in ("session", "stimulus_id"):
            assert not set(trials[column].iloc[train]) & set(trials[column].iloc[test])
    whole = GroupFolds(None, trials=table(), by=("session", "picture"), purge=True)
    with pytest.raises(InputError, match="leaves nothing to train on"):
        list(whole.split())  # every session shows every picture


@pytest.fixture
def leaky() -> tuple[Array, Array, Array]:
    """Features that tell the picture, and values that only the picture decides, by chance."""
    rng = np.random.default_rng(0)
    pictures = np.repeat(np.arange(30), 4)
    X = rng.normal(size=(30, 60))[pictures] + 0.1 * rng.normal(size=(120, 60))
    return X, rng.normal(size=30)[pictures], pictures


def test_scikit_learn_takes_them(leaky: tuple[Array, Array, Array]) -> None:
    X, y, pictures = leaky
    trialwise = KFold(5, shuffle=True, random_state=0)  # leaks pictures into training
    honest = cross_val_score(Ridge(), X, y, cv=GroupFolds(5), groups=pictures)
    assert len(honest) == 5
    assert honest.mean() < 0.2
    assert cross_val_score(Ridge(), X, y, cv=trialwise).mean() > 0.8
    trials = complete_trials(pd.DataFrame({"stimulus_id": pictures.astype(str)}), len(pictures))
    bound = GroupFolds(5, trials=trials)
    assert np.isfinite(cross_val_score(Ridge(), X, y, cv=bound)).all()
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 10.0]}, cv=bound).fit(X, y)
    assert search.best_params_["alpha"] in (1.0, 10.0)
    scores = cross_val_score(Ridge(), X, y, cv=BlockFolds(4, gap=3))
    assert len(scores) == 4


def test_block_folds_keep_their_distance_within_runs() -> None:
    runs = np.repeat(["a", "b"], [40, 31])
    folds = BlockFolds.seconds(4, gap=6.0, tr=1.5, runs=runs)
    tested = []
    for train, test in folds.split(np.zeros(71)):
        for one in test:
            near = train[runs[train] == runs[one]]
            assert np.abs(near - one).min() > 4  # 4 samples of 1.5 s between
        tested += test.tolist()
    assert sorted(tested) == list(range(71))
    a, b = next(iter(folds.split())), next(iter(folds.split(None, groups=runs)))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_impossible_designs_are_refused() -> None:
    trials = table().drop(columns="concept")
    with pytest.raises(InputError, match="no column concept or category"):
        GroupFolds(2, trials=trials, by="concept")
    with pytest.raises(InputError, match="picture of 36 of 36 trials is not known"):
        GroupFolds(2, trials=trials.assign(stimulus_id="n/a"))
    with pytest.raises(InputError, match="leave nothing to train on"):
        list(BlockFolds(2, gap=9).split(range(10)))
    with pytest.raises(InputError, match="run 1 has 2 samples"):
        list(BlockFolds(3, gap=0, runs=[0, 0, 0, 1, 1]).split())
    for wrong in (
        lambda: GroupFolds(1),
        lambda: BlockFolds(2, gap=-1),
        lambda: BlockFolds.seconds(2, gap=20, tr=0),
        lambda: GroupFolds(2, trials=trials, by="trial"),
        lambda: list(GroupFolds(2).split(np.zeros(4))),
        lambda: list(GroupFolds(2).split(np.zeros(4), groups=[1, 2, 3])),
        lambda: list(BlockFolds(2, gap=0).split()),
        lambda: list(BlockFolds(2, gap=0, runs=[1, 1]).split(np.zeros(4))),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_the_rule_in_words() -> None:
    folds = GroupFolds(None, by=("session", "picture"), purge=True, seed=3)
    assert folds.describe() == (
        "leave-one-out by session and picture, seed 3, training trials that share the latter "
        "dropped"
    )
