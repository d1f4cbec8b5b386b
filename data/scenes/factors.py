"""Every factor of a scene as typed data, those captions name and those they withhold.

A model trained on captions knows nothing of the withheld factors beyond what pictures show, so
they are the ones to decode when a response should not merely repeat the caption.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.composition import Disc, projected_discs
from phosphene.data.scenes.description import Scene, Solid

__all__ = [
    "CAPTIONED_FACTORS",
    "WITHHELD_FACTORS",
    "Relation",
    "SceneFactors",
    "SolidFactors",
    "factor_table",
    "pose",
    "scene_factors",
]

CAPTIONED_FACTORS = ("count", "shape", "colour", "material", "size")


@dataclass(frozen=True)
class SolidFactors:
    """Factors of one solid.

    Attributes
    ----------
    shape, colour, material, size : str
        The factors captions name.
    pose : str
        ``upright`` or ``lying``.
    view_angle : float
        Yaw relative to the direction to the camera, in [0, 360) degrees.
    picture_x, picture_y : float
        Centre in the picture, -1 (left, bottom) to 1 (right, top).
    picture_radius : float
        Radius of the outline of the bounding sphere, in half pictures.
    distance : float
        Depth of the centre along the optical axis, in scene units.
    covered : float
        Share of the outline's diameter behind the nearer solid that covers it most, 0 to 1.
    """

    shape: str
    colour: str
    material: str
    size: str
    pose: str
    view_angle: float
    picture_x: float
    picture_y: float
    picture_radius: float
    distance: float
    covered: float


@dataclass(frozen=True)
class Relation:
    """``first`` is ``left_of``, ``in_front_of`` or ``on`` ``second`` (numbers of solids)."""

    first: int
    word: str
    second: int


@dataclass(frozen=True)
class SceneFactors:
    """Factors of a whole scene.

    Attributes
    ----------
    count : int
        Number of solids; named by captions.
    camera_elevation, field_of_view : float
        Degrees.
    light_angle : float
        Azimuth of the sun relative to the camera's, in [0, 360): 0 is behind the camera.
    light_elevation : float
        Degrees.
    light_strength, light_ambient : float
        Of the sun and of the whole sky.
    sky : str
        Kind of sky.
    clouds : float
        Share of cloud.
    ground_texture : str
        Kind of texture.
    ground_scale, ground_angle : float
        Cell width in scene units; direction relative to the camera in [0, 180) degrees.
    ground_lightness : float
        Mean displayed value of its two colours, 0 to 1.
    crowding : float
        Mean over solids of the largest (r_i + r_j) / distance of outlines in the picture: 0 for
        one solid, 1 where outlines touch.
    relations : tuple of Relation
    solids : tuple of SolidFactors
    """

    count: int
    camera_elevation: float
    field_of_view: float
    light_angle: float
    light_elevation: float
    light_strength: float
    light_ambient: float
    sky: str
    clouds: float
    ground_texture: str
    ground_scale: float
    ground_angle: float
    ground_lightness: float
    crowding: float
    relations: tuple[Relation, ...]
    solids: tuple[SolidFactors, ...]


WITHHELD_FACTORS = tuple(
    one.name
    for kind in (SceneFactors, SolidFactors)
    for one in fields(kind)
    if one.name not in (*CAPTIONED_FACTORS, "solids")
)


def pose(solid: Solid) -> str:
    """Return whether a solid stands ``upright`` or is ``lying`` on its side."""
    return "lying" if solid.tilt else "upright"


def scene_factors(scene: Scene) -> SceneFactors:
    """Return the factors of one scene."""
    discs = projected_discs(scene)
    camera, light, ground = scene.camera, scene.light, scene.ground
    return SceneFactors(
        count=len(scene.solids),
        camera_elevation=camera.elevation,
        field_of_view=camera.field_of_view,
        light_angle=(light.azimuth - camera.azimuth) % 360,
        light_elevation=light.elevation,
        light_strength=light.strength,
        light_ambient=light.ambient,
        sky=scene.sky.kind,
        clouds=scene.sky.clouds,
        ground_texture=ground.texture,
        ground_scale=ground.scale,
        ground_angle=(ground.angle - camera.azimuth) % 180,
        ground_lightness=sum(map(sum, ground.colours)) / 6,
        crowding=_crowding(discs),
        relations=tuple(_relations(scene, discs)),
        solids=tuple(
            _solid_factors(scene, solid, disc, discs)
            for solid, disc in zip(scene.solids, discs, strict=True)
        ),
    )


def _solid_factors(scene: Scene, solid: Solid, disc: Disc, discs: Sequence[Disc]) -> SolidFactors:
    covered = 0.0
    for other in discs:
        if other.depth < disc.depth and disc.radius > 0:
            apart = math.hypot(disc.x - other.x, disc.y - other.y)
            share = (disc.radius + other.radius - apart) / (2 * disc.radius)
            covered = max(covered, min(share, 1.0))
    return SolidFactors(
        shape=solid.shape,
        colour=solid.colour,
        material=solid.material,
        size=solid.size,
        pose=pose(solid),
        view_angle=(solid.yaw - scene.camera.azimuth) % 360,
        picture_x=disc.x,
        picture_y=disc.y,
        picture_radius=disc.radius,
        distance=disc.depth,
        covered=covered,
    )


def _crowding(discs: Sequence[Disc]) -> float:
    if len(discs) < 2:
        return 0.0
    closeness = [
        max(
            (a.radius + b.radius) / max(math.hypot(a.x - b.x, a.y - b.y), 1e-3)
            for j, b in enumerate(discs)
            if i != j
        )
        for i, a in enumerate(discs)
    ]
    return sum(closeness) / len(closeness)


def _relations(scene: Scene, discs: Sequence[Disc]) -> list[Relation]:
    """Return the relations that hold clearly: by more than half the smaller radius."""
    found = []
    for i, a in enumerate(discs):
        for j, b in enumerate(discs):
            if i == j:
                continue
            if b.x - a.x > 0.5 * min(a.radius, b.radius):
                found.append(Relation(i, "left_of", j))
            nearest = min(scene.solids[i].bounding_radius, scene.solids[j].bounding_radius)
            if b.depth - a.depth > 0.5 * nearest:
                found.append(Relation(i, "in_front_of", j))
            if scene.solids[i].on == j:
                found.append(Relation(i, "on", j))
    return found


def factor_table(scenes: Sequence[Scene]) -> dict[str, NDArray[np.generic]]:
    """Return the factors of n scenes as columns (n,).

    Factors of solids are those of the most conspicuous one (largest outline in the picture),
    under names that start with ``main_``; numbers of relations are counted by word.
    """
    rows: list[dict[str, float | str]] = []
    for scene in scenes:
        factors = scene_factors(scene)
        row: dict[str, float | str] = {
            one.name: getattr(factors, one.name)
            for one in fields(factors)
            if one.name not in ("relations", "solids")
        }
        for word in ("left_of", "in_front_of", "on"):
            row[f"n_{word}"] = sum(relation.word == word for relation in factors.relations)
        main = max(factors.solids, key=lambda solid: solid.picture_radius)
        row |= {f"main_{one.name}": getattr(main, one.name) for one in fields(main)}
        rows.append(row)
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
