"""The contact sheet shows the right pictures in the right places."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from phosphene.pipelines.report.sheet import GAP, SIDE, contact_sheet


def result(n: int = 3, samples: int = 2, size: int = 8, truth: bool = True) -> SimpleNamespace:
    levels = np.arange(n * samples, dtype=np.uint8).reshape(n, samples, 1, 1, 1)
    images = np.broadcast_to(levels, (n, samples, size, size, 3))
    shown = np.broadcast_to(
        100 + np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), (n, size, size, 3)
    )
    return SimpleNamespace(images=images, truth=shown if truth else None)


def test_shown_pictures_stand_above_their_samples() -> None:
    sheet = contact_sheet(result())  # type: ignore[arg-type]
    step = SIDE + GAP
    assert sheet.shape == (3 * SIDE + 2 * GAP, 3 * SIDE + 2 * GAP, 3)
    for item in range(3):
        column = item * step + 1
        assert sheet[1, column, 0] == 100 + item
        assert [sheet[row * step + 1, column, 0] for row in (1, 2)] == [2 * item, 2 * item + 1]
    assert (sheet[SIDE : SIDE + GAP] == 255).all()


def test_shown_pictures_are_left_out_on_request() -> None:
    sheet = contact_sheet(result(), stimuli=False)  # type: ignore[arg-type]
    assert sheet.shape[0] == 2 * SIDE + GAP
    assert np.array_equal(sheet, contact_sheet(result(truth=False)))  # type: ignore[arg-type]
