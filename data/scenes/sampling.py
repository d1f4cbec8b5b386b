"""Drawing scenes: distributions, splits, and random access by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from phosphene.data.scenes.composition import (
    frame_camera,
    hidden_share,
    lying_tilt,
    place_solids,
    projected_discs,
)
from phosphene.data.scenes.description import Camera, Ground, Light, Scene, Sky, Solid
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.surroundings import draw_ground, draw_light, draw_sky
from phosphene.data.scenes.vocabulary import (
    COLOURS,
    HELD_OUT_SHAPE,
    MATERIALS,
    SIZES,
    Rgb,
    conjunctions,
    is_held_out,
)
from phosphene.data.scenes.vocabulary import GROUND_TEXTURES as TEXTURES
from phosphene.errors import InputError, check_option

__all__ = [
    "DEFAULT",
    "DISTRIBUTIONS",
    "HELD_OUT_CONJUNCTIONS",
    "HELD_OUT_SHAPES",
    "SCENES_VERSION",
    "SPLITS",
    "SceneDistribution",
    "draw_shade",
    "sample_scene",
    "sample_scenes",
]

SCENES_VERSION = "1"
"""Changes whenever any description or picture changes."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SceneDistribution:
    """What may occur in a scene and how often.

    Attributes
    ----------
    name : str
        Part of the key of every scene: distributions of different names share no scenes.
    looks : tuple of (colour, shape, material)
        Every solid has one of these, all equally likely.
    counts : mapping of int to float
        How many solids, with weights.
    textures : tuple of str
        Textures of the ground, all equally likely.
    stacking : float
        Probability that one solid stands on another where that is possible.
    """

    name: str
    looks: tuple[tuple[str, str, str], ...] = field(repr=False)
    counts: Mapping[int, float] = field(default_factory=lambda: {1: 3.0, 2: 3.0, 3: 2.5, 4: 1.5})
    textures: tuple[str, ...] = TEXTURES
    stacking: float = 0.2

    def __post_init__(self) -> None:
        if not self.looks or not self.counts or not self.textures:
            raise InputError(
                f"distribution {self.name!r} leaves nothing to draw",
                expected="at least one look, one count and one ground texture",
            )

    def allows(self, solid: Solid) -> bool:
        """Whether the distribution can produce a solid of this colour, shape and material."""
        return (solid.colour, solid.shape, solid.material) in self.looks


DEFAULT = SceneDistribution("default", tuple(c for c in conjunctions() if not is_held_out(*c)))
"""Training, validation and test scenes: no held-out conjunction, no held-out shape."""

HELD_OUT_CONJUNCTIONS = SceneDistribution(
    "held-out-conjunctions", tuple(c for c in conjunctions() if is_held_out(*c))
)
"""Every solid is a conjunction that the default distribution never shows."""

HELD_OUT_SHAPES = SceneDistribution(
    "held-out-shape",
    tuple((c, HELD_OUT_SHAPE, m) for c in COLOURS for m in MATERIALS),
    counts={1: 1.0},
    stacking=0.0,
)
"""A single solid of the shape that the default distribution never shows."""

DISTRIBUTIONS = {d.name: d for d in (DEFAULT, HELD_OUT_CONJUNCTIONS, HELD_OUT_SHAPES)}


def sample_scene(
    index: int, *, seed: int = 0, split: str = "train", distribution: SceneDistribution = DEFAULT
) -> Scene:
    """Return one scene; it depends on the arguments alone, never on scenes drawn before.

    Parameters
    ----------
    index : int
        Number of the scene, 0 or more.
    seed : int
        Different seeds give different worlds of scenes.
    split : str
        One of :data:`SPLITS`; scenes of different splits have nothing in common.
    distribution : SceneDistribution

    Returns
    -------
    Scene

    Examples
    --------
    >>> sample_scene(5).name
    'default/train/0/5'
    """
    check_option("split", split, SPLITS)
    if index < 0:
        raise InputError(f"scene index {index}", expected="0 or more")
    draws = Draws("scene", SCENES_VERSION, distribution.name, split, seed, index)
    return draw_scene(f"{distribution.name}/{split}/{seed}/{index}", distribution, draws)


def sample_scenes(
    start: int,
    stop: int,
    *,
    seed: int = 0,
    split: str = "train",
    distribution: SceneDistribution = DEFAULT,
) -> list[Scene]:
    """Return the scenes numbered from ``start`` up to but not including ``stop``."""
    return [
        sample_scene(index, seed=seed, split=split, distribution=distribution)
        for index in range(start, stop)
    ]


def draw_scene(name: str, distribution: SceneDistribution, draws: Draws) -> Scene:
    """Draw one scene from a stream."""
    sky = draw_sky(draws)
    light = draw_light(sky, draws)
    ground = draw_ground(draws, distribution.textures)
    count = draws.weighted(distribution.counts)
    solids = [_draw_solid(distribution, draws) for _ in range(count)]
    if draws.chance(distribution.stacking):
        solids = _stack(solids)
    return _compose(name, light, ground, sky, solids, draws)


def _compose(
    name: str, light: Light, ground: Ground, sky: Sky, solids: list[Solid], draws: Draws
) -> Scene:
    """Place solids and camera; of up to 12 attempts take the first without much overlap."""
    attempts: list[tuple[float, Scene]] = []
    for _ in range(12):
        placed = place_solids(solids, draws)
        camera = Camera(
            azimuth=draws.uniform(0, 360),
            elevation=round(7 + 48 * draws.unit() ** 1.3, 4),
            distance=9.0,
            field_of_view=draws.uniform(30, 55),
            target=(0.0, 0.0, 1.0),
        )
        scene = Scene(name, camera, light, ground, sky, tuple(placed))
        camera = frame_camera(camera, scene, draws.uniform(1.35, 1.9), draws)
        scene = replace(scene, camera=camera)
        hidden = hidden_share(projected_discs(scene))
        attempts.append((hidden, scene))
        if hidden < 0.35:
            break
    return min(attempts, key=lambda attempt: attempt[0])[1]


def _draw_solid(distribution: SceneDistribution, draws: Draws) -> Solid:
    colour, shape, material = draws.choice(distribution.looks)
    size = draws.choice(list(SIZES))
    stretch = draws.uniform(0.9, 1.15) if shape not in ("sphere", "cube", "torus") else 1.0
    tilt = lying_tilt(shape, stretch) if draws.chance(0.4) else 0.0
    return Solid(
        shape=shape,
        colour=colour,
        rgb=draw_shade(colour, draws),
        material=material,
        size=size,
        radius=draws.uniform(*SIZES[size]),
        stretch=stretch,
        x=0.0,
        y=0.0,
        yaw=draws.uniform(0, 360),
        tilt=tilt,
    )


def draw_shade(colour: str, draws: Draws) -> Rgb:
    """Return a shade of a named colour: brighter or darker by up to a tenth, hue nearly kept."""
    level = draws.uniform(0.9, 1.08)
    r, g, b = (
        round(min(max(v * level + draws.uniform(-0.025, 0.025), 0.02), 1.0), 4)
        for v in COLOURS[colour]
    )
    return r, g, b


def _stack(solids: list[Solid]) -> list[Solid]:
    """Put the first small solid on the first large upright cube or cylinder, if there are both."""
    flat = [s for s in solids if s.shape in ("cube", "cylinder") and s.tilt == 0]
    bases = [s for s in flat if s.size == "large"]
    small = [s for s in solids if s.size == "small"]
    if not bases or not small:
        return solids
    rest = [s for s in solids if s is not bases[0] and s is not small[0]]
    return [bases[0], replace(small[0], on=0), *rest]
