"""A virtual fMRI subject: from scenes to the signal of every voxel, and to single-trial betas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from phosphene.data.scenes import Scene, render, sample_scenes
from phosphene.data.virtual.anatomy import Anatomy, build_anatomy, smoothing_kernel
from phosphene.data.virtual.areas import AREAS, VERSION, get_preset
from phosphene.data.virtual.content_tuning import ContentTuning
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.early_vision import SIZE, EarlyVision
from phosphene.data.virtual.experiment import Simulation, simulate
from phosphene.data.virtual.noise import NoiseModel, build_noise
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.progress import progress
from phosphene.types import VoxelSpace

__all__ = ["REFERENCE_SEED", "VirtualSubject"]

Array = np.ndarray[Any, Any]

REFERENCE_SEED = 90001
"""Seed of the scenes over which signals have unit variance; nothing else uses these scenes."""
N_REFERENCE = 256
MEAN_AMPLITUDE = 0.5  # percent signal change, SD of the signal over scenes


@dataclass(frozen=True, eq=False)
class _Calibration:
    """Moments over the reference scenes."""

    early_mean: Array
    early_sd: Array
    content_mean: Array
    content_sd: Array
    signal_mean: Array
    signal_sd: Array
    signal: Array


@cache
def _reference() -> tuple[list[Scene], Array]:
    scenes = sample_scenes(0, N_REFERENCE, seed=REFERENCE_SEED)
    return scenes, render(scenes, SIZE).images


class VirtualSubject:
    """A subject that any label determines completely, always called virtual.

    Parameters
    ----------
    label : str
        Letters and digits, such as ``"01"``.
    preset : str
        Scanner and protocol: ``nsd-7t``, ``lab-3t`` or ``independent`` (unrealistic).

    Raises
    ------
    UsageError
        If the label is not made of letters and digits or the preset is unknown.

    Examples
    --------
    >>> VirtualSubject("01").label
    '01'
    """

    def __init__(self, label: str, preset: str = "nsd-7t") -> None:
        self.label = check_subject(label)
        self.preset = get_preset(preset)

    def __repr__(self) -> str:
        return f"VirtualSubject({self.label!r}, preset={self.preset.name!r})"

    @cached_property
    def anatomy(self) -> Anatomy:
        """Voxels, areas and receptive fields."""
        return build_anatomy(self.label)

    @property
    def space(self) -> VoxelSpace:
        """Which voxels of the NIfTI grid the columns are."""
        return self.anatomy.space

    @property
    def n_voxels(self) -> int:
        """Number of voxels V."""
        return self.anatomy.n_voxels

    @cached_property
    def early_vision(self) -> EarlyVision:
        """Responses to pixels."""
        return EarlyVision(self.label, self.anatomy)

    @cached_property
    def content_tuning(self) -> ContentTuning:
        """Responses to what scenes contain."""
        return ContentTuning(self.label, self.anatomy)

    @cached_property
    def amplitude(self) -> Array:
        """SD of each voxel's signal over scenes, in percent signal change (V,)."""
        stream = Stream("virtual-fmri", VERSION, self.label, "amplitude")
        return MEAN_AMPLITUDE * np.exp(0.3 * stream.normal(self.n_voxels))

    @property
    def mean_response(self) -> Array:
        """Mean response to a first showing, in percent signal change (V,)."""
        return 2 * self.amplitude

    @cached_property
    def suppression(self) -> Array:
        """Share by which responses to repeated pictures are weaker, .05 to .15 (V,)."""
        stream = Stream("virtual-fmri", VERSION, self.label, "suppression")
        return 0.05 + 0.10 * stream.uniform(self.n_voxels)

    @cached_property
    def _built(self) -> tuple[NoiseModel, Array]:
        return build_noise(
            self.label, self.anatomy, self.preset, self.amplitude, self._calibration.signal
        )

    @property
    def noise(self) -> NoiseModel:
        """Noise of single-trial betas and its structure."""
        return self._built[0]

    @property
    def ncsnr(self) -> Array:
        """Planned signal SD / noise SD of a single trial (V,)."""
        return self._built[1]

    @cached_property
    def _point_spread(self) -> Array:
        kernel = smoothing_kernel(
            self.anatomy.positions, self.anatomy.positions, self.preset.point_spread
        )
        spread: Array = kernel / kernel.sum(axis=0)
        return spread.astype(np.float32)

    @cached_property
    def _content_share(self) -> Array:
        return np.array([AREAS[number - 1].content for number in self.anatomy.area])

    @cached_property
    def _calibration(self) -> _Calibration:
        scenes, images = _reference()
        early = self.early_vision.drive(images)
        content = self.content_tuning.drive(scenes)
        means = early.mean(0), content.mean(0)
        sds = early.std(0), np.where(self._content_share > 0, content.std(0), 1)
        signal = self._combine((early - means[0]) / sds[0], (content - means[1]) / sds[1])
        mean, sd = signal.mean(axis=0), signal.std(axis=0)
        return _Calibration(means[0], sds[0], means[1], sds[1], mean, sd, (signal - mean) / sd)

    def _combine(self, early: Array, content: Array) -> Array:
        """Mix standardised drives by the area's shares and spread them as blood does."""
        mixed = np.sqrt(1 - self._content_share) * early + np.sqrt(self._content_share) * content
        spread: Array = mixed.astype(np.float32) @ self._point_spread
        return spread

    def respond(
        self,
        scenes: Sequence[Scene] | None = None,
        images: Array | None = None,
        gaze: Array | None = None,
        *,
        threads: int | None = 2,
        block: int = 256,
    ) -> Array:
        """Return the true signal of every voxel, without noise.

        Parameters
        ----------
        scenes : sequence of n Scene, optional
            Rendered here, in blocks, unless ``images`` are given too.
        images : (n, 64, 64, 3) uint8, optional
            Alone, for photographs: tuning to content then stays at its mean.
        gaze : (n, 2), optional
            Where the eyes are, degrees right and up of the centre.
        threads : int or None
            Of the renderer.
        block : int
            Pictures at a time; bounds the memory.

        Returns
        -------
        ndarray of shape (n, V), float32
            Deviation from :attr:`mean_response` in percent signal change, SD
            :attr:`amplitude` over scenes.

        Raises
        ------
        UsageError
            If neither scenes nor images are given.
        InputError
            If their numbers differ or pictures are of another shape.
        """
        if scenes is None and images is None:
            raise UsageError("neither scenes nor images are given", expected="one of them or both")
        count = len(scenes) if scenes is not None else len(images if images is not None else ())
        for name, given in (("images", images), ("gaze", gaze)):
            if given is not None and len(given) != count:
                raise InputError(
                    f"{len(given)} {name} for {count} pictures", expected="one per picture"
                )
        signal = np.empty((count, self.n_voxels), dtype=np.float32)
        for start in progress(range(0, count, block), label="pictures seen"):
            rows = slice(start, start + block)
            shown = scenes[rows] if scenes is not None else None
            if images is not None:
                pictures = images[rows]
            else:
                pictures = render(shown or [], SIZE, threads=threads).images
            eyes = None if gaze is None else np.asarray(gaze)[rows]
            signal[rows] = self._respond_block(shown, pictures, eyes)
        return signal

    def drives(
        self, scenes: Sequence[Scene] | None, images: Array, gaze: Array | None = None
    ) -> tuple[Array, Array]:
        """Return what drives every voxel, before blood: early vision and content, each (n, V).

        Parameters
        ----------
        scenes : sequence of n Scene, or None
            None for photographs, whose content is not known: its drive is 0, the mean.
        images : (n, 64, 64, 3) uint8
        gaze : (n, 2), optional

        Returns
        -------
        early, content : ndarray of shape (n, V)
            Standardised over the reference scenes.
        """
        moments = self._calibration
        early = (self.early_vision.drive(images, gaze) - moments.early_mean) / moments.early_sd
        content = np.zeros_like(early)
        if scenes is not None:
            drive = self.content_tuning.drive(scenes, gaze)
            content = (drive - moments.content_mean) / moments.content_sd
        return early, content

    def _respond_block(
        self, scenes: Sequence[Scene] | None, images: Array, gaze: Array | None
    ) -> Array:
        early, content = self.drives(scenes, images, gaze)
        moments = self._calibration
        standardised = (self._combine(early, content) - moments.signal_mean) / moments.signal_sd
        signal: Array = (standardised * self.amplitude).astype(np.float32)
        return signal

    def averaged_signal(self, signal: Array, repetitions: int) -> Array:
        """Return the expected mean of n showings of each picture: later ones are weaker."""
        return signal * self.averaged_gain(repetitions).astype(np.float32)

    def averaged_gain(self, repetitions: int) -> Array:
        """Return the mean response to n showings relative to the first (V,)."""
        return 1 - self.suppression * (repetitions - 1) / repetitions

    def simulate(
        self,
        shown: Sequence[Scene] | Array,
        *,
        repetitions: int | None = None,
        seed: int = 0,
        sessions: int | None = None,
        estimator: str = "lsa",
        confounds: Sequence[str] = (),
        categories: Sequence[str] | None = None,
        out: Array | None = None,
    ) -> Simulation:
        """Return single-trial betas of an experiment; see :func:`.experiment.simulate`.

        Parameters
        ----------
        shown : sequence of n Scene, or ndarray (n, V)
            Scenes, or their signal from :meth:`respond`.
        repetitions : int, optional
            Showings of every picture; the preset's by default.
        seed : int
            Of order and noise. Another seed gives other sessions of the same subject.
        sessions : int, optional
        estimator : {"lsa", "lss"}
        confounds : sequence of str
            ``block-drift`` and ``arousal``, which need ``categories``.
        categories : sequence of n str, optional
        out : ndarray (n_trials, V), optional
            Written to in place of a new array, for example a memory map.
        """
        signal = shown if isinstance(shown, np.ndarray) else self.respond(shown)
        return simulate(
            self,
            signal,
            repetitions=self.preset.repetitions if repetitions is None else repetitions,
            seed=seed,
            sessions=sessions,
            estimator=estimator,
            confounds=confounds,
            categories=categories,
            out=out,
        )
