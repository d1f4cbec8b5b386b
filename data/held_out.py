"""A guard around the test pictures: nothing that saw them may be used on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from phosphene.errors import InputError
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.canonical import CanonicalDataset

__all__ = ["Choice", "HeldOut"]

# Where parts keep what they learned from: protocols, preprocessors and choices, targets.
ID_RECORDS = ("train_stimulus_ids", "training_ids")
HASH_RECORDS = ("train_picture_hashes", "training_picture_hashes")


@dataclass(frozen=True)
class Choice:
    """A value that was chosen by looking at scores: a strength, a penalty, an epoch.

    Parameters
    ----------
    name : str
        Such as ``strength``.
    value : object
    training_ids : frozenset of str
        Stimuli whose scores it was chosen by.
    """

    name: str
    value: Any
    training_ids: frozenset[str]


@dataclass(frozen=True)
class HeldOut:
    """The pictures that nothing may have seen, by name and by content.

    Parameters
    ----------
    stimulus_ids : frozenset of str
    picture_hashes : frozenset of str
        As :func:`phosphene.data.pictures.picture_hash` gives them: a copy under another name is
        the same picture.

    Examples
    --------
    >>> held_out = HeldOut(frozenset({"p7"}))
    >>> held_out.refuse(["p1", "p2"], purpose="z-scoring")
    >>> held_out.check(Choice("strength", 0.4, frozenset({"p1"})))
    True
    """

    stimulus_ids: frozenset[str]
    picture_hashes: frozenset[str] = field(default=frozenset())

    @classmethod
    def of_trials(cls, trials: pd.DataFrame) -> HeldOut:
        """Return the guard of the test trials of a table."""
        rows = trials.loc[trials["split"] == "test", "stimulus_id"]
        return cls(frozenset(rows) - {UNKNOWN})

    @classmethod
    def of_dataset(cls, dataset: CanonicalDataset) -> HeldOut:
        """Return the guard of the test pictures of a dataset, by name and by content."""
        names = cls.of_trials(dataset.table).stimulus_ids
        known = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
        return cls(names, frozenset(known[name] for name in names if name in known))

    def refuse(
        self, stimulus_ids: Iterable[str], *, purpose: str, picture_hashes: Iterable[str] = ()
    ) -> None:
        """Raise when something is to be fitted or chosen on a test picture.

        Raises
        ------
        InputError
            Names the purpose, how many pictures are held out, and one of them.
        """
        seen = sorted(self.stimulus_ids & set(stimulus_ids))
        copies = sorted(self.picture_hashes & set(picture_hashes))
        if seen or copies:
            raise InputError(
                f"{purpose} saw {max(len(seen), len(copies))} pictures of the test split, "
                f"{seen[0] if seen else 'content ' + copies[0]!r} for example",
                expected="training pictures only",
                remedy="fit or choose it again without these, by a split of whole pictures",
            )

    def check(self, part: Any, *, name: str = "") -> bool:
        """Refuse a fitted part whose own record names a test picture.

        Parameters
        ----------
        part : Protocol, Preprocessor, StimulusEncoder, Choice or alike
            Anything that says what it learned from.
        name : str
            For the message; the part's own name by default.

        Returns
        -------
        bool
            False where the part keeps no record, so that nothing can be said.
        """
        names = [record for key in ID_RECORDS if (record := getattr(part, key, None))]
        hashes = [record for key in HASH_RECORDS if (record := getattr(part, key, None))]
        self.refuse(
            {one for record in names for one in record} - {UNKNOWN},
            purpose=name or str(getattr(part, "name", type(part).__name__)),
            picture_hashes={one for record in hashes for one in record},
        )
        return bool(names or hashes)
