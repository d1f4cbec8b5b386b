"""Mistakes an experiment can make, as switches. All are off by default.

Each one gives decoders something to exploit that is not the picture, so that an audit has to
find it while the clean twin of the same seed passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from phosphene.data.scenes import Scene, scene_factors
from phosphene.data.virtual.areas import PICTURE_DEGREES
from phosphene.errors import UsageError, check_option

__all__ = [
    "CONFOUNDS",
    "arousal_levels",
    "check_confounds",
    "drift_ramp",
    "duplicated",
    "gaze_towards_main_solid",
    "main_shapes",
]

Array = np.ndarray[Any, Any]

CONFOUNDS = {
    "block-drift": "categories shown in blocks while the signal drifts through the session",
    "duplicates": "a quarter of the test pictures are training pictures under another name",
    "arousal": "the whole brain responds by category",
    "gaze": "the eyes move towards the main solid",
}
DRIFT, AROUSAL, GAZE = 1.5, 0.5, 0.35
NEEDING_CATEGORIES = ("arousal", "block-drift")


def check_confounds(
    confounds: Sequence[str], categories: Sequence[str] | None, n_stimuli: int
) -> None:
    """Refuse unknown names, and categories that are missing or of another number."""
    for name in confounds:
        check_option("confound", name, CONFOUNDS)
    needing = [name for name in confounds if name in NEEDING_CATEGORIES]
    if needing and (categories is None or len(categories) != n_stimuli):
        given = "none" if categories is None else str(len(categories))
        raise UsageError(
            f"confound {needing[0]!r} with {given} categories for {n_stimuli} pictures",
            expected="`categories`, one per picture",
        )


def main_shapes(scenes: Sequence[Scene]) -> list[str]:
    """Return the shape of each scene's most conspicuous solid: its category."""
    return [
        max(scene_factors(scene).solids, key=lambda solid: solid.picture_radius).shape
        for scene in scenes
    ]


def drift_ramp(spread: Array) -> Array:
    """Return the slope over a session (V,): one and a half SD, the same sign everywhere."""
    return DRIFT * spread


def arousal_levels(categories: Sequence[str]) -> Array:
    """Return the level of every picture (n,), in SD of single-trial betas: equally spaced."""
    names, codes = np.unique(np.array(categories), return_inverse=True)
    levels = np.linspace(-1, 1, len(names)) if len(names) > 1 else np.zeros(1)
    picked: Array = AROUSAL * levels[codes]
    return picked


def gaze_towards_main_solid(scenes: Sequence[Scene]) -> Array:
    """Return where the eyes rest (n, 2), degrees right and up: a third of the way to the solid."""
    gaze = np.zeros((len(scenes), 2))
    for row, scene in enumerate(scenes):
        main = max(scene_factors(scene).solids, key=lambda solid: solid.picture_radius)
        gaze[row] = main.picture_x, main.picture_y
    return np.clip(GAZE * gaze * PICTURE_DEGREES / 2, -1.5, 1.5)


def duplicated(test: Sequence[Scene], training: Sequence[Scene]) -> list[Scene]:
    """Return the test scenes with every fourth replaced by a training scene."""
    if not training:
        raise UsageError(
            "confound 'duplicates' without training pictures",
            expected="training pictures that the test can repeat",
            remedy="give --training-scenes, for example four times as many as --scenes",
        )
    return [
        training[(index // 4) % len(training)] if index % 4 == 0 else scene
        for index, scene in enumerate(test)
    ]
