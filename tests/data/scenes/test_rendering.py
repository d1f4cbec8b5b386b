"""Pictures: a batch is its scenes one at a time, and what is seen follows the description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phosphene.data.scenes import (
    GROUND_TEXTURES,
    HELD_OUT_SHAPES,
    MATERIALS,
    Light,
    Scene,
    Solid,
    render,
    sample_scene,
    sample_scenes,
)
from phosphene.errors import InputError

GOLDEN = Path(__file__).parent / "golden_pictures.npz"
Build = Callable[..., Scene]
BuildSolid = Callable[..., Solid]


def test_batch_equals_one_at_a_time_in_any_order_and_on_any_threads() -> None:
    scenes = sample_scenes(0, 6)
    batch = render(scenes, 24, threads=2)
    assert batch.images.shape == (6, 24, 24, 3)
    assert len(batch) == 6
    assert batch.depth.dtype == np.float32
    for index, scene in enumerate(scenes):
        alone = render([scene], 24, threads=1)
        np.testing.assert_array_equal(alone.images[0], batch.images[index])
        np.testing.assert_array_equal(alone.depth[0], batch.depth[index])
        np.testing.assert_array_equal(alone.masks[0], batch.masks[index])
    order = [3, 0, 5, 1, 4, 2]
    permuted = render([scenes[k] for k in order], 24)
    np.testing.assert_array_equal(permuted.images, batch.images[order])


def test_pictures_match_the_golden_ones() -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        expected, masks = golden["images"], golden["masks"]
    found = render(golden_scenes(), 32)
    difference = np.abs(found.images.astype(int) - expected).max(axis=-1)
    assert (difference <= 2).mean() > 0.995
    assert (found.masks == masks).mean() > 0.995


def golden_scenes() -> list[Scene]:
    """Scenes of the golden file (written by benchmarks/scenes.py --write-golden)."""
    return [*sample_scenes(0, 7), sample_scene(0, distribution=HELD_OUT_SHAPES)]


def test_sunlit_side_and_shadow(make_scene: Build, make_solid: BuildSolid) -> None:
    """Light from the right: the sphere's right is bright and its shadow falls to the left."""
    light = Light(90.0, 40.0, (1.0, 1.0, 1.0), 1.0, 0.2)  # the camera looks along -x, +y is right
    scene = make_scene(make_solid(colour="white", rgb=(0.9, 0.9, 0.9)), light=light)
    rendered = render([scene], 64)
    grey, mask = rendered.images[0].mean(axis=-1), rendered.masks[0]
    columns = np.arange(64)[None, :].repeat(64, axis=0)
    ball = mask == 1
    middle = columns[ball].mean()
    right, left = grey[ball & (columns > middle + 5)], grey[ball & (columns < middle - 5)]
    assert right.mean() > left.mean() + 60
    ground = mask == 0
    dark = ground & (grey < np.median(grey[ground]) - 40)
    assert dark.sum() > 30
    assert columns[dark].mean() < middle - 8


@pytest.mark.parametrize("material", [m for m in MATERIALS if m != "matte"])
def test_materials_look_different(make_scene: Build, make_solid: BuildSolid, material: str) -> None:
    pictures = render(
        [make_scene(make_solid(material="matte")), make_scene(make_solid(material=material))], 32
    )
    ball = pictures.masks[0] == 1
    change = np.abs(pictures.images[1].astype(int) - pictures.images[0]).max(axis=-1)
    assert change[ball].mean() > 8
    if material in ("checkered", "striped"):  # a pattern alters the solid's own surface
        away = np.ones((32, 32), dtype=bool)
        for shift in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
            away &= ~np.roll(ball, shift, axis=(0, 1))
        assert change[away].max() <= 1


@pytest.mark.parametrize("texture", GROUND_TEXTURES)
def test_textures_are_filtered_to_their_mean_far_away(make_scene: Build, texture: str) -> None:
    """The mean colour of a texture does not depend on how coarsely it is sampled."""
    scene = make_scene()
    ground = replace(
        scene.ground, texture=texture, colours=((0.9, 0.9, 0.9), (0.2, 0.2, 0.2)), scale=1.0
    )
    camera = replace(scene.camera, elevation=80.0, distance=30.0)
    fine = render([replace(scene, ground=ground, camera=camera)], 96, 3).images.mean()
    coarse = render([replace(scene, ground=ground, camera=camera)], 8, 1).images.mean()
    assert coarse == pytest.approx(fine, abs=14)


def test_antialiasing_converges() -> None:
    scenes = sample_scenes(20, 24)
    best = render(scenes, 32, 6).images.astype(float)
    errors = [np.abs(render(scenes, 32, k).images - best).mean() for k in (1, 2, 4)]
    assert errors[0] > 1.6 * errors[1] > 1.6 * errors[2]


def test_metal_mirrors_its_surroundings(make_scene: Build, make_solid: BuildSolid) -> None:
    """A neighbour in front of a metal sphere shows up in it; in a matte one it does not."""
    neighbour = make_solid(
        shape="cube", colour="green", rgb=(0.1, 0.8, 0.1), x=1.3, y=1.9, radius=0.9
    )
    changes = {}
    for material in ("metal", "matte"):
        ball = make_solid(material=material, colour="white", rgb=(0.9, 0.9, 0.9))
        light = Light(180.0, 60.0, (1.0, 1.0, 1.0), 1.0, 0.3)  # from behind: no shadow on the ball
        one = render([make_scene(ball, light=light)], 64)
        two = render([make_scene(ball, neighbour, light=light)], 64)
        same = (one.masks[0] == 1) & (two.masks[0] == 1)
        difference = np.abs(one.images[0].astype(int) - two.images[0]).max(axis=-1)
        changes[material] = (difference[same] > 40).sum()
    assert changes["metal"] > 10
    assert changes["matte"] == 0


@pytest.mark.parametrize(("size", "antialias"), [(0, 2), (64, 0), (4096, 1)])
def test_impossible_sizes_are_refused(size: int, antialias: int) -> None:
    with pytest.raises(InputError, match="antialias"):
        render([sample_scene(0)], size, antialias)


def test_no_scenes_give_empty_arrays() -> None:
    assert render([], 16).images.shape == (0, 16, 16, 3)
