"""Picture files by the names that trials use, wherever they lie in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from phosphene.data.pictures import PICTURE_SUFFIXES, PictureFiles
from phosphene.data.prepare import Stimuli
from phosphene.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["found_pictures"]


def found_pictures(folder: Path, trials: pd.DataFrame) -> Stimuli:
    """Return names and files of the pictures that trials show.

    Raises
    ------
    InputError
        If a picture is missing.
    """
    files = {
        path.stem: path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES
    }
    names = list(dict.fromkeys(trials["stimulus_id"]))
    absent = [name for name in names if name not in files]
    if absent:
        raise InputError(
            f"{folder} has no picture {absent[0]} ({len(absent)} of {len(names)} are missing)",
            expected="a file of that name in one of its folders",
            remedy="complete the download, or leave --images out",
        )
    return names, cast(Any, PictureFiles([files[name] for name in names]))
