"""A figure for papers: shown above decoded, best, median and worst by the written rule."""

from __future__ import annotations

import io
import os
import textwrap
from pathlib import Path
from typing import Any

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError
from phosphene.names import require
from phosphene.pipelines.report.content import WRONG_PAIRING, Content
from phosphene.pipelines.report.page import ranking_rule
from phosphene.storage import atomic_path

__all__ = ["FIGURE_KINDS", "check_figure_path", "render_figure", "write_figure"]

FIGURE_KINDS = (".pdf", ".png", ".svg")
MOST = 9  # pictures in a row
WIDTH, MARGIN, GAP, GROUP_GAP = 7.2, 0.42, 0.04, 0.2  # inches; the width of two columns
EDGE = 0.04
LINE, SMALL = 0.145, 7.0  # height of a line of text in inches, its size in points


def check_figure_path(path: str | os.PathLike[str]) -> Path:
    """Return the path when a figure can have it."""
    target = Path(path)
    if target.suffix.lower() not in FIGURE_KINDS:
        raise UsageError(
            f"the figure {target} is to end in {target.suffix or 'nothing'}",
            expected=f"one of {', '.join(FIGURE_KINDS)}",
            remedy=f"name it {target.with_suffix('.pdf').name}, for example",
        )
    return target


def write_figure(path: str | os.PathLike[str], content: Content) -> Path:
    """Write the figure as PDF, PNG (300 dots per inch) or SVG, by the ending of the name."""
    target = check_figure_path(path)
    data = render_figure(content, target.suffix.lower().removeprefix("."))
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)
    return target


def render_figure(content: Content, kind: str) -> bytes:
    """Return the figure as the content of a file of that kind.

    Columns are items: three of the best, three around the median, three of the worst (fewer of
    few items), or the first ones where nothing is known to rank by. The upper row is what was
    shown, the lower one the first sample that was decoded. The caption states the rule.
    """
    matplotlib = require("matplotlib", "report")
    figures = require("matplotlib.figure", "report")
    columns = figure_columns(content)
    n = sum(len(items) for _, items in columns)
    if not all(len(content.images[item]) for _, items in columns for item in items):
        raise InputError(
            "the decoded pictures are not where they were when this result was made",
            expected="the pictures that the result names",
            remedy="put them back, or make the result again",
        )
    rows = 1 if content.truth is None else 2
    side = (
        WIDTH - MARGIN - EDGE - GROUP_GAP * (len(columns) - 1) - GAP * (n - len(columns))
    ) / max(n, 4)
    lines = textwrap.wrap(figure_caption(content), 142)
    height = 0.24 + rows * (side + GAP) + 0.1 + LINE * len(lines)
    settings = {
        "font.family": "sans-serif", "font.size": SMALL, "pdf.fonttype": 42,
        "svg.fonttype": "none", "svg.hashsalt": "phosphene",
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(WIDTH, height), facecolor="white")
        left, top = MARGIN, height - 0.24
        for name, items in columns:
            width = len(items) * (side + GAP) - GAP
            _text(figure, left + width / 2, top + 0.08, name, ha="center", weight="bold")
            for item in items:
                stack = [content.images[item][0]]
                if content.truth is not None:
                    stack.insert(0, content.truth[item])
                for row, pixels in enumerate(stack):
                    _picture(figure, pixels, left, top - (row + 1) * (side + GAP) + GAP, side)
                left += side + GAP
            left += GROUP_GAP - GAP
        for row, words in enumerate(["shown", "decoded"][-rows:]):
            middle = top - row * (side + GAP) - side / 2
            _text(figure, MARGIN - 0.08, middle, words, ha="center", va="center", rotation=90)
        for number, line in enumerate(lines):
            _text(figure, EDGE, LINE * (len(lines) - number) - 0.06, line)
        buffer = io.BytesIO()
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
        figure.savefig(buffer, format=kind, dpi=300, metadata=metadata)
    return buffer.getvalue()


def figure_columns(content: Content) -> list[tuple[str, list[int]]]:
    """Return the groups of items that a figure shows, by rule."""
    if content.ranking is not None and content.ranking.exemplars():
        parts = content.ranking.exemplars(MOST // 3)
        return [(name, items) for name, items in parts.items()]
    return [("first items", list(range(min(len(content), MOST))))]


def figure_caption(content: Content) -> str:
    """Return what stands below the figure."""
    columns = figure_columns(content)
    above = "" if content.truth is None else "Shown above, decoded below. "
    virtual = "Virtual data: the recordings are simulated. " if content.virtual else ""
    if content.ranking is None or len(columns) == 1:
        return f"{above}{virtual}{content.heading}, the first items in their order."
    count = len(columns[0][1])
    which = "The best, the median and the worst item" if count == 1 else (
        f"The {count} best, the {count} around the median and the {count} worst items"
    )  # fmt: skip
    seen = " ".join(content.warnings)
    model = "" if content.model in content.heading else f", model {content.model}"
    return (
        f"{above}{virtual}{which} of {len(content.ranking.order):,}. {content.heading}{model}. "
        f"{ranking_rule(content)}{_score(content)}{' ' + seen if seen else ''}"
    )


def _score(content: Content) -> str:
    """Return the score that was ranked by, with its interval and chance."""
    measure = content.ranked_by
    if measure is None or measure.value is None:
        return ""
    low_high, chance = measure.interval, measure.controls.get(WRONG_PAIRING)
    interval = "" if low_high is None else f" [{low_high[0]:.3f}, {low_high[1]:.3f}]"
    beside = "" if chance is None else f", wrong pairing {chance:.3f}"
    return f" Mean {measure.value:.3f}{interval}{beside}."


def _text(figure: Any, x: float, y: float, words: str, **options: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, words, **options)


def _picture(figure: Any, pixels: Pictures, left: float, bottom: float, side: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    grey = pixels.shape[-1] == 1
    axes.imshow(
        pixels[..., 0] if grey else pixels,
        cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="nearest", aspect="equal",
    )  # fmt: skip
    axes.set_axis_off()
