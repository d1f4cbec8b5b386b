"""Random numbers that belong to a name, in arrays.

Everything frozen about a subject comes from the raw words of a Philox stream, which numpy
guarantees for ever; methods of ``numpy.random.Generator`` may change between releases.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

__all__ = ["Stream", "entropy_of"]

Array = np.ndarray[Any, np.dtype[np.float64]]


class Stream:
    """Uniform and normal arrays keyed by any tuple of strings and integers.

    Examples
    --------
    >>> bool(np.all(Stream("a", 1).uniform(3) == Stream("a", 1).uniform(3)))
    True
    """

    def __init__(self, *key: str | int) -> None:
        digest = hashlib.sha256(json.dumps(key).encode()).digest()
        self._bits = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8"))

    def uniform(self, *shape: int) -> Array:
        """Return numbers strictly between 0 and 1."""
        words = np.asarray(self._bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-53

    def normal(self, *shape: int) -> Array:
        """Return standard normal numbers, by inversion of the distribution function."""
        from scipy.special import ndtri

        quantiles: Array = ndtri(self.uniform(*shape))
        return quantiles


def entropy_of(*key: str | int) -> int:
    """Return the 128-bit number that seeds noise of this name."""
    return int.from_bytes(hashlib.sha256(json.dumps(key).encode()).digest()[:16], "big")
