"""Pictures side by side: what was shown above what was decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phosphene.data.pictures import Pictures

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction

__all__ = ["contact_sheet"]

MAX_ITEMS, SIDE, GAP, WHITE = 12, 96, 4, 255


def contact_sheet(result: Reconstruction, *, stimuli: bool = True) -> Pictures:
    """Return one picture (H, W, 3): a column per item, shown pictures first, then samples.

    Parameters
    ----------
    result : Reconstruction
        Its first twelve items are drawn; small pictures are enlarged pixel by pixel.
    stimuli : bool
        False leaves the shown pictures out.
    """
    rows = [result.images[:MAX_ITEMS, sample] for sample in range(result.images.shape[1])]
    if stimuli and result.truth is not None:
        rows.insert(0, result.truth[:MAX_ITEMS])
    times = max(1, -(-SIDE // rows[0].shape[1]))
    return _stack([_stack([_enlarge(one, times) for one in row], 1) for row in rows], 0)


def _enlarge(picture: Pictures, times: int) -> Pictures:
    larger: Pictures = picture.repeat(times, axis=0).repeat(times, axis=1)
    return larger


def _stack(pictures: list[Pictures], axis: int) -> Pictures:
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, WHITE, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    stacked: Pictures = np.concatenate(parts[1:], axis=axis)
    return stacked
