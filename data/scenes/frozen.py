"""The identity of the frozen scenes: what has been measured on them stays comparable.

Descriptions are compared exactly. Pictures follow from them by correctly rounded arithmetic; a
small golden file of pictures in the tests guards the renderer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from phosphene.data.scenes.captions import captions
from phosphene.data.scenes.movies import sample_movie
from phosphene.data.scenes.sampling import DISTRIBUTIONS, SCENES_VERSION, SPLITS, sample_scene
from phosphene.data.scenes.variations import hard_negatives

__all__ = ["DESCRIPTION_HASH", "description_hash"]

DESCRIPTION_HASH = "e23089326ce16e07f3476e561ea60ae3cf61660a41290832f456b2226c1ee216"
"""Hash of version 1; a change that alters it needs a new :data:`SCENES_VERSION`."""


def description_hash(count: int = 20) -> str:
    """Return the sha256 of the first scenes, captions, movies and twins as text."""
    digest = hashlib.sha256(SCENES_VERSION.encode())
    content: list[object]
    for distribution in DISTRIBUTIONS.values():
        for split in SPLITS:
            for index in range(count):
                scene = sample_scene(index, split=split, distribution=distribution)
                content = [scene.to_dict(), captions(scene, 3)]
                digest.update(json.dumps(content, sort_keys=True).encode())
    for index in range(count):
        movie = sample_movie(index, split="test")
        twins = hard_negatives(sample_scene(index, split="test"))
        content = [asdict(movie), {name: twin.to_dict() for name, twin in twins.items()}]
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()
