"""``sample_attributes_P1.csv`` of THINGS-MEG: what every trial of a person shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phosphene.data.readers.damage import reading
from phosphene.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CATCH", "SampleAttributes", "picture_of", "shown_table"]

CATCH = "catch"
SPLITS = {"exp": "train", "train": "train", "test": "test", "catch": CATCH}
NEEDED = ("trial_type", "image_path")


class SampleAttributes:
    """The tables of a dataset, read when they are asked for.

    Parameters
    ----------
    place : Path
        One file, or a folder that holds them somewhere.
    """

    def __init__(self, place: Path) -> None:
        self.place = place

    def of_subject(self, label: str) -> pd.DataFrame:
        """Return the table of a subject, a row per trial in the order of the experiment.

        Raises
        ------
        InputError
            If there is none, or it lacks columns.
        """
        import pandas as pd

        name = f"sample_attributes_P{int(label)}.csv"
        found = [self.place] if self.place.is_file() else sorted(self.place.rglob(name))
        if not found:
            raise InputError(
                f"there is no {name} in {self.place}",
                expected="the table of trials that lies in sourcedata of ds004212",
                remedy="copy it there, or name it with --table",
            )
        with reading(found[0], "a table of trials (.csv)"):
            table = pd.read_csv(found[0])
        missing = [column for column in NEEDED if column not in table]
        if missing:
            raise InputError(
                f"{found[0]} has no column {', '.join(missing)}",
                expected=f"{', '.join(NEEDED)}, session_nr and run_nr",
                remedy="copy the file again from sourcedata of ds004212",
            )
        return table


def picture_of(path: str) -> tuple[str, str]:
    """Return the name of a picture and its concept from a path of the THINGS pictures.

    Examples
    --------
    >>> picture_of("images_meg/aardvark/aardvark_01b.jpg")
    ('aardvark_01b', 'aardvark')
    >>> picture_of("images_test_meg/aircraft_carrier_13s.jpg")
    ('aircraft_carrier_13s', 'aircraft_carrier')
    """
    file = path.replace("\\", "/").rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    return stem, stem.rpartition("_")[0] or stem


def shown_table(told: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return session, run, stimulus_id, concept and split (train, test or catch) of trials.

    Raises
    ------
    InputError
        If a kind of trial is unknown, or a test picture is among the training pictures.
    """
    import pandas as pd

    kinds = told["trial_type"].astype(str).str.strip().str.lower()
    unknown = sorted(set(kinds) - set(SPLITS))
    if unknown:
        raise InputError(
            f"{source} has trials of the kind {unknown[0]!r}",
            expected=", ".join(SPLITS),
            remedy="use the table of the same release",
        )
    named = [picture_of(str(path)) for path in told["image_path"]]
    table = pd.DataFrame(
        {
            "session": _labels(told, "session_nr"),
            "run": _labels(told, "run_nr"),
            "stimulus_id": [stem for stem, _ in named],
            "concept": [concept for _, concept in named],
            "split": kinds.map(SPLITS).to_numpy(),
        }
    )
    shown = {split: set(part["stimulus_id"]) for split, part in table.groupby("split")}
    both = sorted(shown.get("train", set()) & shown.get("test", set()))
    if both:
        raise InputError(
            f"{source} shows {both[0]!r} in training and in the test",
            expected="test pictures that training never shows",
            remedy="use the table of the same release",
        )
    return table


def _labels(told: pd.DataFrame, column: str) -> list[str]:
    if column not in told:
        return ["01"] * len(told)
    return [f"{int(number):02d}" for number in told[column]]
