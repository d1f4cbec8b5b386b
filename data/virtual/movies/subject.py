"""A virtual fMRI subject who watches movies: from moving scenes to continuous BOLD.

The voxels of the picture experiment keep their receptive fields and tunings; a share of what they
answer is motion energy, and an area of motion is there too. Each voxel's drive passes through its
own blood response; the noise is that of the scanner's time series, of the size that single-trial
betas of the picture experiment would have the planned signal-to-noise ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from phosphene.data.scenes import MovingScene, Scene, render, sample_movie
from phosphene.data.virtual.anatomy import smoothing_kernel
from phosphene.data.virtual.areas import VERSION
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.early_vision import SIZE
from phosphene.data.virtual.haemodynamics import HRF_PARAMETERS, PICTURE_SECONDS, double_gamma
from phosphene.data.virtual.movies.motion_area import (
    MOTION_SHARES,
    MotionTuning,
    MovieAnatomy,
    with_motion_area,
)
from phosphene.data.virtual.movies.motion_energy import motion_channels
from phosphene.data.virtual.noise import NoiseModel, build_noise
from phosphene.data.virtual.subject import MEAN_AMPLITUDE, VirtualSubject
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.types import VoxelSpace

__all__ = ["MOVIE_VERSION", "REFERENCE_MOVIE_SEED", "MovieSubject", "blood_responses"]

Array = np.ndarray[Any, Any]

MOVIE_VERSION = "1"
"""Changes whenever a subject of any label would answer a movie otherwise."""
REFERENCE_MOVIE_SEED = 90003
"""Seed of the movies over whose frames signals have unit variance; nothing else uses them."""
N_REFERENCE, REFERENCE_FRAMES, FPS = 256, 6, 8.0
STEP = 0.25
"""Seconds between the moments at which neurons are computed."""
BLOCK = 64  # frames at a time


@dataclass(frozen=True, eq=False)
class _Moments:
    """Mean and SD of the three drives and of their sum, over the reference frames."""

    means: tuple[Array, Array, Array]
    sds: tuple[Array, Array, Array]
    mean: Array
    sd: Array
    signal: Array


@cache
def _reference() -> tuple[list[Scene], Array, Array]:
    """Return scenes of a moving frame each, its picture and that of the frame before it."""
    movies = [
        sample_movie(index, n_frames=REFERENCE_FRAMES, fps=FPS, seed=REFERENCE_MOVIE_SEED)
        for index in range(N_REFERENCE)
    ]
    # The last frames of the first shot, in which things have moved away from where they began.
    pairs = [movie.frames()[: movie.shots[0].n_frames][-2:] for movie in movies]
    now, before = [pair[-1] for pair in pairs], [pair[0] for pair in pairs]
    return now, render(now, SIZE).images, render(before, SIZE).images


class MovieSubject:
    """A subject that any label determines completely, always called virtual.

    Parameters
    ----------
    label : str
    preset : str
        As for :class:`~phosphene.data.virtual.VirtualSubject`.
    tr : float
        Seconds between volumes.

    Raises
    ------
    UsageError
        If label, preset or TR make no sense.
    """

    def __init__(self, label: str, preset: str = "nsd-7t", tr: float = 1.0) -> None:
        if not 0.3 <= tr <= 4:
            raise UsageError(f"a TR of {tr:g} s", expected="from 0.3 to 4 s")
        self.pictures = VirtualSubject(label, preset)
        self.label, self.tr = self.pictures.label, float(tr)
        self.preset = replace(self.pictures.preset, tr=self.tr)

    def __repr__(self) -> str:
        return f"MovieSubject({self.label!r}, preset={self.preset.name!r}, tr={self.tr:g})"

    @cached_property
    def movie_anatomy(self) -> MovieAnatomy:
        """Voxels of the picture areas and of the motion area."""
        return with_motion_area(self.label, self.pictures.anatomy)

    @property
    def space(self) -> VoxelSpace:
        """Which voxels of the NIfTI grid the columns are."""
        return self.movie_anatomy.anatomy.space

    @property
    def n_voxels(self) -> int:
        """Number of voxels V."""
        return self.space.n_voxels

    @cached_property
    def motion_tuning(self) -> MotionTuning:
        """Responses to what moves."""
        return MotionTuning(self.label, self.movie_anatomy)

    @cached_property
    def amplitude(self) -> Array:
        """SD of each voxel's signal over frames, in percent signal change (V,)."""
        stream = Stream("virtual-fmri", VERSION, self.label, "movie amplitude")
        own = MEAN_AMPLITUDE * np.exp(0.3 * stream.normal(self.n_voxels))
        own[self.movie_anatomy.still] = self.pictures.amplitude
        return own

    @property
    def mean_response(self) -> Array:
        """Mean response while a movie runs, in percent signal change (V,)."""
        return 2 * self.amplitude

    @cached_property
    def motion_share(self) -> Array:
        """Share of the signal's variance that is motion energy (V,)."""
        return np.array([MOTION_SHARES[name] for name in self.movie_anatomy.area_names])

    @cached_property
    def _content_share(self) -> Array:
        from phosphene.data.virtual.areas import AREAS

        share = np.zeros(self.n_voxels)
        area = self.pictures.anatomy.area
        share[self.movie_anatomy.still] = np.array([AREAS[k - 1].content for k in area])
        return share

    @cached_property
    def _point_spread(self) -> Array:
        positions = self.movie_anatomy.anatomy.positions
        kernel = smoothing_kernel(positions, positions, self.preset.point_spread)
        spread: Array = (kernel / kernel.sum(axis=0)).astype(np.float32)
        return spread

    def _drives(self, scenes: Sequence[Scene], now: Array, before: Array) -> tuple[Array, ...]:
        """Return early vision, content and motion of frames, each (n, V), in no unit yet."""
        still = self.movie_anatomy.still
        early = np.zeros((len(now), self.n_voxels), dtype=np.float32)
        content = np.zeros_like(early)
        early[:, still] = self.pictures.early_vision.drive(now)
        content[:, still] = self.pictures.content_tuning.drive(scenes)
        motion = np.concatenate(
            [
                self.motion_tuning.drive(
                    motion_channels(now[start : start + BLOCK], before[start : start + BLOCK])
                )
                for start in range(0, len(now), BLOCK)
            ]
        )
        return early, content, motion

    def _combine(self, drives: Sequence[Array]) -> Array:
        early, content, motion = drives
        a, b = self.motion_share, self._content_share
        still = np.sqrt(1 - b) * early + np.sqrt(b) * content
        mixed = np.sqrt(1 - a) * still + np.sqrt(a) * motion
        spread: Array = mixed.astype(np.float32) @ self._point_spread
        return spread

    @cached_property
    def _moments(self) -> _Moments:
        drives = self._drives(*_reference())
        means = tuple(drive.mean(axis=0) for drive in drives)
        sds = tuple(np.where(drive.std(axis=0) > 0, drive.std(axis=0), 1) for drive in drives)
        parts = [(d - m) / s for d, m, s in zip(drives, means, sds, strict=True)]
        signal = self._combine(parts)
        mean, sd = signal.mean(axis=0), signal.std(axis=0)
        return _Moments(
            means,
            sds,  # type: ignore[arg-type]
            mean,
            sd,
            (signal - mean) / sd,
        )

    @cached_property
    def _built(self) -> tuple[NoiseModel, Array]:
        return build_noise(
            self.label,
            self.movie_anatomy.anatomy,
            self.preset,
            self.amplitude,
            self._moments.signal,
        )

    @property
    def noise(self) -> NoiseModel:
        """Noise of the time series, and of betas of pictures in the same scanner."""
        return self._built[0]

    @property
    def ncsnr(self) -> Array:
        """Planned signal SD / noise SD of a single-trial beta of a picture (V,)."""
        return self._built[1]

    def neural(self, movie: MovingScene, images: Array) -> Array:
        """Return each voxel's drive every quarter of a second, without blood and noise.

        Parameters
        ----------
        movie : MovingScene
            At 4 frames per second or a multiple of it.
        images : (n_frames, 64, 64, 3) uint8

        Returns
        -------
        ndarray of shape (n_steps, V), float32
            Deviation from :attr:`mean_response` in percent signal change.

        Raises
        ------
        InputError
            If the rate has no frame at these moments, or pictures are not those of the movie.
        """
        stride = movie.fps * STEP
        if stride < 1 or abs(stride - round(stride)) > 1e-9 or len(images) != movie.n_frames:
            raise InputError(
                f"{len(images)} pictures for {movie.n_frames} frames at {movie.fps:g} per second",
                expected=f"a picture per frame, at {1 / STEP:g} frames per second or a multiple",
            )
        scenes, moments = movie.frames(), self._moments
        chosen = np.arange(0, movie.n_frames, round(stride))
        out = np.empty((len(chosen), self.n_voxels), dtype=np.float32)
        for start in progress(range(0, len(chosen), BLOCK), label="frames seen"):
            numbers = chosen[start : start + BLOCK]
            before = images[np.maximum(numbers - 1, 0)]
            drives = self._drives([scenes[k] for k in numbers], images[numbers], before)
            parts = [
                (drive - mean) / sd
                for drive, mean, sd in zip(drives, moments.means, moments.sds, strict=True)
            ]
            signal = (self._combine(parts) - moments.mean) / moments.sd
            out[start : start + BLOCK] = signal * self.amplitude
        return out


@cache
def blood_responses(lag: float, n_steps: int) -> Array:
    """Return the blood's response to a quarter of a second of drive 1 (20, n_steps).

    Of such a size that a picture of 3 s with drive 1 peaks at 1, as a beta of 1 does.

    Parameters
    ----------
    lag : float
        Seconds added to the time since the middle of the drive.
    n_steps : int
        Times since then, :data:`STEP` apart.
    """
    fine = np.arange(0, 40, 0.05)
    times = np.arange(n_steps) * STEP + lag
    rows = []
    for peak, undershoot in HRF_PARAMETERS:
        brief = double_gamma(fine, peak, undershoot)
        block = np.convolve(brief, np.ones(round(PICTURE_SECONDS / 0.05)))[: len(fine)]
        shape = np.interp(times, fine, brief, left=0.0, right=0.0)
        rows.append(shape * (STEP / 0.05) / block.max())
    return np.stack(rows)
