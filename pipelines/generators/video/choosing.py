"""Open a video generator by what people write: its name, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phosphene.checkpoints.registry import find_video_generator, known_video_generators
from phosphene.errors import UsageError, check_option
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.base import VideoGenerator
from phosphene.schemas import ComponentFile

__all__ = ["open_video_generator"]


def open_video_generator(
    text: str, folder: Path, pictures: Generator, options: dict[str, Any] | None = None
) -> VideoGenerator:
    """Return the video generator that ``NAME`` or ``NAME:PLACE`` stands for.

    Parameters
    ----------
    text : str
        A published generator (``wan``, ``wan:local-dir:FOLDER``), or another kind, with its folder
        where it is not that of the model.
    folder : Path
        The model's own video generator; may not exist.
    pictures : Generator
        Renders the keyframes.
    options : dict, optional
        Settings of a published generator.
    """
    name, _, place = text.partition(":")
    published = find_video_generator(name)
    if published is None:
        check_option(
            "video generator", name, {*VIDEO_GENERATORS.names(), *known_video_generators()}
        )
    kind: Any = VIDEO_GENERATORS.get(name if published is None else published[1].generator)
    made: VideoGenerator
    if published is not None:
        made = kind.open(name, pictures, source=place or None, options=options)
        return made
    if options:
        raise UsageError(
            f"options {', '.join(options)} for the video generator {name}",
            expected="none; `phosphene models list` names the generators that take any",
        )
    own = Path(place) if place else _of_this_kind(folder, kind.name)
    made = kind.load(own, pictures)
    return made


def _of_this_kind(folder: Path, name: str) -> Path:
    """Return a model's folder, or one that is not there where the model holds another kind."""
    path = Path(folder) / "config.json"
    if path.is_file() and ComponentFile.load(path).name != name:
        return Path(folder) / name
    return Path(folder)
