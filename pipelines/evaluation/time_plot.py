"""The course of scores over time as a drawing (SVG): sliding windows beside growing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.names import require
from phosphene.storage import atomic_path

__all__ = ["plot_time_course"]

INK = {"sliding": "#0072b2", "growing": "#d55e00"}  # told apart by colour-blind readers too
MARKS = {"sliding": "o", "growing": "s"}


def plot_time_course(path: Path, scores: Sequence[Mapping[str, Any]]) -> None:
    """Draw retrieval, and where pictures were made their identification, against time.

    A point stands at the end of its window: all that it is made of was recorded by then. Lines
    are means over subjects, bands the mean of their intervals.

    Parameters
    ----------
    path : Path
        An ``.svg``.
    scores : sequence of mappings
        As in ``time_resolved.json``.
    """
    figures = require("matplotlib.figure", "report")
    matplotlib = require("matplotlib", "report")
    drawn = any(one["pixel_two_way"] is not None for one in scores)
    panels = [
        ("top_1", "top-1 retrieval", "chance_top_1"),
        ("two_way", "two-way retrieval", None),
        *([("pixel_two_way", "two-way, rendered pictures", None)] if drawn else []),
    ]
    settings = {"svg.hashsalt": "phosphene", "font.size": 9, "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), atomic_path(path) as temporary:
        figure = figures.Figure(figsize=(3.6 * len(panels), 2.9), layout="constrained")
        for place, (name, title, chance) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), place + 1)
            for kind, ink in INK.items():
                _line(axes, [one for one in scores if one["kind"] == kind], name, kind, ink)
            level = 0.5 if chance is None else float(np.mean([one[chance] for one in scores]))
            axes.axhline(level, color="#666666", linestyle="--", linewidth=0.8, label="chance")
            axes.axvline(0, color="#bbbbbb", linewidth=0.8)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("end of the window (s after onset)")
            axes.spines[["top", "right"]].set_visible(False)
            if place == 0:
                axes.legend(frameon=False, fontsize=8)
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def _line(axes: Any, scores: Sequence[Mapping[str, Any]], name: str, kind: str, ink: str) -> None:
    ends = sorted({one["end"] for one in scores})

    def means(column: str) -> list[float]:
        return [
            float(np.mean([one[column] for one in scores if one["end"] == end])) for end in ends
        ]

    if not scores or any(one[name] is None for one in scores):
        return
    axes.plot(ends, means(name), MARKS[kind] + "-", color=ink, markersize=3, linewidth=1.2,
              label=f"{kind} windows")  # fmt: skip
    if f"{name}_low" in scores[0]:
        axes.fill_between(
            ends, means(f"{name}_low"), means(f"{name}_high"), color=ink, alpha=0.15, linewidth=0
        )
