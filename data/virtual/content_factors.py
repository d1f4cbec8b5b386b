"""Scenes as numbers that later areas are tuned to: what each solid is and how the scene lies.

These descriptors are set by hand from geometry. No network has a part in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from phosphene.data.scenes import (
    GROUND_TEXTURES,
    SKIES,
    Scene,
    SceneFactors,
    SolidFactors,
    scene_factors,
)
from phosphene.data.virtual.areas import PICTURE_DEGREES

__all__ = ["LAYOUT_NAMES", "MATERIAL_CODES", "SHAPE_CODES", "ContentFactors", "content_factors"]

Array = np.ndarray[Any, Any]

# Roundness, elongation, pointedness, hole, flat faces.
SHAPE_CODES = {
    "sphere": (1.0, 0.0, 0.0, 0.0, 0.0),
    "ellipsoid": (1.0, 0.6, 0.1, 0.0, 0.0),
    "capsule": (0.8, 1.0, 0.0, 0.0, 0.0),
    "cylinder": (0.5, 0.5, 0.0, 0.0, 0.4),
    "cone": (0.5, 0.4, 1.0, 0.0, 0.2),
    "torus": (0.9, 0.0, 0.0, 1.0, 0.0),
    "cube": (0.0, 0.0, 0.1, 0.0, 1.0),
    "pyramid": (0.0, 0.2, 1.0, 0.0, 0.8),
    "octahedron": (0.0, 0.3, 0.9, 0.0, 1.0),
}
# Shine, pattern, stripes.
MATERIAL_CODES = {
    "matte": (0.0, 0.0, 0.0),
    "glossy": (0.6, 0.0, 0.0),
    "metal": (1.0, 0.0, 0.0),
    "checkered": (0.1, 1.0, 0.0),
    "striped": (0.1, 1.0, 1.0),
}
# How often the outline repeats in one turn about the vertical; 0 where turning changes nothing.
SYMMETRY = {
    "upright": {"cube": 4, "pyramid": 4, "octahedron": 4},
    "lying": {
        "cylinder": 2,
        "capsule": 2,
        "ellipsoid": 2,
        "torus": 2,
        "cone": 1,
        "pyramid": 1,
    },
}
WORDS = ("left_of", "in_front_of", "on")
MAX_SOLIDS = 4
LAYOUT_NAMES = (
    "camera_elevation",
    "field_of_view",
    "light_in_front",
    "light_from_right",
    "light_elevation",
    "light_strength",
    "light_ambient",
    "clouds",
    "ground_scale",
    "ground_along",
    "ground_across",
    "ground_lightness",
    "crowding",
    "count",
    "distance",
    "depth_range",
    *(f"sky_{name}" for name in SKIES),
    *(f"ground_{name}" for name in GROUND_TEXTURES),
)


@dataclass(frozen=True, eq=False)
class ContentFactors:
    """Numbers of n scenes of up to m solids; absent solids have ``present`` 0.

    Attributes
    ----------
    present : (n, m)
    shape : (n, m, 5)
    material : (n, m, 3)
    colour : (n, m, 3)
        As displayed, 0 to 1.
    view : (n, m, 2)
        Cosine and sine of the view angle times the symmetry; 0 where turning changes nothing.
    lying : (n, m)
    x, y, radius : (n, m)
        Degrees of visual angle.
    covered : (n, m)
    relations : (n, 3, m, m)
        1 where the first is left of, in front of, or on the second.
    layout : (n, 30)
        :data:`LAYOUT_NAMES`, about unit range.
    """

    present: Array
    shape: Array
    material: Array
    colour: Array
    view: Array
    lying: Array
    x: Array
    y: Array
    radius: Array
    covered: Array
    relations: Array
    layout: Array

    def __len__(self) -> int:
        return len(self.present)


def content_factors(scenes: Sequence[Scene]) -> ContentFactors:
    """Return the descriptors of scenes."""
    n, m = len(scenes), max([MAX_SOLIDS, *(len(scene.solids) for scene in scenes)])
    ends = {"shape": (5,), "material": (3,), "colour": (3,), "view": (2,)}
    names = [one.name for one in fields(ContentFactors)]
    shapes = {name: (n, m, *ends.get(name, ())) for name in names}
    shapes |= {"relations": (n, len(WORDS), m, m), "layout": (n, len(LAYOUT_NAMES))}
    content = ContentFactors(**{k: np.zeros(v, dtype=np.float32) for k, v in shapes.items()})
    for row, scene in enumerate(scenes):
        factors = scene_factors(scene)
        content.layout[row] = _layout(factors)
        for k, (solid, found) in enumerate(zip(scene.solids, factors.solids, strict=True)):
            _fill_solid(content, (row, k), found, solid.rgb)
        for relation in factors.relations:
            content.relations[row, WORDS.index(relation.word), relation.first, relation.second] = 1
    return content


def _fill_solid(
    content: ContentFactors,
    at: tuple[int, int],
    solid: SolidFactors,
    rgb: tuple[float, float, float],
) -> None:
    half = PICTURE_DEGREES / 2
    turns = SYMMETRY[solid.pose].get(solid.shape, 0)
    angle = np.radians(solid.view_angle) * turns
    content.present[at] = 1
    content.shape[at] = SHAPE_CODES[solid.shape]
    content.material[at] = MATERIAL_CODES[solid.material]
    content.colour[at] = rgb
    content.view[at] = (np.cos(angle), np.sin(angle)) if turns else (0, 0)
    content.lying[at] = solid.pose == "lying"
    content.x[at], content.y[at] = solid.picture_x * half, solid.picture_y * half
    content.radius[at] = solid.picture_radius * half
    content.covered[at] = solid.covered


def _layout(factors: SceneFactors) -> list[float]:
    light, ground = np.radians(factors.light_angle), np.radians(2 * factors.ground_angle)
    depths = [solid.distance for solid in factors.solids] or [0.0]
    return [
        (factors.camera_elevation - 25) / 13,
        (factors.field_of_view - 42) / 7,
        float(np.cos(light)),
        float(np.sin(light)),
        (factors.light_elevation - 40) / 15,
        factors.light_strength - 1,
        2 * factors.light_ambient - 1,
        2 * factors.clouds - 1,
        factors.ground_scale - 1,
        float(np.cos(ground)),
        float(np.sin(ground)),
        4 * factors.ground_lightness - 2,
        factors.crowding - 0.7,
        (factors.count - 2.3) / 1.1,
        (float(np.mean(depths)) - 10) / 3,
        (max(depths) - min(depths)) / 2 - 1,
        *(float(factors.sky == name) for name in SKIES),
        *(float(factors.ground_texture == name) for name in GROUND_TEXTURES),
    ]
