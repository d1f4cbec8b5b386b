"""``preparation.json`` beside ``dataset.json``: how public data became a canonical dataset."""

from __future__ import annotations

from typing import Any, ClassVar

from phosphene.schemas.base import Stored

__all__ = ["PreparationFile"]


class PreparationFile(Stored):
    """Source, protocol and choices of a preparation.

    Attributes
    ----------
    dataset : str
        Such as ``nsd``.
    form : str
        In which form the source lay.
    settings : dict
        What was chosen: protocol, sessions, normalisation.
    subjects : dict
        Counts and facts of every subject.
    """

    schema_name: ClassVar[str] = "preparation"
    dataset: str
    form: str
    settings: dict[str, Any]
    subjects: dict[str, dict[str, Any]]
    created_with: str
