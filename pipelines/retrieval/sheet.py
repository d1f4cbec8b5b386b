"""Contact sheet of a retrieval: one row per query, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures

if TYPE_CHECKING:
    import PIL.ImageDraw

__all__ = ["retrieval_sheet"]

MAX_QUERIES, MAX_FOUND, SIDE, GAP, LINE = 12, 10, 112, 6, 14
WHITE, GREY, BLACK = (255, 255, 255), (224, 226, 230), (28, 35, 48)


def retrieval_sheet(
    queries: Sequence[tuple[str, Pictures | None]],
    found: Sequence[Sequence[tuple[str, Pictures | None]]],
) -> Pictures:
    """Return one picture (H, W, 3).

    Parameters
    ----------
    queries : sequence of (name, picture or None)
        The first twelve are drawn; where there is no picture, the name stands in its place.
    found : sequence of sequences of (label, picture or None)
        For each query, best first; ten are drawn.
    """
    from PIL import Image, ImageDraw

    rows, columns = min(len(queries), MAX_QUERIES), 1 + min(_longest(found), MAX_FOUND)
    step_x, step_y = SIDE + GAP, SIDE + LINE + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), WHITE)
    draw = ImageDraw.Draw(sheet)
    for row in range(rows):
        tiles = [queries[row], *found[row][:MAX_FOUND]]
        for column, (label, picture) in enumerate(tiles):
            x, y = GAP + column * step_x, GAP + row * step_y
            if picture is None:
                draw.rectangle((x, y, x + SIDE, y + SIDE), fill=GREY)
                _write(draw, (x + 4, y + 4), label, lines=7)
            else:
                fitted = fit_pictures([picture], size=SIDE, channels=3)[0]
                sheet.paste(Image.fromarray(fitted), (x, y))
            _write(draw, (x, y + SIDE), label, lines=1)
    return np.asarray(sheet)


def _longest(found: Sequence[Sequence[object]]) -> int:
    return max((len(one) for one in found), default=0)


def _write(draw: PIL.ImageDraw.ImageDraw, place: tuple[int, int], text: str, *, lines: int) -> None:
    """Write as much of a text as fits into a tile; the built-in font has few letters."""
    width = SIDE // 6
    shown = text.encode("latin-1", errors="replace").decode("latin-1")
    for number in range(lines):
        piece = shown[number * width : (number + 1) * width]
        if piece:
            draw.text((place[0], place[1] + number * LINE), piece, fill=BLACK)
