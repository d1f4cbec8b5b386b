"""Sessions by number, by label, in ranges."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.sessions import find_sessions


def dataset(*labels: str) -> CanonicalDataset:
    table = pd.DataFrame({"subject": "01", "session": list(labels)})
    return CanonicalDataset(Path("D"), None, table, table)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ((), ()),
        (("01",), ("01",)),
        (("1",), ("01",)),
        (("ses-02",), ("02",)),
        (("1..3",), ("01", "02", "03")),
        (("2,10", "2"), ("02", "10")),
        (("pre",), ("pre",)),
    ],
)
def test_sessions_as_they_are_written(wanted: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert find_sessions(dataset("01", "02", "03", "10", "pre"), ["01"], wanted) == found


def test_a_label_that_is_there_is_taken_as_it_is() -> None:
    assert find_sessions(dataset("1", "01"), ["01"], ("1",)) == ("1",)
    with pytest.raises(InputError):  # neither of two
        find_sessions(dataset("1", "01"), ["01"], ("001",))


def test_other_sessions_are_refused() -> None:
    known = dataset("01", "02")
    with pytest.raises(InputError, match=r"no trials of 01 in the sessions 7[\s\S]*01, 02"):
        find_sessions(known, ["01"], ("7",))
    with pytest.raises(InputError, match="sessions 3"):
        find_sessions(known, ["01"], ("1..3",))
    with pytest.raises(InputError, match="no trials of 09"):
        find_sessions(known, ["09"], ("1",))
    for wrong in ("3..1", "..2", "a..b"):
        with pytest.raises(UsageError, match=r"1\.\.5"):
            find_sessions(known, ["01"], (wrong,))
