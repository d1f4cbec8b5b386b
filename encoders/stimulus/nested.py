"""Targets inside a target: each in a folder of its own, found by the name in its configuration."""

from __future__ import annotations

from pathlib import Path

from phosphene.component import CONFIG_NAME
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.schemas import ComponentFile

__all__ = ["load_inner", "save_inner"]


def save_inner(inner: StimulusEncoder, folder: Path) -> None:
    """Write a target into ``folder``."""
    inner.save_pretrained(folder)


def load_inner(folder: Path) -> StimulusEncoder:
    """Return the target that lies in ``folder``."""
    from phosphene.encoders.stimulus import STIMULUS_ENCODERS

    stored = ComponentFile.load(folder / CONFIG_NAME)
    found: StimulusEncoder = STIMULUS_ENCODERS.get(stored.name).from_pretrained(folder)
    return found
