"""What happens after every denoising step: a bar moves, and the caller is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StepEnd", "watch_steps"]

# Called with the step's number from 0, its time and the latents of the block.
StepEnd = Callable[[int, "Tensor", "Tensor"], None]


def watch_steps(
    callback: StepEnd | None, bar_settings: dict[str, Any]
) -> Callable[[int, int, Tensor, Tensor], None]:
    """Return a function of step, number of steps, time and latents for one block.

    Parameters
    ----------
    callback : callable, optional
        Called after each step.
    bar_settings : dict
        Arguments of tqdm that beat the defaults: on a terminal alone, removed when done.
    """
    from tqdm import tqdm

    settings: dict[str, Any] = {"desc": "steps", "leave": False}
    settings |= {"disable": not sys.stderr.isatty()} | bar_settings
    bars: list[Any] = []

    def watch(number: int, total: int, time: Tensor, latents: Tensor) -> None:
        if not bars:
            bars.append(tqdm(total=total, file=sys.stderr, **settings))
        bars[0].update()
        if number == total - 1:
            bars[0].close()
        if callback is not None:
            callback(number, time, latents)

    return watch
