"""Neighbouring clips of one run joined: no jump at a seam, unless a new scene begins there."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures

__all__ = ["blended", "is_reset"]

Array = np.ndarray[Any, Any]
CUT = 0.5
SHARE = 0.25  # of a clip, on each side of a seam


def is_reset(before: Array | None, after: Array | None) -> bool:
    """Whether a new scene begins between the middles of two neighbouring clips.

    Parameters
    ----------
    before, after : ndarray of shape (T,), optional
        Probability of a cut in each share of both clips.

    Examples
    --------
    >>> is_reset(np.array([0.9, 0.1]), np.array([0.1, 0.9])), is_reset(np.array([0, 0.9]), None)
    (False, False)
    >>> is_reset(np.array([0.1, 0.4]), np.array([0.3, 0.0]))
    True
    """
    if before is None or after is None:
        return False
    between = np.concatenate([before[len(before) // 2 :], after[: -(-len(after) // 2)]])
    return bool(1 - np.prod(1 - between) > CUT)


def blended(
    clip: Pictures, before: Pictures | None, after: Pictures | None, *, share: float = SHARE
) -> Pictures:
    """Return a clip whose first and last frames meet those of its neighbours.

    What separates the last frame of one clip from the first of the next is taken away over the
    frames nearest to the seam, half on either side: motion within the clips stays.

    Parameters
    ----------
    clip : ndarray of shape (F, H, W, 3)
        uint8, as it was rendered.
    before, after : ndarray of shape (F, H, W, 3), optional
        The neighbours as they were rendered; None where the run ends or a scene begins.
    share : float
        Of the clip over which a difference is spread.

    Examples
    --------
    >>> import numpy as np
    >>> dark, light = (np.full((4, 1, 1, 3), v, np.uint8) for v in (100, 120))
    >>> blended(dark, None, light)[:, 0, 0, 0].tolist()
    [100, 100, 100, 110]
    >>> blended(light, dark, None)[:, 0, 0, 0].tolist()
    [110, 120, 120, 120]
    """
    if before is None and after is None:
        return clip
    count = max(1, round(share * len(clip)))
    found = clip.astype(np.float32)
    fading = (np.arange(count, 0, -1) / count).reshape(-1, 1, 1, 1)
    if before is not None:
        step = before[-1].astype(np.float32) - clip[0].astype(np.float32)
        found[:count] += fading * (step / 2)
    if after is not None:
        step = after[0].astype(np.float32) - clip[-1].astype(np.float32)
        found[-count:] += fading[::-1] * (step / 2)
    rounded: Pictures = np.clip(np.rint(found), 0, 255).astype(np.uint8)
    return rounded
