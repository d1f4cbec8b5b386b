"""Pictures per second of the scene renderer, and the least that the work could cost.

Run ``python benchmarks/scenes.py``. Both ways of every comparison run in this process:
one thread against two, and bounding spheres against testing every ray with every solid.
Comparisons of one thread go by processor time, which other programs disturb less.
``--write-golden FILE`` writes the pictures that the tests compare with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from phosphene.data.scenes import HELD_OUT_SHAPES, Scene, render, sample_scene, sample_scenes
from phosphene.data.scenes.rendering import camera_rays
from phosphene.data.scenes.tracing import bodies_of, first_hit


def seconds(
    work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.thread_time
) -> float:
    """Return the shortest of several runs."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        work()
        best = min(best, clock() - start)
    return best


def element_rate() -> float:
    """Elementwise single-precision operations per second of one thread on arrays in cache."""
    a, b, c = (np.ones(16_384, dtype=np.float32) for _ in range(3))

    def work() -> None:
        for _ in range(1000):
            np.multiply(a, b, out=c)
            np.add(c, a, out=c)

    return 2000 * a.size / seconds(work, 5)


def counted_operations(scenes: Sequence[Scene], size: int, antialias: int) -> float:
    """Least elementwise operations per picture, counted from what its rays meet.

    Per ray 20 to make it, 9 per solid to test the bounding sphere, 10 for the ground; per ground
    hit 60 for texture and light and 12 per solid for shadow and open sky; per sky ray 40; per
    solid hit 150 (map, intersect, normal, light) and 60 per other solid. Mirrors are left out.
    """
    total = 0.0
    for scene in scenes:
        origin, d, _ = camera_rays(scene.camera, size, antialias)
        _, ids = first_hit(bodies_of(scene), origin, d)
        n = len(scene.solids)
        ground, sky = (ids == 0).sum(), (ids == 255).sum()
        solid = ids.size - ground - sky
        total += ids.size * (30 + 9 * n) + ground * (60 + 12 * n) + sky * 40
        total += solid * (150 + 60 * (n - 1))
    return total / len(scenes)


def trace_everything(scenes: Sequence[Scene], size: int, antialias: int) -> None:
    """Nearest solid of every ray without bounding spheres."""
    for scene in scenes:
        origin, d, _ = camera_rays(scene.camera, size, antialias)
        nearest = np.full(d.shape[1], np.inf, dtype=np.float32)
        for body in bodies_of(scene):
            np.minimum(nearest, body.enter_near(origin, d), out=nearest)


def trace_culled(scenes: Sequence[Scene], size: int, antialias: int) -> None:
    """Nearest solid of every ray with bounding spheres."""
    for scene in scenes:
        origin, d, _ = camera_rays(scene.camera, size, antialias)
        nearest = np.full(d.shape[1], np.inf, dtype=np.float32)
        for body in bodies_of(scene):
            near, entered = body.enter(origin, d)
            nearest[near] = np.minimum(nearest[near], entered)


def write_golden(path: Path) -> None:
    scenes = [*sample_scenes(0, 7), sample_scene(0, distribution=HELD_OUT_SHAPES)]
    rendered = render(scenes, 32)
    temporary = path.with_name(f".{path.stem}-part.npz")
    np.savez_compressed(temporary, images=rendered.images, masks=rendered.masks)
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write-golden", type=Path)
    options = parser.parse_args()
    if options.write_golden:
        write_golden(options.write_golden)
        return
    count, size = options.scenes, options.size
    scenes = sample_scenes(0, count)
    render(scenes[:4], size)
    print(f"{count} scenes, {size} px, 2 x 2 samples per pixel, hard shadows")
    walls = {}
    for threads in (1, 2):
        work = partial(render, scenes, size, 2, threads)
        walls[threads] = count / seconds(work, options.repeats, time.perf_counter)
        print(f"render, {threads} thread(s):   {walls[threads]:8.1f} pictures/s of wall-clock time")
    print(f"ratio 2 threads / 1 thread: {walls[2] / walls[1]:.2f}")
    render_rate = count / seconds(partial(render, scenes, size, 2, 1), options.repeats)
    print(f"render, 1 thread:      {render_rate:8.1f} pictures/s of processor time")
    drawn = count / seconds(lambda: sample_scenes(0, count), options.repeats)
    print(f"draw descriptions:    {drawn:8.1f} scenes/s")
    operations, rate = counted_operations(scenes, size, 2), element_rate()
    floor = rate / operations
    print(f"operations counted:   {operations / 1e6:8.2f} million per picture")
    print(f"numpy in cache:       {rate / 1e9:8.2f} thousand million operations/s and thread")
    print(f"floor:                {floor:8.1f} pictures/s and thread at that rate")
    print(f"ratio floor / render, 1 thread: {floor / render_rate:.2f}")
    culled = seconds(partial(trace_culled, scenes, size, 2), options.repeats)
    every = seconds(partial(trace_everything, scenes, size, 2), options.repeats)
    print(f"ratio every ray / bounding spheres (nearest hit alone): {every / culled:.2f}")


if __name__ == "__main__":
    main()
