"""Twins of a scene that differ from it in exactly one factor: hard negatives and controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from phosphene.data.scenes.composition import lying_tilt, separated
from phosphene.data.scenes.description import Camera, Scene, Solid
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.factors import pose
from phosphene.data.scenes.sampling import DEFAULT, SceneDistribution, draw_shade
from phosphene.data.scenes.surroundings import draw_ground, draw_light, draw_sky
from phosphene.data.scenes.vocabulary import ALL_SHAPES, COLOURS, MATERIALS, SIZES
from phosphene.errors import InputError, check_option

__all__ = ["VARIED_FACTORS", "hard_negatives", "vary"]

Change = Callable[[Scene, Draws, SceneDistribution], list[Scene]]


def vary(
    scene: Scene, factor: str, *, seed: int = 0, distribution: SceneDistribution = DEFAULT
) -> Scene:
    """Return the scene with one factor changed and everything else as it was.

    Parameters
    ----------
    scene : Scene
    factor : str
        One of :data:`VARIED_FACTORS`: ``shape``, ``colour``, ``material`` and ``size`` of one
        solid; ``count`` (one solid fewer); ``pose`` or ``yaw`` of one solid; ``places`` (two
        solids exchanged); ``view`` (the camera walks around); ``light``, ``sky``,
        ``ground_texture``, ``ground_colours``.
    seed : int
        Chooses among the possible changes.
    distribution : SceneDistribution
        New colours, shapes and materials are ones it allows.

    Raises
    ------
    InputError
        If the factor cannot change alone, for example the count of one solid.
    """
    check_option("factor", factor, VARIED_FACTORS)
    draws = Draws("vary", scene.name, factor, seed)
    changed = _CHANGES[factor](scene, draws, distribution)
    if not changed:
        raise InputError(
            f"scene {scene.name!r} has no {factor} that can change while the rest stays",
            expected="a scene in which this factor is free",
            remedy="choose another factor, or `hard_negatives`, which leaves such factors out",
        )
    return replace(draws.choice(changed), name=f"{scene.name}~{factor}/{seed}")


def hard_negatives(
    scene: Scene,
    factors: Sequence[str] | None = None,
    *,
    seed: int = 0,
    distribution: SceneDistribution = DEFAULT,
) -> dict[str, Scene]:
    """Return one twin for every factor that can change alone (default: all factors)."""
    twins = {}
    for factor in factors if factors is not None else VARIED_FACTORS:
        try:
            twins[factor] = vary(scene, factor, seed=seed, distribution=distribution)
        except InputError:
            continue
    return twins


def _one_solid(scene: Scene, options: Callable[[Solid], list[Solid]]) -> list[Scene]:
    """Return the scenes in which one solid is replaced and none touches its neighbours."""
    found = []
    for index, solid in enumerate(scene.solids):
        carries = any(other.on == index for other in scene.solids)
        for option in options(solid):
            if carries and (option.shape not in ("cube", "cylinder") or option.tilt):
                continue
            solids = [*scene.solids[:index], option, *scene.solids[index + 1 :]]
            if separated(solids):
                found.append(scene.with_solids(solids))
    return found


def _shape(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        found = []
        for shape in ALL_SHAPES:
            tilt = lying_tilt(shape, solid.stretch) if solid.tilt else 0.0
            other = replace(solid, shape=shape, tilt=tilt)
            kept = shape != solid.shape and pose(other) == pose(solid)
            if kept and distribution.allows(other):
                found.append(other)
        return found

    return _one_solid(scene, options)


def _colour(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        shades = {c: draw_shade(c, draws) for c in COLOURS if c != solid.colour}
        found = [replace(solid, colour=c, rgb=rgb) for c, rgb in shades.items()]
        return [other for other in found if distribution.allows(other)]

    return _one_solid(scene, options)


def _material(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        found = [replace(solid, material=m) for m in MATERIALS if m != solid.material]
        return [other for other in found if distribution.allows(other)]

    return _one_solid(scene, options)


def _size(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        other = next(size for size in SIZES if size != solid.size)
        return [replace(solid, size=other, radius=draws.uniform(*SIZES[other]))]

    return _one_solid(scene, options)


def _pose(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        tilt = 0.0 if solid.tilt else lying_tilt(solid.shape, solid.stretch)
        return [replace(solid, tilt=tilt)] if tilt != solid.tilt else []

    return _one_solid(scene, options)


def _yaw(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    def options(solid: Solid) -> list[Solid]:
        if solid.tilt == 0 and solid.shape not in ("cube", "pyramid", "octahedron"):
            return []  # solids of revolution look the same from all sides
        low, high = (25, 65) if solid.tilt == 0 else (40, 140)
        return [replace(solid, yaw=round((solid.yaw + draws.uniform(low, high)) % 360, 4))]

    return _one_solid(scene, options)


def _count(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    """Remove one solid that carries nothing; later ones keep standing where they stood."""
    found = []
    for index in range(len(scene.solids)):
        if len(scene.solids) > 1 and all(other.on != index for other in scene.solids):
            rest = [s for k, s in enumerate(scene.solids) if k != index]
            rest = [replace(s, on=s.on - (s.on > index)) for s in rest]
            found.append(scene.with_solids(rest))
    return found


def _places(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    found = []
    for i, a in enumerate(scene.solids):
        for j, b in enumerate(scene.solids[:i]):
            alike = (a.shape, a.colour, a.material, a.size) == (
                b.shape,
                b.colour,
                b.material,
                b.size,
            )
            if alike or any(s.on in (i, j) for s in scene.solids) or a.on >= 0 or b.on >= 0:
                continue
            solids = list(scene.solids)
            solids[i], solids[j] = replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y)
            if separated(solids):
                found.append(scene.with_solids(solids))
    return found


def _view(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    turn = draws.uniform(40, 140) * draws.choice((-1, 1))
    camera: Camera = replace(scene.camera, azimuth=round((scene.camera.azimuth + turn) % 360, 4))
    return [replace(scene, camera=camera)]


def _light(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    drawn = draw_light(scene.sky, draws)
    azimuth = round((scene.light.azimuth + draws.uniform(60, 300)) % 360, 4)
    return [replace(scene, light=replace(scene.light, azimuth=azimuth, elevation=drawn.elevation))]


def _sky(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    other = draw_sky(draws)
    while other.kind == scene.sky.kind:
        other = draw_sky(draws)
    return [replace(scene, sky=other)]


def _ground_texture(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    textures = [t for t in distribution.textures if t != scene.ground.texture]
    if not textures:
        return []
    drawn = draw_ground(draws, textures)
    return [replace(scene, ground=replace(drawn, colours=scene.ground.colours))]


def _ground_colours(scene: Scene, draws: Draws, distribution: SceneDistribution) -> list[Scene]:
    drawn = draw_ground(draws, [scene.ground.texture])
    return [replace(scene, ground=replace(scene.ground, colours=drawn.colours))]


_CHANGES: dict[str, Change] = {
    "shape": _shape,
    "colour": _colour,
    "material": _material,
    "size": _size,
    "count": _count,
    "pose": _pose,
    "yaw": _yaw,
    "places": _places,
    "view": _view,
    "light": _light,
    "sky": _sky,
    "ground_texture": _ground_texture,
    "ground_colours": _ground_colours,
}

VARIED_FACTORS = tuple(_CHANGES)
