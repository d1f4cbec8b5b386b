from __future__ import annotations

from collections.abc import Callable

import pytest

from phosphene.data.scenes import Camera, Ground, Light, Scene, Sky, Solid


@pytest.fixture(scope="session")
def make_solid() -> Callable[..., Solid]:
    """Return a builder of solids: a matte red sphere of radius 1 scale unless told otherwise."""

    def build(**changes: object) -> Solid:
        values: dict[str, object] = {
            "shape": "sphere",
            "colour": "red",
            "rgb": (0.86, 0.13, 0.13),
            "material": "matte",
            "size": "large",
            "radius": 1.0,
            "stretch": 1.0,
            "x": 0.0,
            "y": 0.0,
            "yaw": 0.0,
            "tilt": 0.0,
        }
        return Solid(**{**values, **changes})  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., Scene]:
    """Return a builder of scenes: camera on the +x side looking along -x, plain surroundings."""

    def build(*solids: Solid, **changes: object) -> Scene:
        parts: dict[str, object] = {
            "name": "hand-made",
            "camera": Camera(0.0, 20.0, 9.0, 40.0, (0.0, 0.0, 0.9)),
            "light": Light(40.0, 50.0, (1.0, 1.0, 1.0), 1.0, 0.3),
            "ground": Ground("plain", ((0.8, 0.8, 0.8), (0.7, 0.7, 0.7)), 2.0, 0.0, (0.0, 0.0)),
            "sky": Sky("noon", (0.7, 0.8, 0.9), (0.2, 0.4, 0.8), 0.0),
            "solids": tuple(solids),
        }
        return Scene(**{**parts, **changes})  # type: ignore[arg-type]

    return build
