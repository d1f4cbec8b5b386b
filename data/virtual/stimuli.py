"""Which pictures a virtual experiment shows: fresh scenes, hold-outs, photographs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.scenes import (
    HELD_OUT_CONJUNCTIONS,
    HELD_OUT_SHAPES,
    VARIED_FACTORS,
    Scene,
    hard_negatives,
    render,
    sample_scenes,
)
from phosphene.data.virtual.confounds import duplicated
from phosphene.data.virtual.early_vision import SIZE
from phosphene.errors import InputError, UsageError, check_option

__all__ = ["HOLD_OUTS", "Stimuli", "choose_stimuli", "read_photographs"]

Array = np.ndarray[Any, Any]

HOLD_OUTS = ("none", "conjunctions", "shape", "hard-negatives")
DISTRIBUTIONS = {"conjunctions": HELD_OUT_CONJUNCTIONS, "shape": HELD_OUT_SHAPES}


@dataclass(frozen=True, eq=False)
class Stimuli:
    """Pictures of an experiment.

    Attributes
    ----------
    ids : tuple of n str
        Names for ``stimulus_id`` and the picture files, all different.
    images : (n, 64, 64, 3) uint8
    splits : tuple of n str
        ``test``, and ``train`` for training pictures shown along.
    scenes : tuple of n Scene, or None
        None for photographs.
    """

    ids: tuple[str, ...]
    images: Array
    splits: tuple[str, ...]
    scenes: tuple[Scene, ...] | None

    def __len__(self) -> int:
        return len(self.ids)


def choose_stimuli(
    count: int,
    *,
    seed: int = 0,
    holdout: str = "none",
    training: int = 0,
    duplicates: bool = False,
    threads: int | None = 2,
) -> Stimuli:
    """Return rendered scenes of the test split, with training scenes after them on request.

    Parameters
    ----------
    count : int
        Test pictures.
    seed : int
        Of the scenes.
    holdout : str
        ``none``: the distribution of training. ``conjunctions``: of colour, shape and material
        that training never shows. ``shape``: one that training never shows.
        ``hard-negatives``: pairs that differ in one factor.
    training : int
        Pictures of the training split.
    duplicates : bool
        Replace every fourth test picture by a training picture.
    threads : int or None
        Of the renderer.
    """
    check_option("holdout", holdout, HOLD_OUTS)
    if count < 1 or training < 0:
        raise UsageError(
            f"{count} scenes and {training} training scenes", expected="at least one scene"
        )
    if holdout == "hard-negatives":
        test = _pairs(count, seed)
    elif holdout in DISTRIBUTIONS:
        test = sample_scenes(0, count, seed=seed, split="test", distribution=DISTRIBUTIONS[holdout])
    else:
        test = sample_scenes(0, count, seed=seed, split="test")
    names = [scene.name for scene in test]
    train = sample_scenes(0, training, seed=seed)
    if duplicates:
        test = duplicated(test, train)
    scenes = (*test, *train)
    ids = tuple(_identifier(name) for name in (*names, *(scene.name for scene in train)))
    splits = ("test",) * len(test) + ("train",) * len(train)
    return Stimuli(ids, render(scenes, SIZE, threads=threads).images, splits, scenes)


def _identifier(name: str) -> str:
    return name.replace("/", "-").replace("~", "-")


def _pairs(count: int, seed: int) -> list[Scene]:
    """Return scenes, each followed by a twin that differs in one factor, in turn."""
    scenes: list[Scene] = []
    index = 0
    while len(scenes) < count:
        scene = sample_scenes(index, index + 1, seed=seed, split="test")[0]
        twins = hard_negatives(scene)
        wanted = VARIED_FACTORS[index % len(VARIED_FACTORS)]
        twin = twins.get(wanted) or next(iter(twins.values()), None)
        scenes += [scene] if twin is None else [scene, twin]
        index += 1
    return scenes[:count]


def read_photographs(folder: str | os.PathLike[str]) -> Stimuli:
    """Return the pictures of a folder as stimuli of 64 x 64 pixels, their middle square.

    Areas tuned to what scenes contain keep their mean there, as nothing is known of the content.
    """
    from phosphene.data.pictures import fit_pictures, read_pictures

    names, pictures = read_pictures(folder)
    images = fit_pictures(pictures, size=SIZE, channels=3)
    ids = tuple(names or [f"photograph-{index:06d}" for index in range(len(images))])
    if not ids:
        raise InputError(f"there is no picture in {folder}", expected="a folder of pictures")
    return Stimuli(ids, np.ascontiguousarray(images), ("test",) * len(ids), None)


def labels_of(scenes: Sequence[Scene] | None) -> tuple[Scene, ...]:
    """Return the scenes, or say that a switch needs them."""
    if scenes is None:
        raise UsageError(
            "photographs with a confound that depends on what a scene contains",
            expected="scenes, whose content is known",
            remedy="leave out --photographs or --confound",
        )
    return tuple(scenes)
