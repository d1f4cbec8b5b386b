"""A recording read as a model wants it: its voxels, or its sensors, rate, window and unit."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from phosphene.data.conform import conform
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.readers import read_recording
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.errors import InputError
from phosphene.names import check_subject
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["conformed", "read_for"]

logger = logging.getLogger(__name__)


def read_for(
    preprocessor: Preprocessor | SensorPreprocessor,
    source: str | os.PathLike[str],
    *,
    subject: str,
    trials: str | os.PathLike[str] | pd.DataFrame | None = None,
) -> tuple[Recording, list[str]]:
    """Read a recording as a model was trained on it; return it and what was converted, in words.

    What was converted is logged as a warning too.

    Parameters
    ----------
    preprocessor : Preprocessor or SensorPreprocessor
        Of the model.
    source : path
    subject : str
    trials : path or DataFrame, optional
        Trials table of the recording.

    Raises
    ------
    InputError
        If the subject is unknown to the model, or the recording cannot be converted.
    """
    label = check_subject(subject)
    if isinstance(preprocessor, Preprocessor):
        space = preprocessor.space(label)
        return read_recording(source, subject=label, space=space, trials=trials), []
    protocol = preprocessor.protocol
    said = _stranger(preprocessor, label)
    recording = read_recording(
        source, subject=label, modality=protocol.modality, trials=trials, window=protocol.window
    )
    recording, more = conform(recording, protocol)
    _log(label, [*said, *more])
    return recording, [*said, *more]


def conformed(preprocessor: Preprocessor | SensorPreprocessor, recording: Recording) -> Recording:
    """Return a recording that was read already as the model wants it; voxels stay as they are."""
    if isinstance(preprocessor, Preprocessor):
        return recording
    said = _stranger(preprocessor, recording.subject)
    found, more = conform(recording, preprocessor.protocol)
    _log(recording.subject, [*said, *more])
    return found


def _log(subject: str, said: list[str]) -> None:
    for words in said:
        logger.warning("sub-%s: %s", subject, words)


def _stranger(preprocessor: SensorPreprocessor, subject: str) -> list[str]:
    """Say that a model does not know a subject, or refuse where it knows one alone."""
    known = preprocessor.subjects
    if preprocessor.knows(subject):
        return []
    if len(known) < 2:
        raise InputError(
            f"the model does not know subject {subject!r}",
            expected=f"subject {known[0]}, the only one it was trained on",
            remedy="train one for that subject, or on several subjects: such a model takes an "
            "unknown one (phosphene train --dataset DATASET --output MODEL)",
        )
    return [
        f"unknown to the model, which was trained on {', '.join(known)}: decoded as an unknown "
        "subject, with the mean noise of these"
    ]
