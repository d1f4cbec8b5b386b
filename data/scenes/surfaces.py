"""Colours of ground, sky and patterned solids as functions of position and direction.

Colours are linear light here: displayed values are squared on the way in and square-rooted on
the way out, a gamma of exactly 2 that every processor computes alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from phosphene.data.scenes.description import Ground, Sky
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.solids import Floats
from phosphene.data.scenes.vocabulary import Rgb

__all__ = ["ground_colour", "linear", "pattern", "sky_colour", "value_noise"]

_LATTICE = 128


def linear(colour: Rgb) -> Floats:
    """Return a displayed colour as linear light (3, 1) float32."""
    return np.square(np.asarray(colour, dtype=np.float32))[:, None]


@cache
def _lattice() -> Floats:
    draws = Draws("value-noise")
    values = [draws.unit() for _ in range(_LATTICE * _LATTICE)]
    return np.asarray(values, dtype=np.float32)


def value_noise(x: Floats, y: Floats) -> Floats:
    """Return smooth noise in [0, 1] with features one unit wide, repeating after 128 units."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    column, row = x0.astype(np.intp) & (_LATTICE - 1), y0.astype(np.intp) & (_LATTICE - 1)
    next_column, next_row = (column + 1) & (_LATTICE - 1), ((row + 1) & (_LATTICE - 1)) * _LATTICE
    row *= _LATTICE
    values = _lattice()
    a, b = values[row + column], values[row + next_column]
    c, e = values[next_row + column], values[next_row + next_column]
    top = a + (b - a) * fx
    return top + (c + (e - c) * fx - top) * fy


def _odd(whole: Floats) -> Floats:
    """Return 1 for odd and 0 for even whole numbers; ``% 2`` takes forty times as long."""
    odd: Floats = whole - 2 * np.floor(0.5 * whole)
    return odd


def _plain(u: Floats, v: Floats) -> Floats:
    return 0.35 * value_noise(u * 0.5, v * 0.5)


def _checker(u: Floats, v: Floats) -> Floats:
    return _odd(np.floor(u) + np.floor(v))


def _stripes(u: Floats, v: Floats) -> Floats:
    return _odd(np.floor(u))


def _tiles(u: Floats, v: Floats) -> Floats:
    grout = (u - np.floor(u) < 0.1) | (v - np.floor(v) < 0.1)
    return np.where(grout, np.float32(1), 0.25 * value_noise(np.floor(u) + 0.01, np.floor(v)))


def _dots(u: Floats, v: Floats) -> Floats:
    x, y = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    return (x * x + y * y < 0.09).astype(np.float32)


def _earth(u: Floats, v: Floats) -> Floats:
    coarse = value_noise(u * 0.8, v * 0.8)
    fine = value_noise(u * 1.9 + 17, v * 1.9 + 5)
    finest = value_noise(u * 4.3 + 31, v * 4.3 + 11)
    w = (4 * coarse + 2 * fine + finest) / 7
    return np.clip(2.2 * w - 0.6, 0, 1)


def _grass(u: Floats, v: Floats) -> Floats:
    blades = value_noise(u * 9, v * 4)
    tufts = value_noise(u * 4 + 9, v * 6 + 3)
    patches = value_noise(u * 0.6, v * 0.6)
    weight: Floats = np.clip(0.75 * blades + 0.5 * tufts + 0.7 * patches - 0.45, 0, 1)
    return weight


_TEXTURES: dict[str, tuple[Callable[[Floats, Floats], Floats], float, float]] = {
    # function, its mean, width of its finest detail in cells
    "plain": (_plain, 0.17, 2.0),
    "checker": (_checker, 0.5, 1.0),
    "stripes": (_stripes, 0.5, 1.0),
    "tiles": (_tiles, 0.29, 0.35),
    "dots": (_dots, 0.28, 0.6),
    "earth": (_earth, 0.5, 0.25),
    "grass": (_grass, 0.5, 0.12),
}


def ground_colour(ground: Ground, x: Floats, y: Floats, footprint: Floats) -> Floats:
    """Return the linear colour (3, n) of the ground at points x, y (n,).

    Parameters
    ----------
    footprint : (n,)
        Length on the ground that one sample stands for; texture finer than that is replaced by
        its mean, so that it does not alias towards the horizon.
    """
    angle = math.radians(ground.angle)
    c, s = math.cos(angle) / ground.scale, math.sin(angle) / ground.scale
    u = c * x + s * y + ground.offset[0]
    v = c * y - s * x + ground.offset[1]
    texture, mean, detail = _TEXTURES[ground.texture]
    keep = np.clip(1.6 - footprint / (ground.scale * detail), 0, 1)
    weight = mean + (texture(u, v) - mean) * keep
    one, two = linear(ground.colours[0]), linear(ground.colours[1])
    colour: Floats = one + (two - one) * weight
    return colour


def sky_colour(sky: Sky, d: Floats, sun: Floats, sun_colour: Floats) -> Floats:
    """Return the linear colour (3, n) of the sky in unit directions d (3, n).

    A gradient from horizon to zenith, clouds on a high plane, and a glow around the sun.
    """
    height = np.clip(d[2], 0, 1)
    rest = 1 - height
    horizon, zenith = linear(sky.horizon), linear(sky.zenith)
    colour = zenith + (horizon - zenith) * (rest * rest * rest)
    if sky.clouds > 0:
        plane = 1.5 / (height + 0.12)
        cover = value_noise(d[0] * plane + 40, d[1] * plane + 40)
        cover = cover + 0.5 * value_noise(d[0] * plane * 2.3 + 11, d[1] * plane * 2.3 + 23)
        cover = np.clip((cover - 1.2 + sky.clouds) * 2.5, 0, 1) * np.clip(4 * height, 0, 1)
        brighter = np.minimum(horizon * 1.15 + 0.08, 1)
        colour = colour + (brighter - colour) * (0.85 * cover)
    glow = np.clip(d[0] * sun[0] + d[1] * sun[1] + d[2] * sun[2], 0, 1)
    for _ in range(4):
        glow = glow * glow
    shining: Floats = colour + sun_colour * (0.35 * glow)
    return shining


def pattern(material: str, p: Floats) -> Floats:
    """Return 0 or 1 (n,): which of two colours a patterned solid shows at canonical points."""
    if material == "checkered":
        cells = np.floor(2.5 * p[0] + 0.25) + np.floor(2.5 * p[1] + 0.25)
        return _odd(cells + np.floor(2.5 * p[2] + 0.25))
    return _odd(np.floor(2.0 * (0.45 * p[0] + 0.25 * p[1] + 0.85 * p[2]) + 0.3))
