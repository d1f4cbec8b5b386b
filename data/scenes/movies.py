"""Drawing moving scenes: shots of random length whose solids stay apart and in the frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from phosphene.data.scenes.captions import captions
from phosphene.data.scenes.composition import projected_discs, separated
from phosphene.data.scenes.description import Scene
from phosphene.data.scenes.draws import Draws
from phosphene.data.scenes.motion import CameraMotion, Motion, MovingScene, Shot
from phosphene.data.scenes.sampling import (
    DEFAULT,
    SCENES_VERSION,
    SPLITS,
    SceneDistribution,
    draw_scene,
)
from phosphene.errors import InputError, check_option

__all__ = ["movie_captions", "sample_movie"]

_LEAST_SHOT = 0.5
_KINDS = {"rest": 2.0, "spin": 2.5, "glide": 3.0, "bounce": 2.5}


def sample_movie(
    index: int,
    *,
    n_frames: int = 32,
    fps: float = 8.0,
    mean_shot: float = 2.5,
    seed: int = 0,
    split: str = "train",
    distribution: SceneDistribution = DEFAULT,
) -> MovingScene:
    """Return one moving scene; like :func:`sample_scene` it depends on its arguments alone.

    Cuts are a Poisson process with a dead time of half a second, so no clock predicts them.

    Parameters
    ----------
    index : int
        Number of the movie, 0 or more.
    n_frames : int
        Length in frames.
    fps : float
        Frames per second.
    mean_shot : float
        Mean length of a shot in seconds; inf for a single shot.
    seed, split, distribution
        As in :func:`sample_scene`; solids never stand on each other.

    Returns
    -------
    MovingScene
    """
    check_option("split", split, SPLITS)
    if index < 0 or n_frames < 1 or fps <= 0 or mean_shot <= _LEAST_SHOT:
        raise InputError(
            f"movie {index} of {n_frames} frames at {fps} per second, shots of {mean_shot} s",
            expected=f"index 0 or more, a frame, a positive rate, shots above {_LEAST_SHOT} s",
        )
    name = f"movie/{distribution.name}/{split}/{seed}/{index}"
    draws = Draws("movie", SCENES_VERSION, distribution.name, split, seed, index)
    flat = replace(distribution, stacking=0.0)
    shots: list[Shot] = []
    left = n_frames
    while left:
        frames = min(left, _shot_frames(fps, mean_shot, draws))
        shots.append(_draw_shot(f"{name}/{len(shots)}", flat, frames, fps, draws))
        left -= frames
    return MovingScene(name, fps, tuple(shots))


def movie_captions(movie: MovingScene, count: int = 5, *, seed: int = 0) -> list[str]:
    """Return captions of a moving scene: those of its shots, one after the other."""
    pairs = zip(movie.shots, movie.motion_words(), strict=True)
    told = [captions(shot.scene, count, seed=seed, motions=words) for shot, words in pairs]
    return ["; then ".join(shots) for shots in zip(*told, strict=True)]


def _shot_frames(fps: float, mean_shot: float, draws: Draws) -> int:
    if math.isinf(mean_shot):
        return 2**31
    waiting = -(mean_shot - _LEAST_SHOT) * math.log1p(-draws.unit())
    return max(1, round((_LEAST_SHOT + waiting) * fps))


def _draw_shot(
    name: str, distribution: SceneDistribution, n_frames: int, fps: float, draws: Draws
) -> Shot:
    scene = draw_scene(name, distribution, draws)
    times = [n_frames / fps * share for share in (0.25, 0.5, 0.75, 1.0)]
    camera_motion = _draw_camera_motion(scene, times, draws)
    motions = [_draw_motion(draws) for _ in scene.solids]
    for _ in range(20):
        shot = Shot(scene, tuple(motions), camera_motion, n_frames)
        moving = camera_motion != CameraMotion() or any(m.kind != "rest" for m in motions)
        if moving and all(_well_composed(shot.at(time)) for time in times):
            return shot
        # Draw the paths again; a spin disturbs nobody and is kept.
        motions = [m if m.kind == "spin" else _draw_motion(draws) for m in motions]
    spinning = [m if m.kind == "spin" else Motion("spin", spin=60.0) for m in motions]
    return Shot(scene, tuple(spinning), camera_motion, n_frames)


def _well_composed(scene: Scene) -> bool:
    """Whether all solids are apart and their outlines mostly inside the picture."""
    return separated(scene.solids) and _inside(scene, 0.25)


def _inside(scene: Scene, margin: float) -> bool:
    discs = projected_discs(scene)
    return all(max(abs(d.x), abs(d.y)) + d.radius < 1 + margin and d.depth > 1 for d in discs)


def _draw_motion(draws: Draws) -> Motion:
    kind = draws.weighted(_KINDS)
    if kind == "spin":
        return Motion(kind, spin=draws.choice((-1, 1)) * draws.uniform(40, 120))
    if kind == "glide":
        speed, heading = draws.uniform(0.3, 1.2), draws.uniform(0, 2 * math.pi)
        velocity = round(speed * math.cos(heading), 4), round(speed * math.sin(heading), 4)
        return Motion(kind, velocity=velocity)
    if kind == "bounce":
        height = draws.uniform(0.4, 1.1)
        return Motion(
            kind, height=height, period=round(1.1 * math.sqrt(height), 4), phase=draws.uniform(0, 1)
        )
    return Motion()


def _draw_camera_motion(scene: Scene, times: Sequence[float], draws: Draws) -> CameraMotion:
    """Draw a camera motion that keeps the solids, as they stand at first, in the frame."""
    for _ in range(8):
        motion = _any_camera_motion(scene, draws)
        moved = [motion.at(scene.camera, time) for time in times if _allowed(scene, motion, time)]
        if len(moved) == len(times) and all(
            _inside(replace(scene, camera=camera), 0.15) for camera in moved
        ):
            return motion
    return CameraMotion()


def _allowed(scene: Scene, motion: CameraMotion, time: float) -> bool:
    """Whether the camera looks down from above the ground: one that comes near may sink."""
    camera = scene.camera
    elevation = camera.elevation + motion.rise * time
    distance = camera.distance * math.exp(-motion.approach * time)
    height = camera.target[2] + distance * math.sin(math.radians(elevation))
    return 5 < elevation < 75 and height > 0


def _any_camera_motion(scene: Scene, draws: Draws) -> CameraMotion:
    kind = draws.choice(("still", "orbit", "rise", "approach", "pan"))
    sign = draws.choice((-1, 1))
    if kind == "orbit":
        return CameraMotion(orbit=sign * draws.uniform(6, 25))
    if kind == "rise":
        return CameraMotion(rise=sign * draws.uniform(3, 10))
    if kind == "approach":
        return CameraMotion(approach=sign * draws.uniform(0.04, 0.15))
    if kind == "pan":
        right = scene.camera.axes[0] * (sign * draws.uniform(0.15, 0.6))
        x, y, z = (round(v, 4) for v in right.tolist())
        return CameraMotion(pan=(x, y, z))
    return CameraMotion()
