"""What a scene is, as plain typed data: everything the picture depends on and nothing else.

The world is right-handed, z points up and the ground is the plane z = 0. Angles are degrees,
lengths are scene units (a large solid is about two units across), colours are as displayed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.solids import SHAPE_GEOMETRY
from phosphene.data.scenes.vocabulary import (
    ALL_SHAPES,
    COLOURS,
    GROUND_TEXTURES,
    MATERIALS,
    SIZES,
    SKIES,
    Rgb,
)
from phosphene.errors import InputError, check_option

__all__ = ["Camera", "Ground", "Light", "Scene", "Sky", "Solid", "scene_from_dict"]

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at ``target`` from ``distance`` away.

    ``azimuth`` turns around the vertical, ``elevation`` is the height above the ground plane as
    seen from the target, ``field_of_view`` is the full angle of the picture's side.
    """

    azimuth: float
    elevation: float
    distance: float
    field_of_view: float
    target: Point

    def __post_init__(self) -> None:
        if not 0 < self.field_of_view < 150 or not -89 < self.elevation < 89 or self.distance <= 0:
            raise InputError(
                f"camera with field of view {self.field_of_view}, elevation {self.elevation} and "
                f"distance {self.distance}",
                expected="field of view in (0, 150), elevation in (-89, 89), distance above 0",
            )
        if self.position[2] <= 0:
            raise InputError(
                f"the camera stands {self.position[2]:.3f} below or on the ground",
                expected="a camera above the ground plane",
                remedy="raise the elevation or the target",
            )

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors right, up and forward as rows (3, 3)."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        forward = np.array([-math.cos(e) * math.cos(a), -math.cos(e) * math.sin(a), -math.sin(e)])
        right = np.array([-math.sin(a), math.cos(a), 0.0])
        up = np.array([-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e)])
        return np.stack([right, up, forward])

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """Centre of projection (3,)."""
        position: NDArray[np.float64] = np.asarray(self.target) - self.distance * self.axes[2]
        return position

    @property
    def half_width(self) -> float:
        """Half the side of the picture on the plane one unit in front of the camera."""
        return math.tan(math.radians(self.field_of_view) / 2)


@dataclass(frozen=True)
class Light:
    """Sunlight from one direction and light from the whole sky."""

    azimuth: float
    elevation: float
    colour: Rgb
    strength: float
    ambient: float

    @cached_property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector towards the sun (3,)."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        return np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])


@dataclass(frozen=True)
class Ground:
    """Two colours mixed by a texture whose unit cell is ``scale`` wide."""

    texture: str
    colours: tuple[Rgb, Rgb]
    scale: float
    angle: float
    offset: tuple[float, float]

    def __post_init__(self) -> None:
        check_option("texture", self.texture, GROUND_TEXTURES)


@dataclass(frozen=True)
class Sky:
    """Colours at the horizon and overhead, and how much of it is cloud (0 to 1)."""

    kind: str
    horizon: Rgb
    zenith: Rgb
    clouds: float

    def __post_init__(self) -> None:
        check_option("sky", self.kind, SKIES)


@dataclass(frozen=True)
class Solid:
    """One solid at rest on the ground, or on the solid number ``on`` of the same scene.

    ``radius`` scales the shape, ``stretch`` its own axis alone; ``tilt`` leans that axis and
    ``yaw`` then turns it around the vertical; ``lift`` is the gap below the lowest point.
    """

    shape: str
    colour: str
    rgb: Rgb
    material: str
    size: str
    radius: float
    stretch: float
    x: float
    y: float
    yaw: float
    tilt: float
    on: int = -1
    lift: float = 0.0

    def __post_init__(self) -> None:
        check_option("shape", self.shape, ALL_SHAPES)
        check_option("colour", self.colour, COLOURS)
        check_option("material", self.material, MATERIALS)
        check_option("size", self.size, SIZES)

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """Half axes of the solid in scene units (3,): canonical coordinates times these."""
        proportions = np.array(SHAPE_GEOMETRY[self.shape].proportions)
        scale: NDArray[np.float64] = self.radius * proportions * np.array([1.0, 1.0, self.stretch])
        return scale

    @cached_property
    def rotation(self) -> NDArray[np.float64]:
        """Turn about y by ``tilt``, then about z by ``yaw`` (3, 3)."""
        c, s = math.cos(math.radians(self.yaw)), math.sin(math.radians(self.yaw))
        ct, st = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        about_z = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        about_y = np.array([[ct, 0.0, st], [0.0, 1.0, 0.0], [-st, 0.0, ct]])
        rotation: NDArray[np.float64] = about_z @ about_y
        return rotation

    def reach(self, direction: NDArray[np.float64]) -> float:
        """How far the solid extends from its centre in a unit direction."""
        local = self.scale * (self.rotation.T @ direction)
        return SHAPE_GEOMETRY[self.shape].support(local)

    @cached_property
    def bounding_radius(self) -> float:
        """Radius of a sphere around the centre that contains the solid."""
        return SHAPE_GEOMETRY[self.shape].bounding_radius(self.scale)

    @cached_property
    def floor_radius(self) -> float:
        """Radius of a circle on the ground that holds the solid's outline seen from above."""
        angles = [k * math.pi / 6 for k in range(12)]
        reach = max(self.reach(np.array([math.cos(a), math.sin(a), 0.0])) for a in angles)
        return reach / math.cos(math.pi / 12)


@dataclass(frozen=True)
class Scene:
    """Camera, light, ground, sky and one to many solids; ``name`` says where it came from."""

    name: str
    camera: Camera
    light: Light
    ground: Ground
    sky: Sky
    solids: tuple[Solid, ...]

    def __post_init__(self) -> None:
        if len(self.solids) > 250:
            raise InputError(f"{len(self.solids)} solids in one scene", expected="at most 250")
        for index, solid in enumerate(self.solids):
            if not -1 <= solid.on < index:
                raise InputError(
                    f"solid {index} stands on solid {solid.on}",
                    expected="-1 for the ground or the number of an earlier solid",
                )

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """Centre of every solid (n_solids, 3); heights follow from what each one stands on."""
        up, down = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0])
        centres = np.zeros((len(self.solids), 3))
        for index, solid in enumerate(self.solids):
            floor = 0.0
            if solid.on >= 0:
                floor = centres[solid.on, 2] + self.solids[solid.on].reach(up)
            centres[index] = solid.x, solid.y, floor + solid.reach(down) + solid.lift
        return centres

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON-safe nested dictionaries and lists."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content

    def with_solids(self, solids: Sequence[Solid]) -> Scene:
        """Return the same scene with other solids."""
        return replace(self, solids=tuple(solids))


def scene_from_dict(content: dict[str, Any]) -> Scene:
    """Return the scene that :meth:`Scene.to_dict` described; the round trip is exact."""
    try:
        camera, ground = dict(content["camera"]), dict(content["ground"])
        light, sky = dict(content["light"]), dict(content["sky"])
        camera["target"] = tuple(camera["target"])
        ground["colours"] = tuple(tuple(colour) for colour in ground["colours"])
        ground["offset"] = tuple(ground["offset"])
        light["colour"] = tuple(light["colour"])
        sky["horizon"], sky["zenith"] = tuple(sky["horizon"]), tuple(sky["zenith"])
        solids = tuple(Solid(**{**s, "rgb": tuple(s["rgb"])}) for s in content["solids"])
        parts = {"camera", "ground", "light", "sky", "solids", "name"}
        if unknown := set(content) - parts:
            raise TypeError(f"unknown key {sorted(unknown)[0]!r}")
        return Scene(
            name=content["name"],
            camera=Camera(**camera),
            light=Light(**light),
            ground=Ground(**ground),
            sky=Sky(**sky),
            solids=solids,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the scene description cannot be read: {type(error).__name__}: {error}",
            expected="exactly the keys and types that `Scene.to_dict` writes",
        ) from error
