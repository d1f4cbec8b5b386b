from __future__ import annotations

from typing import Any

import pytest

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.leaderboard import (
    leaderboard,
    leaderboard_markdown,
    leaderboard_tsv,
)
from phosphene.schemas import WithinCategory

PIXCORR, MSE = "pixcorr/strict-v1", "mse/unit-range-v1"
NAMES = ["x", "y"]


def test_one_protocol_is_one_column_per_metric(make_result: Any) -> None:
    board = leaderboard(
        [
            make_result("a", NAMES, {PIXCORR: [0.5, 0.7], MSE: [0.2, 0.2]}),
            make_result("b", NAMES, {PIXCORR: [0.6, 0.8], MSE: [0.3, 0.3]}),
        ]
    )
    assert [column.title for column in board.columns] == [PIXCORR, MSE]
    lines = leaderboard_markdown(board).splitlines()
    assert lines[0] == "| result | pixcorr/strict-v1 ↑ | mse/unit-range-v1 ↓ |"
    assert lines[2] == "| a | 0.600 [0.500, 0.700] | **0.200** [0.200, 0.200] |"
    assert lines[3] == "| b | **0.700** [0.600, 0.800] | 0.300 [0.300, 0.300] |"
    assert lines[4] == "| *wrong pairing* | 0.100 | 0.100 |"
    assert lines[5] == "| *grey picture* | 0.000 | 0.000 |"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truth_hash": "u" * 16}, "the dataset is tttttttttttttttt and uuuuuuuuuuuuuuuu"),
        ({"averaging": "mean of all repetitions"}, "averaging is single trials and mean of all"),
        ({"split": "validation"}, "the split is test and validation"),
        ({"pictures_hash": "others"}, "the set of test pictures is x-y and others"),
        ({"n_samples": 5}, "the number of samples is 1 and 5"),
        ({"transductive": True}, "transductive is None and True"),
    ],
)
def test_protocols_never_share_a_column(
    make_result: Any, change: dict[str, Any], words: str
) -> None:
    results = [
        make_result("a", NAMES, {PIXCORR: [0.5, 0.7]}),
        make_result("b", NAMES, {PIXCORR: [0.6, 0.8]}, **change),
    ]
    board = leaderboard(results)
    assert [column.title for column in board.columns] == [f"{PIXCORR} (a)", f"{PIXCORR} (b)"]
    for column in board.columns:
        assert sum(cell is not None for cell in column.cells) == 1
        assert column.best is None  # nothing to be better than
    assert board.footnotes[0].startswith("a: shown (")
    assert board.footnotes[1].startswith("b: shown (")
    with pytest.raises(InputError, match=words):
        leaderboard(results, strict=True)


def test_definitions_never_share_a_column(make_result: Any) -> None:
    results = [
        make_result("a", NAMES, {PIXCORR: [0.5, 0.7]}),
        make_result("b", NAMES, {PIXCORR: [0.6, 0.8]}, spec={"antialias": False}),
    ]
    titles = [column.title for column in leaderboard(results).columns]
    assert len(set(titles)) == 2
    assert all(title.startswith(f"{PIXCORR} (definition ") for title in titles)
    with pytest.raises(InputError, match="define pixcorr/strict-v1 in different ways"):
        leaderboard(results, strict=True)


def test_a_row_carries_that_its_pictures_were_trained_on(make_result: Any) -> None:
    board = leaderboard([make_result("a", NAMES, {PIXCORR: [0.5, 0.7]}, n_seen_in_training=1)])
    assert board.footnotes[1] == ("a: 1 of 2 items show pictures that the model was trained on")
    assert board.footnotes[1] in leaderboard_markdown(board)
    assert f"# {board.footnotes[1]}" in leaderboard_tsv(board).splitlines()


def test_results_of_one_name_are_told_apart(make_result: Any) -> None:
    result = make_result("a|b", NAMES, {PIXCORR: [0.5, 0.7]})
    board = leaderboard([result, result])
    assert board.names == ("a|b (1)", "a|b (2)")
    assert "| a\\|b (1) |" in leaderboard_markdown(board)


def test_nothing_is_no_leaderboard() -> None:
    with pytest.raises(InputError, match="no results"):
        leaderboard([])


def test_a_row_carries_shared_stimuli_and_what_is_left_within_categories(make_result: Any) -> None:
    line = "overlap: 1 of 2 test stimuli also stand in the training set"
    audit = {"line": line, "n_shared_stimuli": 1}
    plain = make_result("a", NAMES, {"two-way-pixels/strict-v1": [0.9, 0.9]}, audit=audit)
    within = WithinCategory(value=0.52, interval=None, chance=0.5, n_items=2, collapsed=False)
    told = [one.model_copy(update={"within_category": within}) for one in plain.metrics]
    notes = leaderboard([plain.model_copy(update={"metrics": told})]).footnotes
    assert f"a: {line}" in notes
    assert "a: two-way within categories (chance .5): two-way-pixels/strict-v1 0.520" in notes
    clean = make_result("a", NAMES, {PIXCORR: [0.5, 0.7]}, audit=audit | {"n_shared_stimuli": 0})
    assert not any("overlap" in note or "within" in note for note in leaderboard([clean]).footnotes)
