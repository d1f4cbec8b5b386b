"""Random numbers that belong to a name and to nothing else.

The raw output of numpy's Philox bit generator is guaranteed never to change, while the methods
of ``numpy.random.Generator`` may; everything drawn here is therefore derived from raw words.
Real numbers are rounded to four decimals, so that a description is the same text everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Draws"]

Item = TypeVar("Item")


class Draws:
    """A stream of random numbers keyed by any tuple of strings and integers.

    Streams of different keys are independent; the same key always gives the same stream, so any
    scene can be drawn without drawing those before it.

    Examples
    --------
    >>> Draws("scene", 7).unit() == Draws("scene", 7).unit()
    True
    """

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256(json.dumps(key).encode()).digest()
        self._bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))
        self._words: list[int] = []

    def unit(self) -> float:
        """Return a number in [0, 1) with 53 random bits."""
        if not self._words:
            self._words = self._bits.random_raw(64).tolist()[::-1]
        return (self._words.pop() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """Return a number between ``low`` and ``high``, rounded to four decimals."""
        return round(low + (high - low) * self.unit(), 4)

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high)."""
        return low + int(self.unit() * (high - low))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.unit() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """Return one item, all equally likely."""
        return items[self.integer(0, len(items))]

    def weighted(self, weights: Mapping[Item, float]) -> Item:
        """Return one key, as likely as its share of the weights."""
        remaining = self.unit() * sum(weights.values())
        for item, weight in weights.items():
            remaining -= weight
            if remaining < 0:
                return item
        return item

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """Return the items in random order (Fisher and Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.integer(0, last + 1)
            order[last], order[other] = order[other], order[last]
        return order
