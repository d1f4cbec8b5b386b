"""Pictures are exchanged within the runs that showed them, where that leaves any to exchange."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phosphene.pipelines.evaluation.exchange import exchange_of
from phosphene.pipelines.evaluation.permutation import exchange_labels
from phosphene.pipelines.evaluation.predictions import Item


def item(picture: str, *trials: tuple[str, str]) -> Item:
    """Return an item of trials given by session and run."""
    keys = [f"ses-{session}_run-{run}_trial-{row:06d}" for row, (session, run) in enumerate(trials)]
    return Item(picture, picture, (Path(f"{picture}.png"),), source_trials=tuple(keys))


def test_single_trials_are_exchanged_within_runs() -> None:
    items = [item(f"s{row}", ("01", f"{row // 4:02d}")) for row in range(12)]
    found = exchange_of(items)
    assert found.rule == "pictures exchanged within runs"
    codes = found.within([one.picture for one in items])
    assert codes is not None
    assert codes.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    drawn = exchange_labels(12, within=codes, n_permutations=50)
    assert (drawn.rows // 4 == np.arange(12) // 4).all()


def test_repetitions_across_sessions_are_exchanged_within_these() -> None:
    """Runs of their own in every session leave nobody a partner; sessions do."""
    items = [item(f"s{row}", ("01", f"{row}"), ("02", f"{row + 3}")) for row in range(6)]
    items += [item(f"t{row}", ("03", f"{row}"), ("04", f"{row}")) for row in range(6)]
    found = exchange_of(items)
    assert found.rule == "pictures exchanged within sessions"
    codes = found.within([one.picture for one in items])
    assert codes is not None
    assert codes.tolist() == [0] * 6 + [1] * 6


def test_one_group_is_all() -> None:
    items = [item(f"s{row}", ("01", "01")) for row in range(5)]
    assert exchange_of(items).within([one.picture for one in items]) is None


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([item("a"), item("b", ("01", "01"))], "runs are not known"),
        ([item(f"s{n}", (f"{n}", "01")) for n in range(5)], "too few"),
    ],
)
def test_where_runs_do_not_help_all_are_exchanged_and_it_is_said(
    items: list[Item], words: str
) -> None:
    found = exchange_of(items)
    assert found.groups is None
    assert words in found.rule


def test_a_few_without_a_partner_stay_where_they_are() -> None:
    items = [item(f"s{row}", ("01", f"{row // 5}")) for row in range(20)]
    items += [item("alone", ("01", "9"))]
    found = exchange_of(items)
    assert found.rule == "pictures exchanged within runs"
    codes = found.within([one.picture for one in items])
    drawn = exchange_labels(21, within=codes, n_permutations=30)
    assert (drawn.rows[:, 20] == 20).all()
