"""Moving scenes: what solids and cameras do over time, and shots cut together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from phosphene.data.scenes.description import Camera, Scene, Solid
from phosphene.errors import InputError, check_option

__all__ = ["MOTIONS", "CameraMotion", "Motion", "MovingScene", "Shot"]

MOTIONS = ("rest", "spin", "glide", "bounce")


@dataclass(frozen=True)
class Motion:
    """How one solid moves; only what belongs to ``kind`` may differ from zero.

    ``spin`` is in degrees per second about the vertical; ``velocity`` is along x and y in scene
    units per second; ``height`` is that of a bounce, which takes ``period`` seconds and starts
    at ``phase`` (0 to 1) of it.
    """

    kind: str = "rest"
    spin: float = 0.0
    velocity: tuple[float, float] = (0.0, 0.0)
    height: float = 0.0
    period: float = 1.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        check_option("kind", self.kind, MOTIONS)
        active = {"spin": self.spin, "bounce": self.height, "glide": math.hypot(*self.velocity)}
        for kind, amount in active.items():
            if (amount != 0) != (kind == self.kind):
                raise InputError(
                    f"motion {self.kind!r} with {kind} of {amount:g}",
                    expected="exactly the numbers that belong to this kind of motion",
                )

    def at(self, solid: Solid, seconds: float) -> Solid:
        """Return the solid after a time; bounces are parabolas, as under gravity."""
        if self.kind == "spin":
            return replace(solid, yaw=solid.yaw + self.spin * seconds)
        if self.kind == "glide":
            x, y = solid.x + self.velocity[0] * seconds, solid.y + self.velocity[1] * seconds
            return replace(solid, x=x, y=y)
        if self.kind == "bounce":
            phase = (seconds / self.period + self.phase) % 1
            return replace(solid, lift=solid.lift + 4 * self.height * phase * (1 - phase))
        return solid


@dataclass(frozen=True)
class CameraMotion:
    """How the camera moves around and towards its target.

    ``orbit`` and ``rise`` are degrees per second of azimuth and elevation; ``approach`` is the
    rate at which the distance shrinks, per second; ``pan`` is the velocity of the target.
    """

    orbit: float = 0.0
    rise: float = 0.0
    approach: float = 0.0
    pan: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def at(self, camera: Camera, seconds: float) -> Camera:
        """Return the camera after a time."""
        x, y, z = (a + v * seconds for a, v in zip(camera.target, self.pan, strict=True))
        return replace(
            camera,
            azimuth=camera.azimuth + self.orbit * seconds,
            elevation=camera.elevation + self.rise * seconds,
            distance=camera.distance * math.exp(-self.approach * seconds),
            target=(x, y, z),
        )


@dataclass(frozen=True)
class Shot:
    """One continuous view: a scene at its start, a motion per solid, a camera motion."""

    scene: Scene
    motions: tuple[Motion, ...]
    camera_motion: CameraMotion
    n_frames: int

    def __post_init__(self) -> None:
        if len(self.motions) != len(self.scene.solids) or self.n_frames < 1:
            raise InputError(
                f"{len(self.motions)} motions and {self.n_frames} frames for "
                f"{len(self.scene.solids)} solids",
                expected="one motion per solid and at least one frame",
            )

    def at(self, seconds: float) -> Scene:
        """Return the scene after a time."""
        pairs = zip(self.motions, self.scene.solids, strict=True)
        solids = tuple(motion.at(solid, seconds) for motion, solid in pairs)
        camera = self.camera_motion.at(self.scene.camera, seconds)
        return replace(self.scene, camera=camera, solids=solids)


@dataclass(frozen=True)
class MovingScene:
    """Shots shown one after the other at ``fps`` frames per second."""

    name: str
    fps: float
    shots: tuple[Shot, ...]

    def __post_init__(self) -> None:
        if not self.shots or self.fps <= 0:
            raise InputError(
                f"{len(self.shots)} shots at {self.fps} frames per second",
                expected="at least one shot and a positive rate",
            )

    @property
    def n_frames(self) -> int:
        """Frames of all shots together."""
        return sum(shot.n_frames for shot in self.shots)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Numbers of the frames that begin a new shot, the first frame left out."""
        starts, total = [], 0
        for shot in self.shots[:-1]:
            total += shot.n_frames
            starts.append(total)
        return tuple(starts)

    def frames(self) -> list[Scene]:
        """Return the scene of every frame; time starts anew in each shot."""
        scenes = []
        for number, shot in enumerate(self.shots):
            for frame in range(shot.n_frames):
                scene = shot.at(frame / self.fps)
                scenes.append(replace(scene, name=f"{self.name}#{number}@{frame}"))
        return scenes

    def motion_words(self) -> list[Sequence[str]]:
        """Return for every shot how each solid moves, for captions."""
        return [[motion.kind for motion in shot.motions] for shot in self.shots]
