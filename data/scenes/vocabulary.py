"""The words scenes are made of: shapes, colours, materials, and what is held out.

Three kinds of hold-out serve later tests of generalisation. Conjunctions of colour, shape and
material given by :func:`is_held_out` are absent from the default distribution although each
pair of their values is present. The shape :data:`HELD_OUT_SHAPE` is absent altogether.
"""

from __future__ import annotations

__all__ = [
    "ALL_SHAPES",
    "COLOURS",
    "GROUND_TEXTURES",
    "HELD_OUT_SHAPE",
    "MATERIALS",
    "SHAPES",
    "SIZES",
    "SKIES",
    "Rgb",
    "conjunctions",
    "is_held_out",
]

Rgb = tuple[float, float, float]
"""Red, green and blue as displayed (gamma-encoded), each in [0, 1]."""

SHAPES = ("sphere", "cube", "cylinder", "cone", "torus", "ellipsoid", "capsule", "pyramid")
HELD_OUT_SHAPE = "octahedron"
ALL_SHAPES = (*SHAPES, HELD_OUT_SHAPE)

COLOURS: dict[str, Rgb] = {
    "red": (0.86, 0.13, 0.13),
    "orange": (0.98, 0.52, 0.08),
    "yellow": (0.97, 0.86, 0.13),
    "green": (0.16, 0.68, 0.22),
    "cyan": (0.12, 0.80, 0.82),
    "blue": (0.13, 0.30, 0.90),
    "purple": (0.55, 0.17, 0.76),
    "pink": (0.98, 0.48, 0.70),
    "brown": (0.45, 0.27, 0.13),
    "white": (0.93, 0.93, 0.92),
}

MATERIALS = ("matte", "glossy", "metal", "checkered", "striped")

SIZES: dict[str, tuple[float, float]] = {"small": (0.50, 0.60), "large": (0.86, 1.00)}
"""Range of the radius of each size, in scene units."""

GROUND_TEXTURES = ("plain", "checker", "stripes", "tiles", "dots", "earth", "grass")

SKIES = ("noon", "morning", "sunset", "overcast", "dusk", "night", "studio")


def is_held_out(colour: str, shape: str, material: str) -> bool:
    """Whether a conjunction is kept out of the default distribution.

    One tenth of all conjunctions, spread like a Latin square: every (colour, shape),
    (colour, material) and (shape, material) pair still occurs with other partners.

    Examples
    --------
    >>> sum(is_held_out(*one) for one in conjunctions())
    40
    """
    row = list(COLOURS).index(colour)
    return (row + 2 * ALL_SHAPES.index(shape) + 3 * MATERIALS.index(material)) % 10 == 7


def conjunctions() -> list[tuple[str, str, str]]:
    """Return every (colour, shape, material) of the default shapes."""
    return [(c, s, m) for c in COLOURS for s in SHAPES for m in MATERIALS]
