from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.trials import TRIAL_COLUMNS, UNKNOWN, average_rows, complete_trials, trial_keys


def test_missing_columns_are_filled_and_others_kept() -> None:
    table = complete_trials(pd.DataFrame({"stimulus_id": [3.0, 5.0, 3.0], "rt": [1, 2, 3]}), 3)
    assert list(table.columns) == [*TRIAL_COLUMNS, "rt"]
    assert table["stimulus_id"].tolist() == ["3", "5", "3"]
    assert table["repetition"].tolist() == [1, 1, 2]
    assert set(table["split"]) == {"train"}


def test_without_a_table_the_stimulus_is_unknown() -> None:
    assert set(complete_trials(None, 4)["stimulus_id"]) == {UNKNOWN}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"stimulus_id": ["a", "b"]}, "2 rows for a recording of 3"),
        ({"split": ["train", "tset", "test"]}, "'tset'"),
        ({"stimulus_id": ["a", None, "b"]}, "empty in 1 of 3"),
        ({"trial": [1, 1, 2]}, "twice"),
    ],
)
def test_a_bad_table_is_one_clear_error(table: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        complete_trials(pd.DataFrame(table), 3)


def test_averaging_groups_by_first_appearance_and_names_its_trials() -> None:
    table = complete_trials(pd.DataFrame({"stimulus_id": ["b", "a", "b"]}), 3)
    rows, grouped = average_rows(table, "stimulus_id")
    assert [list(row) for row in rows] == [[0, 2], [1]]
    assert grouped["stimulus_id"].tolist() == ["b", "a"]
    assert grouped["source_trials"][0].split() == list(trial_keys(table)[[0, 2]])
    assert np.array_equal(grouped["repetition"], [2, 1])


def test_averaging_unknown_stimuli_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be averaged"):
        average_rows(complete_trials(None, 3), "stimulus_id")
