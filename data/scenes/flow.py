"""True optical flow: where the surface point behind each pixel is seen in the next frame.

The point is found by the ray through the pixel's centre, carried by the motion of the solid it
belongs to, and projected into the next camera; nothing is estimated from pictures. A last ray
decides whether anything hides it there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phosphene.data.scenes.description import Camera, Scene
from phosphene.data.scenes.motion import MovingScene
from phosphene.data.scenes.rendering import camera_rays, render
from phosphene.data.scenes.solids import Floats
from phosphene.data.scenes.tracing import SKY_ID, bodies_of, dot, first_hit, transform
from phosphene.errors import InputError

__all__ = ["RenderedMovie", "forward_flow", "render_movie"]

_SAME_POINT = 0.004
"""Relative distance within which the next camera's ray has met the very same point."""


@dataclass(frozen=True)
class RenderedMovie:
    """Frames of one moving scene and the flow from each to the next.

    Attributes
    ----------
    images : (n_frames, H, W, 3) uint8
    depth : (n_frames, H, W) float32
    masks : (n_frames, H, W) uint8
        As in :class:`RenderedScenes`.
    flow : (n_frames, H, W, 2) float32
        Motion to the next frame in pixels, to the right and down; 0 in the last frame of a shot.
    visible : (n_frames, H, W) bool
        Whether the point is seen in the next frame; False where there is none or a cut follows.
    fps : float
    cuts : tuple of int
        Frames that begin a new shot.
    """

    images: NDArray[np.uint8]
    depth: NDArray[np.float32]
    masks: NDArray[np.uint8]
    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    fps: float
    cuts: tuple[int, ...]


def render_movie(
    movie: MovingScene, size: int = 64, antialias: int = 2, threads: int | None = None
) -> RenderedMovie:
    """Render every frame of a moving scene and its true optical flow.

    Parameters are those of :func:`render`.
    """
    scenes = movie.frames()
    rendered = render(scenes, size, antialias, threads)
    flow = np.zeros((len(scenes), size, size, 2), dtype=np.float32)
    visible = np.zeros((len(scenes), size, size), dtype=bool)
    for frame in range(len(scenes) - 1):
        if frame + 1 not in movie.cuts:
            flow[frame], visible[frame] = forward_flow(scenes[frame], scenes[frame + 1], size)
    return RenderedMovie(
        rendered.images, rendered.depth, rendered.masks, flow, visible, movie.fps, movie.cuts
    )


def forward_flow(
    now: Scene, then: Scene, size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the flow (size, size, 2) from one scene to the next, and what stays visible.

    Parameters
    ----------
    now, then : Scene
        The same solids in the same order, moved; cameras may differ.
    size : int
        Side of the picture in pixels.

    Returns
    -------
    flow : (size, size, 2) float32
        Pixels to the right and down.
    visible : (size, size) bool
        Whether the point is inside the next picture and nothing hides it there.
    """
    shapes = [s.shape for s in now.solids], [s.shape for s in then.solids]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"solids {shapes[0]} now and {shapes[1]} then",
            expected="the same solids in the same order",
        )
    origin, d, _ = camera_rays(now.camera, size, 1)
    bodies, moved = bodies_of(now), bodies_of(then)
    t, ids = first_hit(bodies, origin, d)
    sky = ids == SKY_ID
    eye = then.camera.position.astype(np.float32)[:, None]
    p = origin + np.where(sky, np.float32(0), t) * d
    for index, (before, after) in enumerate(zip(bodies, moved, strict=True)):
        on = np.flatnonzero(ids == index + 1)
        p[:, on] = transform(after.to_world, before.local(p[:, on])) + after.centre[:, None]
    toward = np.where(sky, d, p - eye)  # the sky is infinitely far: only turning moves it
    column, row, ahead = _project(then.camera, toward, size)
    distance = np.sqrt(dot(toward, toward))
    met, met_ids = first_hit(moved, eye, toward / distance)
    same = np.where(sky, met_ids == SKY_ID, met >= distance * (1 - _SAME_POINT))
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size) & ahead
    here = np.arange(size, dtype=np.float32) + np.float32(0.5)
    flow = np.stack(
        [column.reshape(size, size) - here[None, :], row.reshape(size, size) - here[:, None]],
        axis=-1,
    )
    flow[~ahead.reshape(size, size)] = 0
    return flow.astype(np.float32), (same & inside).reshape(size, size)


def _project(camera: Camera, toward: Floats, size: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return column and row (n,), the first pixel spanning 0 to 1, and whether it is ahead."""
    x, y, depth = transform(camera.axes.astype(np.float32), toward)
    ahead = depth > 1e-3
    scale = np.float32(size / 2 / camera.half_width) / np.where(ahead, depth, np.float32(1))
    return size / 2 + x * scale, size / 2 - y * scale, ahead
