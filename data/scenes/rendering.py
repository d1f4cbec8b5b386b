"""From descriptions to pictures, depth and masks.

Every scene is traced by itself, so a batch is exactly its scenes one at a time, whatever the
order and the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.description import Camera, Scene
from phosphene.data.scenes.shading import prepare, radiance
from phosphene.data.scenes.solids import Floats
from phosphene.data.scenes.tracing import bodies_of, first_hit
from phosphene.errors import InputError

__all__ = ["RenderedScenes", "camera_rays", "render", "render_geometry"]


@dataclass(frozen=True)
class RenderedScenes:
    """Pictures of n scenes with what each pixel shows.

    Attributes
    ----------
    images : (n, H, W, 3) uint8
        Displayed colours, averaged over the samples of a pixel.
    depth : (n, H, W) float32
        Distance along the optical axis at the pixel's centre, in scene units; inf is sky.
    masks : (n, H, W) uint8
        What is at the pixel's centre: 0 ground, k + 1 solid k, 255 sky.
    """

    images: NDArray[np.uint8]
    depth: NDArray[np.float32]
    masks: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def render(
    scenes: Sequence[Scene], size: int = 64, antialias: int = 2, threads: int | None = None
) -> RenderedScenes:
    """Render scenes as square pictures.

    Parameters
    ----------
    scenes : sequence of n Scene
    size : int
        Side of the picture in pixels.
    antialias : int
        Samples per pixel along each side.
    threads : int or None
        Scenes rendered at the same time; None takes as many as there are processors, 8 at most.

    Returns
    -------
    RenderedScenes

    Raises
    ------
    InputError
        If ``size`` or ``antialias`` is out of range.

    Examples
    --------
    >>> from phosphene.data.scenes import sample_scene
    >>> render([sample_scene(0)], size=16).images.shape
    (1, 16, 16, 3)
    """
    if not (1 <= size <= 2048 and 1 <= antialias <= 16):
        raise InputError(
            f"size {size} and antialias {antialias}",
            expected="a size from 1 to 2048 and an antialias from 1 to 16",
        )
    count = len(scenes)
    rendered = RenderedScenes(
        images=np.empty((count, size, size, 3), dtype=np.uint8),
        depth=np.empty((count, size, size), dtype=np.float32),
        masks=np.empty((count, size, size), dtype=np.uint8),
    )

    def one(index: int) -> None:
        rendered.images[index] = _picture(scenes[index], size, antialias)
        rendered.depth[index], rendered.masks[index] = render_geometry(scenes[index], size)

    workers = min(threads or min(8, os.cpu_count() or 1), max(count, 1))
    if workers == 1:
        for index in range(count):
            one(index)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, range(count)))
    return rendered


def render_geometry(scene: Scene, size: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return depth and mask (size, size) at the centres of the pixels of one scene."""
    origin, d, length = camera_rays(scene.camera, size, 1)
    t, ids = first_hit(bodies_of(scene), origin, d)
    return (t / length).astype(np.float32).reshape(size, size), ids.reshape(size, size)


def camera_rays(camera: Camera, size: int, antialias: int) -> tuple[Floats, Floats, Floats]:
    """Return origin (3, 1), unit directions (3, n) and the length (n,) per unit of depth.

    Samples are ordered (antialias^2, row, column).
    """
    x, y, length = _grid(size, antialias, camera.half_width)
    right, up, forward = camera.axes.astype(np.float32)
    d = np.stack([(right[k] * x + up[k] * y + forward[k]) / length for k in range(3)])
    return camera.position.astype(np.float32)[:, None], d, length


@cache
def _sample_offsets(antialias: int) -> list[tuple[float, float]]:
    """Return offsets in [0, 1) of the samples: a grid sheared so that no row or column repeats."""
    n = antialias
    cells = [(i, j) for i in range(n) for j in range(n)]
    return [((i + (j + 0.5) / n) / n, (j + (n - i - 0.5) / n) / n) for i, j in cells]


def _grid(size: int, antialias: int, half_width: float) -> tuple[Floats, Floats, Floats]:
    pixels = np.arange(size)
    columns = np.stack([pixels + x for x, _ in _sample_offsets(antialias)])[:, None, :]
    rows = np.stack([pixels + y for _, y in _sample_offsets(antialias)])[:, :, None]
    shape = (antialias * antialias, size, size)
    x = np.broadcast_to(half_width * (2 * columns / size - 1), shape).ravel().astype(np.float32)
    y = np.broadcast_to(half_width * (1 - 2 * rows / size), shape).ravel().astype(np.float32)
    return x, y, np.sqrt(1 + x * x + y * y)


def _picture(scene: Scene, size: int, antialias: int) -> NDArray[np.uint8]:
    origin, d, _ = camera_rays(scene.camera, size, antialias)
    spread = 2 * scene.camera.half_width / (size * antialias)
    light = radiance(prepare(scene), origin, d, spread)
    light = light.reshape(3, antialias * antialias, size, size)
    # A soft shoulder keeps bright colours from clipping; samples are averaged as displayed.
    shown = np.sqrt(np.minimum(light / np.sqrt(1 + 0.4 * light * light), 1))
    mean = shown[:, 0]
    for sample in range(1, antialias * antialias):
        mean = mean + shown[:, sample]
    mean = np.minimum(mean * (255 / (antialias * antialias)) + 0.5, 255)
    return mean.astype(np.uint8).transpose(1, 2, 0)
