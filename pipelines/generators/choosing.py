"""Open a generator by what people write: its name, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phosphene.checkpoints.registry import find_generator, known_generators
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import check_option
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.base import Generator

__all__ = ["open_generator"]


def open_generator(
    text: str, folder: Path, target: StimulusEncoder, options: dict[str, Any] | None = None
) -> Generator:
    """Return the generator that ``NAME`` or ``NAME:PLACE`` stands for.

    Parameters
    ----------
    text : str
        A published generator (``kandinsky22``, ``ip-adapter-sdxl:local-dir:FOLDER``), or another
        kind, with its folder where it is not that of the model.
    folder : Path
        The model's own generator.
    target : StimulusEncoder
    options : dict, optional
        Settings of a published generator.
    """
    name, _, place = text.partition(":")
    published = find_generator(name)
    if published is None:
        check_option("generator", name, {*GENERATORS.names(), *known_generators()})
    kind: Any = GENERATORS.get(name if published is None else published[1].generator)
    made: Generator
    if published is not None:
        made = kind.open(name, target, source=place or None, options=options)
        return made
    made = kind.load(Path(place) if place else folder, target)
    return made.with_options(options) if options else made
