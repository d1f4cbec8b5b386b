"""A validation split that shares no concept with training, kept as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from phosphene.data.virtual.draws import entropy_of
from phosphene.errors import UsageError
from phosphene.schemas.base import Stored

__all__ = ["SPLIT_FILE", "ConceptSplit", "choose_concepts"]

SPLIT_FILE = "validation_concepts.json"


class ConceptSplit(Stored):
    """``validation_concepts.json``: concepts held out of training, and how they were drawn."""

    schema_name: ClassVar[str] = "concept-split"
    seed: int
    n_concepts: int
    concepts: list[str]


def choose_concepts(concepts: Sequence[str], count: int, *, seed: int = 0) -> ConceptSplit:
    """Draw concepts to hold out.

    A concept's place in the draw depends on its name and the seed alone, so that subsets of the
    set and other orders of it draw alike.

    Parameters
    ----------
    concepts : sequence of str
        Of the training pictures; may repeat.
    count : int
        How many to hold out; 0 for none.
    seed : int
    """
    known = sorted(set(concepts))
    if not 0 <= count < len(known):
        raise UsageError(
            f"{count} validation concepts of {len(known)}",
            expected=f"from 0 to {len(known) - 1}, so that some are left to train on",
            remedy="ask for fewer with --validation",
        )
    drawn = sorted(known, key=lambda name: entropy_of("validation concepts", seed, name))[:count]
    return ConceptSplit(seed=seed, n_concepts=len(known), concepts=sorted(drawn))
