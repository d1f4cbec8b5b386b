"""Drawing what surrounds the solids: sky, light and ground, in colours that go together."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

from phosphene.data.scenes.description import Ground, Light, Sky
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.vocabulary import SKIES, Rgb

__all__ = ["draw_ground", "draw_light", "draw_sky"]


@dataclass(frozen=True)
class _Hour:
    """Colours and light of one kind of sky."""

    horizon: Rgb
    zenith: Rgb
    sun: Rgb
    strength: tuple[float, float]
    ambient: tuple[float, float]
    elevation: tuple[float, float]
    clouds: float


_HOURS: dict[str, _Hour] = {
    "noon": _Hour(
        horizon=(0.76, 0.87, 0.97),
        zenith=(0.22, 0.48, 0.86),
        sun=(1.0, 0.98, 0.93),
        strength=(1.05, 1.35),
        ambient=(0.36, 0.50),
        elevation=(42, 72),
        clouds=0.6,
    ),
    "morning": _Hour(
        horizon=(0.99, 0.88, 0.72),
        zenith=(0.40, 0.62, 0.86),
        sun=(1.0, 0.91, 0.76),
        strength=(1.1, 1.4),
        ambient=(0.32, 0.46),
        elevation=(28, 45),
        clouds=0.5,
    ),
    "sunset": _Hour(
        horizon=(0.98, 0.58, 0.32),
        zenith=(0.30, 0.22, 0.48),
        sun=(1.0, 0.78, 0.58),
        strength=(1.1, 1.45),
        ambient=(0.30, 0.42),
        elevation=(24, 38),
        clouds=0.5,
    ),
    "overcast": _Hour(
        horizon=(0.78, 0.80, 0.82),
        zenith=(0.55, 0.58, 0.63),
        sun=(1.0, 1.0, 1.0),
        strength=(0.4, 0.65),
        ambient=(0.60, 0.80),
        elevation=(40, 75),
        clouds=0.9,
    ),
    "dusk": _Hour(
        horizon=(0.64, 0.38, 0.52),
        zenith=(0.11, 0.12, 0.31),
        sun=(0.96, 0.83, 0.92),
        strength=(0.75, 1.05),
        ambient=(0.28, 0.40),
        elevation=(28, 50),
        clouds=0.3,
    ),
    "night": _Hour(
        horizon=(0.15, 0.21, 0.38),
        zenith=(0.03, 0.04, 0.13),
        sun=(0.82, 0.89, 1.0),
        strength=(0.75, 1.05),
        ambient=(0.22, 0.34),
        elevation=(32, 65),
        clouds=0.3,
    ),
    "studio": _Hour(
        horizon=(0.5, 0.5, 0.5),
        zenith=(0.5, 0.5, 0.5),
        sun=(1.0, 0.98, 0.96),
        strength=(0.95, 1.3),
        ambient=(0.38, 0.55),
        elevation=(35, 70),
        clouds=0.0,
    ),
}

_GROUNDS: dict[str, tuple[Rgb, ...]] = {
    "light": (
        (0.93, 0.91, 0.86),  # snow
        (0.86, 0.76, 0.58),  # sand
        (0.80, 0.83, 0.86),  # concrete
        (0.88, 0.74, 0.72),  # rose
        (0.74, 0.85, 0.78),  # mint
        (0.78, 0.76, 0.90),  # lavender
    ),
    "dark": (
        (0.20, 0.21, 0.24),  # asphalt
        (0.42, 0.24, 0.17),  # terracotta
        (0.13, 0.22, 0.36),  # navy
        (0.14, 0.33, 0.31),  # teal
        (0.32, 0.17, 0.30),  # plum
        (0.29, 0.30, 0.20),  # olive
    ),
    "grass": (
        (0.30, 0.52, 0.16),
        (0.14, 0.34, 0.12),
        (0.62, 0.60, 0.26),
        (0.48, 0.44, 0.20),
        (0.24, 0.48, 0.36),
        (0.10, 0.22, 0.18),
    ),
}

_SCALES = {
    "plain": (1.5, 4.0),
    "checker": (0.7, 1.5),
    "stripes": (0.5, 1.2),
    "tiles": (0.9, 1.7),
    "dots": (0.8, 1.5),
    "earth": (1.2, 2.6),
    "grass": (1.2, 2.4),
}


def _shade(colour: Rgb, draws: Draws, amount: float = 0.06) -> Rgb:
    r, g, b = (round(min(max(v + draws.uniform(-amount, amount), 0.0), 1.0), 4) for v in colour)
    return r, g, b


def _hsv(hue: float, saturation: float, value: float) -> Rgb:
    r, g, b = (round(v, 4) for v in colorsys.hsv_to_rgb(hue, saturation, value))
    return r, g, b


def draw_sky(draws: Draws) -> Sky:
    """Draw a kind of sky and a shade of it; a studio is a wall of any colour."""
    kind = draws.choice(SKIES)
    hour = _HOURS[kind]
    clouds = draws.uniform(0.2, 0.9) if draws.chance(hour.clouds) else 0.0
    if kind == "studio":
        hue, value = draws.unit(), draws.uniform(0.12, 0.92)
        saturation = draws.uniform(0.1, 0.55)
        lower = _hsv(hue, saturation, value)
        return Sky(kind, lower, _hsv(hue, saturation, value * draws.uniform(0.5, 0.9)), 0.0)
    return Sky(kind, _shade(hour.horizon, draws), _shade(hour.zenith, draws), clouds)


def draw_light(sky: Sky, draws: Draws) -> Light:
    """Draw the sun or moon that goes with a sky, in any direction."""
    hour = _HOURS[sky.kind]
    return Light(
        azimuth=draws.uniform(0, 360),
        elevation=draws.uniform(*hour.elevation),
        colour=_shade(hour.sun, draws, 0.03),
        strength=draws.uniform(*hour.strength),
        ambient=draws.uniform(*hour.ambient),
    )


def draw_ground(draws: Draws, textures: Sequence[str]) -> Ground:
    """Draw texture and colours of the ground, light or dark whatever the sky."""
    texture = draws.choice(textures)
    if texture == "grass":
        palette = _GROUNDS["grass"]
        first = draws.integer(0, 3) * 2
        colours = (_shade(palette[first], draws), _shade(palette[first + 1], draws))
    else:
        palette = _GROUNDS["light" if draws.chance(0.5) else "dark"]
        main = _shade(draws.choice(palette), draws)
        if texture in ("plain", "earth"):
            factor = draws.uniform(0.6, 0.8)
            second = _shade((main[0] * factor, main[1] * factor, main[2] * factor), draws, 0.03)
        else:
            other = _GROUNDS["light" if draws.chance(0.5) else "dark"]
            second = _contrasting(main, _shade(draws.choice(other), draws))
        colours = (main, second)
    return Ground(
        texture=texture,
        colours=colours,
        scale=draws.uniform(*_SCALES[texture]),
        angle=draws.uniform(0, 180),
        offset=(draws.uniform(0, 64), draws.uniform(0, 64)),
    )


def _contrasting(main: Rgb, other: Rgb) -> Rgb:
    """Return ``other``, moved away from ``main`` in lightness when the two are too alike."""
    difference = sum(other) - sum(main)
    if abs(difference) >= 0.35:
        return other
    factor = 0.72 if sum(main) > 1.2 else 1.6
    r, g, b = (round(min(v * factor, 1.0), 4) for v in main)
    return r, g, b
