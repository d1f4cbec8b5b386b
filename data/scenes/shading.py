"""Light arriving at the camera along each ray.

Surfaces reflect sunlight (Lambert's law, with a hard shadow), light of the sky weighted by the
part of it that other solids leave open, and, by material, a highlight or a mirror image traced
once more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.description import Scene, Solid
from phosphene.data.scenes.solids import Floats
from phosphene.data.scenes.surfaces import ground_colour, linear, pattern, sky_colour
from phosphene.data.scenes.tracing import (
    GROUND_ID,
    SKY_ID,
    SURFACE_GAP,
    Body,
    bodies_of,
    columns,
    dot,
    first_hit,
    occluded,
    occluded_ground,
)

__all__ = ["World", "prepare", "radiance"]

_HAZE_DISTANCE = 45.0
"""Distance at which half of the ground's colour has gone over into the horizon's."""


@dataclass(frozen=True)
class World:
    """A scene made ready for tracing: placed bodies and lights in linear colour."""

    scene: Scene
    bodies: list[Body]
    sun: Floats
    sun_colour: Floats
    sky_light: Floats
    ground_light: Floats


def prepare(scene: Scene) -> World:
    """Place the bodies and work out the colour of sun, sky and ground light."""
    light = scene.light
    sun_colour = linear(light.colour) * np.float32(light.strength)
    horizon, zenith = linear(scene.sky.horizon), linear(scene.sky.zenith)
    sky_light = (0.5 * (horizon + zenith) + 0.5 * (0.5 * (horizon + zenith)).mean()) * 0.5
    level = np.float32(light.ambient) / np.maximum(sky_light.max(), np.float32(1e-3))
    one, two = linear(scene.ground.colours[0]), linear(scene.ground.colours[1])
    sky_light = sky_light * level
    bounce = 0.5 * (one + two) * (sky_light + sun_colour * np.float32(light.direction[2])) * 0.5
    sun = light.direction.astype(np.float32)
    return World(scene, bodies_of(scene), sun, sun_colour, sky_light, bounce)


def radiance(world: World, o: Floats, d: Floats, spread: float, depth: int = 0) -> Floats:
    """Return linear light (3, n) along unit directions.

    Parameters
    ----------
    world : World
    o : (3, 1) or (3, n) float32
        Origins of the rays.
    d : (3, n) float32
        Unit directions.
    spread : float
        Angle between neighbouring samples in radians, for the filtering of textures.
    depth : int
        Mirrors already on the way; mirrors seen in mirrors show the plain sky.
    """
    t, ids = first_hit(world.bodies, o, d)
    colour = np.empty((3, d.shape[1]), dtype=np.float32)
    seen_sky = np.flatnonzero(ids == SKY_ID)
    if seen_sky.size:
        scene = world.scene
        along = d.take(seen_sky, axis=1)
        _put(colour, seen_sky, sky_colour(scene.sky, along, world.sun, world.sun_colour))
    seen_ground = np.flatnonzero(ids == GROUND_ID)
    if seen_ground.size:
        start, along = columns(o, seen_ground), d.take(seen_ground, axis=1)
        light = _ground_light(world, start, along, t[seen_ground], spread)
        _put(colour, seen_ground, light)
    for index in range(len(world.bodies)):
        seen = np.flatnonzero(ids == index + 1)
        if seen.size:
            along = d.take(seen, axis=1)
            p = columns(o, seen) + t[seen] * along
            _put(colour, seen, _solid_light(world, index, p, along, spread, depth))
    return colour


def _put(colour: Floats, index: NDArray[np.intp], light: Floats) -> None:
    """Set columns of (3, n), row by row, which numpy does three times faster than at once."""
    for row, values in zip(colour, light, strict=True):
        row[index] = values


def _ground_light(world: World, o: Floats, d: Floats, t: Floats, spread: float) -> Floats:
    p = o + t * d
    albedo = ground_colour(world.scene.ground, p[0], p[1], t * spread / -d[2])
    lit = ~occluded_ground(world.bodies, p, world.sun)
    open_sky = np.ones_like(t)
    for body in world.bodies:
        x, y, z = p[0] - body.centre[0], p[1] - body.centre[1], body.centre[2]
        open_sky *= 1 - _hidden(body, z, x * x + y * y + z * z)
    light = world.sun_colour * (world.sun[2] * lit) + world.sky_light * open_sky
    far = t * t
    far = far / (far + _HAZE_DISTANCE**2)
    reflected = albedo * light
    seen: Floats = reflected + (linear(world.scene.sky.horizon) - reflected) * far
    return seen


def _solid_light(
    world: World, index: int, p: Floats, d: Floats, spread: float, depth: int
) -> Floats:
    solid, body = world.scene.solids[index], world.bodies[index]
    n = body.normal(p)
    start = p + SURFACE_GAP * n
    facing = dot(n, world.sun[:, None])
    toward = np.flatnonzero(facing > 0)
    sunlit = np.zeros_like(facing)
    shaded = occluded(world.bodies, start.take(toward, axis=1), world.sun)
    sunlit[toward] = np.where(shaded, np.float32(0), facing[toward])
    upward = 0.5 + 0.5 * n[2]
    open_sky = np.ones_like(upward)
    for other, neighbour in enumerate(world.bodies):
        if other != index:
            v = neighbour.centre[:, None] - p
            open_sky *= 1 - _hidden(neighbour, dot(v, n), dot(v, v))
    # Close to the ground a solid shades the ground that would light it.
    near_ground = np.clip(p[2] / (0.8 * body.radius), 0.15, 1)
    sky = world.sky_light * upward + world.ground_light * ((1 - upward) * near_ground)
    light = world.sun_colour * sunlit + sky * open_sky
    albedo = _albedo(solid, body, p)
    seen: Floats = albedo * light
    if solid.material == "metal":
        mirror = _mirror(world, index, start, d, n, spread, depth)
        seen = 0.25 * seen + albedo * mirror * 0.95 + _highlight(world, d, n, sunlit, 5) * 0.8
    elif solid.material == "glossy":
        cosine = np.clip(-dot(d, n), 0, 1)
        grazing = (1 - cosine) * (1 - cosine) * (1 - cosine)
        mirror = _mirror(world, index, start, d, n, spread, 1)
        shine = 0.05 + 0.45 * grazing
        seen = seen * (1 - shine) + mirror * shine + _highlight(world, d, n, sunlit, 6)
    return seen


def _hidden(body: Body, toward: Floats, square: Floats) -> Floats:
    """Share of a surface's sky that a ball hides: (n.v) r^2 / |v|^3, its exact form factor.

    The ball is a little smaller than the bounding sphere, to stand for solids that do not fill it.
    """
    r = np.float32(0.8 * body.radius)
    factor = toward * (r * r) / (square * np.sqrt(square))
    return np.clip(factor, 0, 0.85)


def _albedo(solid: Solid, body: Body, p: Floats) -> Floats:
    colour = linear(solid.rgb)
    if solid.material not in ("checkered", "striped"):
        return colour
    # Pale second colour; white solids, which have none, get a dark one.
    second = linear((0.20, 0.20, 0.22) if solid.colour == "white" else (0.93, 0.92, 0.88))
    return colour + (second - colour) * pattern(solid.material, body.local(p))


def _highlight(world: World, d: Floats, n: Floats, sunlit: Floats, doublings: int) -> Floats:
    """Blinn's highlight (n.h)^(2^doublings) where the sun reaches the surface."""
    half = world.sun[:, None] - d
    cosine = np.clip(dot(half, n) / np.sqrt(dot(half, half)), 0, 1)
    for _ in range(doublings):
        cosine = cosine * cosine
    return world.sun_colour * (cosine * (sunlit > 0))


def _mirror(
    world: World, index: int, start: Floats, d: Floats, n: Floats, spread: float, depth: int
) -> Floats:
    """Light that a mirror in place of the surface would show."""
    reflected = d - (2 * dot(d, n)) * n
    if depth == 0:
        return radiance(world, start, reflected, 4 * spread, depth + 1)
    below = world.ground_light * 1.2
    sky = sky_colour(world.scene.sky, reflected, world.sun, world.sun_colour)
    return np.where(reflected[2] > 0, sky, below)
