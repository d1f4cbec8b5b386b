"""Rays in the world: culling loses nothing, depth, masks and shadows where geometry puts them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from phosphene.data.scenes import SKY_ID, Camera, Scene, Solid, render_geometry, sample_scene
from phosphene.data.scenes.rendering import camera_rays
from phosphene.data.scenes.tracing import bodies_of, first_hit, occluded, occluded_ground

Build = Callable[..., Scene]
BuildSolid = Callable[..., Solid]


@pytest.mark.parametrize("index", range(12))
def test_culling_changes_no_ray(index: int) -> None:
    scene = sample_scene(index, split="test")
    origin, d, _ = camera_rays(scene.camera, 40, 1)
    bodies = bodies_of(scene)
    t, ids = first_hit(bodies, origin, d)
    with np.errstate(divide="ignore"):
        expected = np.where(d[2] < 0, -origin[2] / d[2], np.inf)
    expected_ids = np.where(d[2] < 0, 0, SKY_ID)
    for number, body in enumerate(bodies):
        entered = body.enter_near(origin, d)
        expected_ids = np.where(entered < expected, number + 1, expected_ids)
        expected = np.minimum(expected, entered)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(t, expected)


def test_depth_of_a_centred_sphere(make_scene: Build, make_solid: BuildSolid) -> None:
    solid = make_solid()
    scene = make_scene(solid)
    depth, mask = render_geometry(scene, 41)
    radius = float(solid.scale[0])
    assert scene.centres[0].tolist() == [0.0, 0.0, radius]
    # The middle pixel looks exactly at the target, which is the sphere's centre.
    assert depth[20, 20] == pytest.approx(scene.camera.distance - radius, abs=1e-4)
    area = (mask == 1).sum() * (2 * scene.camera.half_width / 41) ** 2
    sine = radius / scene.camera.distance
    assert area == pytest.approx(np.pi * sine**2 / (1 - sine**2), rel=0.02)


def test_masks_say_what_depth_says(make_scene: Build, make_solid: BuildSolid) -> None:
    near, far = make_solid(x=2.0, y=0.4, radius=0.6), make_solid(shape="cube", x=-2.0, y=-0.5)
    camera = Camera(0.0, 8.0, 9.0, 50.0, (0.0, 0.0, 1.2))
    depth, mask = render_geometry(make_scene(near, far, camera=camera), 48)
    assert set(np.unique(mask)) == {0, 1, 2, SKY_ID}
    assert np.isinf(depth[mask == SKY_ID]).all()
    assert np.isfinite(depth[mask != SKY_ID]).all()
    assert depth[mask == 1].max() < depth[mask == 2].min()


def test_points_of_the_mask_lie_on_their_surface() -> None:
    scene = sample_scene(3)
    size = 64
    depth, mask = render_geometry(scene, size)
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(centres, -centres)
    right, up, forward = scene.camera.axes
    half = scene.camera.half_width
    ray = forward + half * (x[..., None] * right + y[..., None] * up)
    seen = mask != SKY_ID
    points = scene.camera.position + np.where(seen, depth, 0)[..., None] * ray
    assert np.abs(points[mask == 0][:, 2]).max() < 2e-4
    for number, body in enumerate(bodies_of(scene)):
        local = body.local(points[mask == number + 1].T)
        assert local.shape[1] > 20
        assert np.abs(body.geometry.constraints(local).max(axis=0)).max() < 5e-3


def test_shadow_of_a_sphere_is_the_known_ellipse(make_scene: Build, make_solid: BuildSolid) -> None:
    scene = make_scene(make_solid(lift=0.7, x=0.3, y=-0.2))
    sun = scene.light.direction
    grid = np.linspace(-4, 4, 121)
    x, y = (v.ravel() for v in np.meshgrid(grid, grid))
    p = np.stack([x, y, np.zeros_like(x)])
    to_centre = scene.centres[0][:, None] - p
    gap = np.linalg.norm(np.cross(to_centre.T, sun), axis=1)
    radius = scene.solids[0].scale[0]
    clear = np.abs(gap - radius) > 1e-3
    bodies, direction = bodies_of(scene), sun.astype(np.float32)
    p32 = p.astype(np.float32)
    shadow = occluded_ground(bodies, p32, direction)
    assert 100 < shadow.sum() < shadow.size / 2
    np.testing.assert_array_equal(shadow[clear], (gap < radius)[clear])
    np.testing.assert_array_equal(shadow, occluded(bodies, p32, direction))


@pytest.mark.parametrize("index", range(6))
def test_both_shadow_tests_agree_on_any_scene(index: int) -> None:
    scene = sample_scene(index, seed=9)
    rng = np.random.default_rng(index)
    p = np.concatenate([rng.uniform(-6, 6, size=(2, 4000)), np.zeros((1, 4000))]).astype("f4")
    direction = scene.light.direction.astype(np.float32)
    bodies = bodies_of(scene)
    expected = occluded(bodies, p, direction)
    assert expected.any()
    np.testing.assert_array_equal(occluded_ground(bodies, p, direction), expected)
