"""Which surface a ray meets first.

Rays are o + t d with arrays (3, n), in single precision. A ray is tested against a solid only
when it meets the solid's bounding sphere, which leaves a few percent of them, and then in the
solid's own coordinates, with the origin moved to the point nearest its centre: the quadratics
then have no large terms that cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.description import Scene
from phosphene.data.scenes.solids import SHAPE_GEOMETRY, Floats, Geometry

__all__ = [
    "GROUND_ID",
    "SKY_ID",
    "Body",
    "bodies_of",
    "columns",
    "dot",
    "first_hit",
    "occluded",
    "occluded_ground",
    "transform",
]

GROUND_ID = 0
"""Mask value of the ground; solid k has k + 1."""
SKY_ID = 255
"""Mask value where nothing is met."""

SURFACE_GAP = 2e-3
"""Distance that secondary rays start off the surface they leave, in scene units."""


@dataclass(frozen=True)
class Body:
    """A solid placed in the world: ``world = to_world @ canonical + centre``."""

    geometry: Geometry
    centre: Floats
    to_world: Floats
    to_canonical: Floats
    radius: float

    def normal(self, p: Floats) -> Floats:
        """Return outward unit normals (3, n) at world points on the surface."""
        gradient = self.geometry.normal(self.local(p))
        n = transform(self.to_canonical.T, gradient)
        return n / np.sqrt(dot(n, n))

    def local(self, p: Floats) -> Floats:
        """Return canonical coordinates (3, n) of world points."""
        return transform(self.to_canonical, p - self.centre[:, None])

    def enter(self, o: Floats, d: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Return the rays that may meet the solid and their t, inf where they do not.

        Origins ``o`` and unit directions ``d`` are (3, n) or (3, 1), not both (3, 1).
        """
        to_centre = self.centre[:, None] - o
        along = dot(to_centre, d)
        gap = dot(to_centre, to_centre) - along * along
        near = np.flatnonzero((gap < self.radius * self.radius) & (along > -self.radius))
        if not near.size:
            return near, np.zeros(0, dtype=np.float32)
        return near, self.enter_near(columns(o, near), columns(d, near))

    def enter_near(self, o: Floats, d: Floats) -> Floats:
        """Return t (n,) of rays that meet the bounding sphere, inf where they miss the solid."""
        local_o = transform(self.to_canonical, o - self.centre[:, None])
        local_d = transform(self.to_canonical, d)
        nearest = -dot(local_o, local_d) / dot(local_d, local_d)
        local_o = local_o + nearest * local_d
        if local_d.shape[1] == 1:
            local_d = np.broadcast_to(local_d, local_o.shape)
        return self.geometry.enter(local_o, local_d, -nearest) + nearest


def bodies_of(scene: Scene) -> list[Body]:
    """Place every solid of a scene."""
    bodies = []
    for solid, centre in zip(scene.solids, scene.centres, strict=True):
        matrix = solid.rotation * solid.scale
        inverse = solid.rotation.T / solid.scale[:, None]
        body = Body(
            geometry=SHAPE_GEOMETRY[solid.shape],
            centre=centre.astype(np.float32),
            to_world=matrix.astype(np.float32),
            to_canonical=inverse.astype(np.float32),
            radius=solid.bounding_radius * 1.001,
        )
        bodies.append(body)
    return bodies


def first_hit(bodies: Sequence[Body], o: Floats, d: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Return t (n,) and mask value (n,) of the first surface each ray meets.

    Parameters
    ----------
    bodies : sequence of Body
    o : (3, 1) or (3, n) float32
        Origins.
    d : (3, n) float32
        Unit directions.
    """
    down = d[2] < 0
    t = np.full(d.shape[1], np.inf, dtype=np.float32)
    np.divide(-o[2], d[2], out=t, where=down)
    ids = np.where(down, np.uint8(GROUND_ID), np.uint8(SKY_ID))
    for index, body in enumerate(bodies):
        near, entered = body.enter(o, d)
        closer = entered < t[near]
        t[near[closer]] = entered[closer]
        ids[near[closer]] = index + 1
    return t, ids


def occluded(bodies: Sequence[Body], p: Floats, direction: Floats) -> NDArray[np.bool_]:
    """Return which points (3, n) see a body in a single unit ``direction`` (3,)."""
    shadow = np.zeros(p.shape[1], dtype=bool)
    for body in bodies:
        near, t = body.enter(p, direction[:, None])
        shadow[near[np.isfinite(t)]] = True
    return shadow


def occluded_ground(bodies: Sequence[Body], p: Floats, direction: Floats) -> NDArray[np.bool_]:
    """Return the same for points on the ground, where shadows of spheres are ellipses.

    Points outside a circle around the shadow of a body's bounding sphere are never tested.
    """
    shadow = np.zeros(p.shape[1], dtype=bool)
    for body in bodies:
        slope = body.centre[2] / direction[2]
        x, y = p[0] - (body.centre[0] - slope * direction[0]), p[1]
        y = y - (body.centre[1] - slope * direction[1])
        reach = body.radius / direction[2]
        near = np.flatnonzero(x * x + y * y < reach * reach)
        if near.size:
            t = body.enter_near(p.take(near, axis=1), direction[:, None])
            shadow[near[np.isfinite(t)]] = True
    return shadow


def dot(a: Floats, b: Floats) -> Floats:
    """Inner products of the columns of (3, n) and (3, m), n and m equal or 1."""
    product: Floats = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def transform(matrix: Floats, v: Floats) -> Floats:
    """Return ``matrix @ v`` without fused multiply-add, which differs between machines."""
    out = np.empty_like(v)
    for row, (x, y, z) in zip(out, matrix, strict=True):
        np.multiply(v[0], x, out=row)
        row += v[1] * y
        row += v[2] * z
    return out


def columns(v: Floats, index: NDArray[np.intp]) -> Floats:
    """Return columns of (3, n), or (3, 1) as it is."""
    return v if v.shape[1] == 1 else v.take(index, axis=1)
