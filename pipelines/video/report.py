"""The page of a video run: truth and reconstruction playing side by side, in one file."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

import phosphene
from phosphene.names import require

__all__ = ["MAX_CLIPS", "Film", "ShownClip", "VideoPage", "film_of", "render_video_page", "spread"]

MAX_CLIPS = 60


@dataclass(frozen=True)
class Film:
    """One film of a card; its address holds all of it."""

    words: str
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class ShownClip:
    """One card: truth where it is known, then what was decoded."""

    item: int
    label: str
    told: str
    films: tuple[Film, ...]


@dataclass(frozen=True)
class VideoPage:
    """Everything the page says.

    Attributes
    ----------
    measures : list of rows of text
        Metric, value, interval, wrong pairing, still picture, still truth, grey.
    """

    heading: str
    lead: str
    model: str
    careful: str
    virtual: bool
    said: str
    clips: list[ShownClip]
    measures: list[list[str]]
    provenance: list[tuple[str, str]]


def film_of(path: Path, words: str, size: tuple[int, int]) -> Film:
    """Return an MP4 as a film of the page; ``size`` is (height, width)."""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return Film(words, f"data:video/mp4;base64,{content}", size[1], size[0])


def spread(count: int, most: int = MAX_CLIPS) -> list[int]:
    """Return which of so many clips are shown: all, or as many as there is room for, evenly.

    Examples
    --------
    >>> spread(3), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def render_video_page(page: VideoPage) -> str:
    """Return the page as text: one file, nothing is fetched."""
    jinja2, markup = require("jinja2", "report"), require("markupsafe", "report").Markup
    folder = files("phosphene.pipelines.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    own = {
        name: folder.joinpath(f"video_{name}.html.j2").read_text("utf-8")
        for name in ("style", "script")
    }
    text: str = environment.get_template("video.html.j2").render(
        page=page,
        version=phosphene.__version__,
        **{name: markup(content) for name, content in own.items()},
        **{f"{name}_hash": _hash(content) for name, content in own.items()},
    )
    return text.lstrip()


def _hash(text: str) -> str:
    """Return what a content security policy allows this very text by."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
