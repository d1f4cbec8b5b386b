"""Where solids stand and where the camera goes, so that a picture shows all of them well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.description import Camera, Scene, Solid
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.solids import SHAPE_GEOMETRY

__all__ = [
    "Disc",
    "frame_camera",
    "hidden_share",
    "lying_tilt",
    "place_solids",
    "projected_discs",
    "separated",
]

_GAP = 0.08
"""Least distance between the bounding circles of neighbours, in scene units."""


@dataclass(frozen=True)
class Disc:
    """Outline of a solid's bounding sphere in the picture, and its distance.

    ``x`` and ``y`` are in half pictures from the centre (right and up), ``radius`` likewise.
    """

    x: float
    y: float
    radius: float
    depth: float


def lying_tilt(shape: str, stretch: float) -> float:
    """Return the tilt in degrees at which a shape rests on its side; 0 when it has only one way.

    Examples
    --------
    >>> lying_tilt("cylinder", 1.0)
    90.0
    """
    if shape in ("sphere", "cube", "octahedron"):
        return 0.0
    if shape in ("cone", "pyramid"):
        width, _, half_height = SHAPE_GEOMETRY[shape].proportions
        return round(90 + math.degrees(math.atan(width / (2 * half_height * stretch))), 4)
    return 90.0


def separated(solids: Sequence[Solid]) -> bool:
    """Whether no two solids on the ground come closer than a small gap."""
    standing = [(s.x, s.y, s.floor_radius) for s in solids if s.on < 0]
    return all(
        math.hypot(ax - bx, ay - by) >= ar + br + _GAP - 1e-3
        for k, (ax, ay, ar) in enumerate(standing)
        for bx, by, br in standing[:k]
    )


def place_solids(solids: Sequence[Solid], draws: Draws) -> list[Solid]:
    """Give solids that stand on the ground places that keep them apart but together.

    Each is put at a random angle and a distance that widens until it is free of the others.
    Solids that stand on another keep their place relative to it.
    """
    placed: list[Solid] = []
    taken: list[tuple[float, float, float]] = []
    for solid in solids:
        if solid.on >= 0:
            carrier = placed[solid.on]
            placed.append(replace(solid, x=carrier.x, y=carrier.y))
            continue
        radius, spread = solid.floor_radius, 0.5
        while True:
            angle, distance = draws.uniform(0, 360), spread * math.sqrt(draws.unit())
            x = round(distance * math.cos(math.radians(angle)), 4)
            y = round(distance * math.sin(math.radians(angle)), 4)
            if all(math.hypot(x - a, y - b) >= radius + r + _GAP for a, b, r in taken):
                break
            spread += 0.12
        taken.append((x, y, radius))
        placed.append(replace(solid, x=x, y=y))
    return placed


def _camera_coordinates(camera: Camera, centres: NDArray[np.float64]) -> NDArray[np.float64]:
    relative = centres - camera.position
    coordinates: NDArray[np.float64] = (relative[:, None, :] * camera.axes[None]).sum(axis=2)
    return coordinates


def projected_discs(scene: Scene) -> list[Disc]:
    """Return the outlines of the solids' bounding spheres in the picture."""
    positions = _camera_coordinates(scene.camera, scene.centres).tolist()
    half = scene.camera.half_width
    discs = []
    for (x, y, depth), solid in zip(positions, scene.solids, strict=True):
        if depth <= 0:
            discs.append(Disc(math.inf, math.inf, 0.0, depth))
        else:
            size = solid.bounding_radius / (half * depth)
            discs.append(Disc(x / (half * depth), y / (half * depth), size, depth))
    return discs


def frame_camera(camera: Camera, scene: Scene, reach: float, draws: Draws) -> Camera:
    """Move a camera so that every solid is in the frame, off centre by chance.

    Parameters
    ----------
    camera : Camera
        Its angles and field of view are kept.
    scene : Scene
        Its solids are framed; its own camera is ignored.
    reach : float
        Least half width of the picture at the solids in scene units: with few or small solids
        the camera stays this far, so that small ones look small.
    draws : Draws
        Chooses where the group lies in the free space.
    """
    centres = scene.centres
    radii = np.array([solid.bounding_radius for solid in scene.solids])
    middle = (centres.max(axis=0) + centres.min(axis=0)) / 2
    relative = ((centres - middle)[:, None, :] * camera.axes[None]).sum(axis=2)
    half = math.atan(camera.half_width)
    needed = (radii[:, None] + np.abs(relative[:, :2]) * math.cos(half)) / math.sin(half)
    distance = float(max((needed - relative[:, 2:]).max(), reach / camera.half_width))
    # A sphere stays in the frame while its centre is this far inside the slanted sides.
    room = ((relative[:, 2] + distance) * math.sin(half) - radii) / math.cos(half)
    low = (-room[:, None] - relative[:, :2]).max(axis=0)
    high = (room[:, None] - relative[:, :2]).min(axis=0)
    # Lowering the target must not put the camera below the ground.
    height = middle[2] + distance * math.sin(math.radians(camera.elevation)) - 0.5
    high[1] = max(min(high[1], height / camera.axes[1, 2]), low[1])
    shift = [draws.uniform(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    target = middle - shift[0] * camera.axes[0] - shift[1] * camera.axes[1]
    x, y, z = (round(v, 4) for v in target.tolist())
    return Camera(
        camera.azimuth, camera.elevation, round(distance, 4), camera.field_of_view, (x, y, z)
    )


def hidden_share(discs: Sequence[Disc]) -> float:
    """Return the largest share of a disc's diameter that a nearer disc covers."""
    worst = 0.0
    for a in discs:
        for b in discs:
            if b.depth < a.depth and a.radius > 0:
                apart = math.hypot(a.x - b.x, a.y - b.y)
                worst = max(worst, (a.radius + b.radius - apart) / (2 * a.radius))
    return worst
