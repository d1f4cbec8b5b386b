"""Which pictures may be exchanged for one another: those whose trials lie in the same runs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.pipelines.evaluation.predictions import Item

__all__ = ["Exchange", "exchange_of"]

Array = np.ndarray[Any, Any]
TRIAL = re.compile(r"^ses-(?P<session>.+?)_run-(?P<run>.+?)_trial-")
MOST_ALONE = 0.1  # share of pictures that may be left without a partner
LEVELS = {"runs": ("session", "run"), "sessions": ("session",)}


@dataclass(frozen=True)
class Exchange:
    """What permutations of a subject's pictures exchange.

    Attributes
    ----------
    rule : str
        In words.
    groups : mapping of str to str, optional
        Of each picture, the runs or sessions that showed it; pictures of the same ones are
        exchanged. ``None`` where all may be.
    """

    rule: str
    groups: Mapping[str, str] | None = None

    def within(self, pictures: Sequence[str]) -> Array | None:
        """Return the group of each of these pictures, (n,), or ``None`` where there is one."""
        if self.groups is None or len(found := {self.groups[name] for name in pictures}) < 2:
            return None
        codes = {group: code for code, group in enumerate(sorted(found))}
        return np.array([codes[self.groups[name]] for name in pictures])


def exchange_of(items: Sequence[Item]) -> Exchange:
    """Return the closest exchange that the trials of one subject allow.

    Drifts and arousal belong to a run: a decoder that read the run off would beat pairings across
    runs. So pictures are exchanged within the runs that showed them, or within sessions, as long
    as no more than a tenth of the pictures would be left without a partner.

    Parameters
    ----------
    items : sequence of Item
        Of one subject; several may be of one picture.
    """
    trials: dict[str, list[re.Match[str]]] = defaultdict(list)
    for item in items:
        for key in item.source_trials:
            if found := TRIAL.match(key):
                trials[item.picture].append(found)
    if any(not trials.get(item.picture) for item in items):
        return Exchange("pictures exchanged; runs are not known")
    for level, names in LEVELS.items():
        groups = {
            picture: " ".join(sorted({"/".join(one[name] for name in names) for one in found}))
            for picture, found in trials.items()
        }
        sizes = Counter(groups.values())
        alone = sum(size for size in sizes.values() if size == 1)
        if alone <= MOST_ALONE * len(groups) and max(sizes.values()) > 1:
            return Exchange(f"pictures exchanged within {level}", groups)
    return Exchange("pictures exchanged; those of the same runs or sessions are too few")
