"""Analytic intersections, normals and extents against brute force on implicit functions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phosphene.data.scenes import ALL_SHAPES
from phosphene.data.scenes.solids import SHAPE_GEOMETRY, Geometry

Array = NDArray[np.float64]


def implicit(geometry: Geometry, p: Array) -> Array:
    """Largest constraint: negative inside, positive outside."""
    value: Array = geometry.constraints(p).max(axis=0)
    return value


def random_rays(n: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    o = rng.normal(size=(3, n))
    o = 3.5 * o / np.linalg.norm(o, axis=0)
    towards = rng.uniform(-1.4, 1.4, size=(3, n))
    d = towards - o
    # Directions of any length are allowed, so lengths differ here.
    return o, d * rng.uniform(0.3, 2.0, size=n) / np.linalg.norm(d, axis=0)


def march(geometry: Geometry, o: Array, d: Array) -> tuple[Array, Array]:
    """First sign change along each ray by 3,000 steps and bisection, and the least value met."""
    length = np.linalg.norm(d, axis=0)
    grid = np.linspace(0, 7.5, 3000)
    values = np.stack([implicit(geometry, o + d * (s / length)) for s in grid])
    inside = values < 0
    first = inside.argmax(axis=0)
    hit = inside.any(axis=0)
    low, high = grid[np.maximum(first - 1, 0)], grid[first]
    for _ in range(40):
        middle = (low + high) / 2
        within = implicit(geometry, o + d * (middle / length)) < 0
        low, high = np.where(within, low, middle), np.where(within, middle, high)
    return np.where(hit, high / length, np.inf), values.min(axis=0)


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_entry_agrees_with_brute_force(shape: str) -> None:
    geometry = SHAPE_GEOMETRY[shape]
    o, d = random_rays(600, seed=3)
    expected, least = march(geometry, o, d)
    found = geometry.enter(o, d, np.zeros(o.shape[1]))
    clear = np.abs(least) > 0.01  # rays that graze the surface may go either way
    assert np.isfinite(expected[clear]).sum() > 100
    assert (~np.isfinite(expected[clear])).sum() > 50
    np.testing.assert_array_equal(np.isfinite(found[clear]), np.isfinite(expected[clear]))
    hit = clear & np.isfinite(expected)
    np.testing.assert_allclose(found[hit], expected[hit], atol=2e-4)


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_single_precision_stays_single_and_close(shape: str) -> None:
    geometry = SHAPE_GEOMETRY[shape]
    o, d = random_rays(400, seed=4)
    # As the tracer does: origins moved to the point nearest the centre.
    nearest = -(o * d).sum(axis=0) / (d * d).sum(axis=0)
    o32, d32 = (o + nearest * d).astype(np.float32), d.astype(np.float32)
    single = geometry.enter(o32, d32, -nearest.astype(np.float32))
    double = geometry.enter(o, d, np.zeros(o.shape[1])) - nearest
    assert single.dtype == np.float32
    assert geometry.normal(o32).dtype == np.float32
    both = np.isfinite(single) & np.isfinite(double)
    assert both.sum() > 50
    assert np.mean(np.isfinite(single) != np.isfinite(double)) < 0.01
    assert np.quantile(np.abs(single[both] - double[both]), 0.99) < 1e-3


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_entries_behind_the_start_do_not_count(shape: str) -> None:
    geometry = SHAPE_GEOMETRY[shape]
    o, d = random_rays(200, seed=5)
    t = geometry.enter(o, d, np.zeros(o.shape[1]))
    behind = geometry.enter(o, -d, np.zeros(o.shape[1]))
    assert np.isfinite(t).any()
    assert not np.isfinite(behind).any()
    if shape != "torus":  # a convex solid is entered once
        assert not np.isfinite(geometry.enter(o, d, np.where(np.isfinite(t), t, 0) + 1e-6)).any()


def test_a_line_enters_the_torus_twice() -> None:
    torus = SHAPE_GEOMETRY["torus"]
    o, d = np.array([[-3.0], [0.0], [0.0]]), np.array([[1.0], [0.0], [0.0]])
    first = torus.enter(o, d, np.array([0.0]))
    second = torus.enter(o, d, np.array([2.7]))
    np.testing.assert_allclose([first[0], second[0]], [2.0, 3.36], atol=1e-6)


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_normals_are_gradients_of_the_implicit_function(shape: str) -> None:
    geometry = SHAPE_GEOMETRY[shape]
    o, d = random_rays(500, seed=6)
    t = geometry.enter(o, d, np.zeros(o.shape[1]))
    p = (o + t * d)[:, np.isfinite(t)]
    h = 1e-5
    steps = [h * np.eye(3)[:, [k]] for k in range(3)]
    numeric = np.stack([implicit(geometry, p + e) - implicit(geometry, p - e) for e in steps])
    numeric /= np.linalg.norm(numeric, axis=0)
    normal = geometry.normal(p)
    normal = normal / np.linalg.norm(normal, axis=0)
    agreement = (normal * numeric).sum(axis=0)
    assert np.quantile(agreement, 0.02) > 0.999  # the rest lie within h of an edge


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_support_and_bounding_radius_against_points_of_the_solid(shape: str) -> None:
    geometry = SHAPE_GEOMETRY[shape]
    rng = np.random.default_rng(7)
    box = np.array([geometry.support(axis) for axis in np.eye(3)])[:, None]
    p = box * rng.uniform(-1, 1, size=(3, 400_000))
    p = p[:, implicit(geometry, p) <= 0]
    for direction in rng.normal(size=(6, 3)):
        reach = geometry.support(direction)
        found = (direction @ p).max()
        assert found <= reach + 1e-9
        assert found > 0.9 * reach
    scale = np.array([0.7, 0.7, 1.3])
    farthest = np.linalg.norm(scale[:, None] * p, axis=0).max()
    assert farthest <= geometry.bounding_radius(scale) + 1e-9
    assert geometry.bounding_radius(scale) < 1.5 * farthest
