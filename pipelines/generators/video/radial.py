"""Radial attention: frames that are further apart look at fewer places of each other.

Li et al. 2025, *Radial attention: O(n log n) sparse attention with energy decay for long video
generation*. The mask is analytic, and known by its layout alone: two lengths in one process have
two masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phosphene.errors import UsageError

__all__ = ["LEAST_FRAMES", "RadialLayout", "radial_blocks", "radial_density"]

LEAST_FRAMES = 18
"""Latent frames from which the mask saves more than it costs."""

Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class RadialLayout:
    """What a mask depends on.

    Parameters
    ----------
    n_frames : int
        Latent frames.
    tokens : int
        Per frame.
    block : int
        Tokens that are kept or left out together, along both axes.
    factor : float
        Widens what distant frames see; from large values on everything does.
    sink : bool
        All frames see all of the first one.
    """

    n_frames: int
    tokens: int
    block: int = 128
    factor: float = 0.2
    sink: bool = False

    def __post_init__(self) -> None:
        if min(self.n_frames, self.tokens, self.block) < 1 or not self.factor > 0:
            raise UsageError(
                f"radial attention over {self.n_frames} frames of {self.tokens} tokens, blocks of "
                f"{self.block}, factor {self.factor:g}",
                expected="numbers above zero",
            )

    @property
    def length(self) -> int:
        """Tokens of the whole clip."""
        return self.n_frames * self.tokens

    def reach(self, distance: int) -> int | None:
        """Return how far apart places of two frames may lie, in tokens; none see each other.

        Examples
        --------
        >>> layout = RadialLayout(30, 3840)
        >>> [layout.reach(distance) for distance in (1, 2, 4, 16)]
        [3839, 204, 128, 128]
        """
        if distance <= 1:
            return self.tokens - 1
        decay = 2 ** self.tokens.bit_length() / 2 ** distance.bit_length()
        if decay * self.factor >= self.tokens:
            return self.tokens - 1
        if decay < self.block and distance % int(self.block / decay):
            return None  # so few places are left that whole frames are passed over
        return min(int(max(decay * self.factor, self.block)), self.tokens - 1)


@lru_cache(maxsize=16)
def radial_blocks(layout: RadialLayout) -> Booleans:
    """Return which blocks of keys each block of queries sees, (n_blocks, n_blocks) bool.

    A block is kept where more than three fifths of its keys that any query sees are seen by more
    than a third of them. The array is shared: it cannot be written to.
    """
    n, tokens, block = layout.n_frames, layout.tokens, layout.block
    reaches = [layout.reach(distance) for distance in range(n)]
    known = sorted({one for one in reaches if one is not None})  # the last one is everything
    kinds = np.array([-1 if one is None else known.index(one) for one in reaches])
    count = -(-layout.length // block)
    kept = np.zeros((count, count), dtype=bool)
    aligned: dict[int, Booleans] = {}  # blocks that end where frames do repeat in every frame
    for row in range(count):
        first, last = row * block, min((row + 1) * block, layout.length)
        frames = range(first // tokens, (last - 1) // tokens + 1)
        of_frames = [kinds[np.abs(frame - np.arange(n))] for frame in frames]
        if layout.sink:
            for one in of_frames:
                one[0] = len(known) - 1
        if tokens % block == 0:
            place = first % tokens
            if place not in aligned:
                seen = _queries(known, tokens, place, place + block)
                aligned[place] = np.stack([_dense_enough(one, block, block) for one in seen])
            kept[row] = aligned[place][of_frames[0]].ravel()
            continue
        total = np.zeros((n, tokens), dtype=np.int32)
        for frame, kind in zip(frames, of_frames, strict=True):
            begin, end = max(first - frame * tokens, 0), min(last - frame * tokens, tokens)
            total += _queries(known, tokens, begin, end)[kind]
        kept[row] = _dense_enough(total.ravel(), block, last - first)
    kept.flags.writeable = False
    return kept


def _queries(reaches: list[int], tokens: int, begin: int, end: int) -> NDArray[np.int32]:
    """Return how many places begin <= p < end see each place, by reach; the last row is of none."""
    places = np.arange(tokens)
    seen = [np.minimum(end - 1, places + r) - np.maximum(begin, places - r) + 1 for r in reaches]
    found: NDArray[np.int32] = np.stack([*np.maximum(seen, 0), 0 * places]).astype(np.int32)
    return found


def _dense_enough(seen: NDArray[np.int32], block: int, n_queries: int) -> Booleans:
    padded = np.pad(seen, (0, -len(seen) % block)).reshape(-1, block)
    any_query, third = (padded > 0).sum(1), (padded * 3 > n_queries).sum(1)
    found: Booleans = (third > 0.6 * any_query) & (any_query > 0)
    return found


def radial_density(layout: RadialLayout) -> float:
    """Return the share of blocks that is kept."""
    return float(radial_blocks(layout).mean())
