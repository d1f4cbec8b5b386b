"""A virtual EEG or MEG subject: from scenes to what sensors pick up, without noise and with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.scenes import Scene, render, sample_scenes
from phosphene.data.virtual.areas import AREAS
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.early_vision import SIZE
from phosphene.data.virtual.electric.background import Background, background_spectrum
from phosphene.data.virtual.electric.conductor import (
    HEAD_RADIUS,
    RADII,
    axial_gradiometers,
    electrodes,
)
from phosphene.data.virtual.electric.presets import ELECTRIC_VERSION, get_electric_preset
from phosphene.data.virtual.electric.sensors import (
    OCCIPITAL_17,
    THINGS_63,
    electrode_directions,
    helmet_directions,
)
from phosphene.data.virtual.electric.sources import Sources, build_sources, time_courses
from phosphene.data.virtual.subject import N_REFERENCE, REFERENCE_SEED, VirtualSubject
from phosphene.errors import UsageError
from phosphene.names import check_subject
from phosphene.progress import progress
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    from phosphene.data.virtual.electric.experiment import ElectricSimulation

__all__ = ["VirtualHead"]

Array = np.ndarray[Any, Any]

HELMET_GAP = 0.02  # metres from scalp to coils
N_BACKGROUND = 400
BLINK_VOLTS = 100e-6  # at Fp1
EYES = np.array([[-0.03, 0.06, -0.035], [0.03, 0.06, -0.035]])  # metres from the centre


class VirtualHead:
    """A subject that any label determines completely, always called virtual.

    It has the cortex of the virtual fMRI subject of its label: the same receptive fields and
    tunings, before blood spreads them.

    Parameters
    ----------
    label : str
        Letters and digits, such as ``"01"``.
    preset : str
        ``eeg-63``, ``eeg-17`` or ``meg-271``.

    Raises
    ------
    UsageError
        If the label is not made of letters and digits or the preset is unknown.
    """

    def __init__(self, label: str, preset: str = "eeg-63") -> None:
        self.label = check_subject(label)
        self.preset = get_electric_preset(preset)

    def __repr__(self) -> str:
        return f"VirtualHead({self.label!r}, preset={self.preset.name!r})"

    @cached_property
    def cortex(self) -> VirtualSubject:
        """The cortex, shared with the virtual fMRI subject."""
        return VirtualSubject(self.label)

    @cached_property
    def sources(self) -> Sources:
        """Currents of the voxels."""
        return build_sources(self.label, self.cortex.anatomy)

    @cached_property
    def directions(self) -> Array:
        """Unit vectors from the head's centre to the sensors (C, 3)."""
        if self.preset.modality == "meg":
            return helmet_directions(self.preset.n_sensors)
        return electrode_directions(self._names)

    @property
    def _names(self) -> tuple[str, ...]:
        if self.preset.modality == "meg":
            return tuple(f"MV{number:03d}" for number in range(1, self.preset.n_sensors + 1))
        return THINGS_63 if self.preset.n_sensors == 63 else OCCIPITAL_17

    @property
    def info(self) -> SensorInfo:
        """Channels, rate and window of the recordings."""
        is_meg = self.preset.modality == "meg"
        radius = HEAD_RADIUS + (HELMET_GAP if is_meg else 0)
        return SensorInfo(
            self._names,
            self.preset.sfreq,
            self.preset.tmin,
            self.directions * radius,
            "T" if is_meg else "V",
            "unknown" if is_meg else "average",
        )

    def field(self, positions: Array, moments: Array, shift: Array | None = None) -> Array:
        """Return what dipoles do to the sensors (C, n_dipoles), in volts or tesla.

        Parameters
        ----------
        positions, moments : (n_dipoles, 3)
            Metres and ampere metres. EEG is referenced to the average of the 63 electrodes.
        shift : (3,), optional
            EEG: turn of the cap in radians about x, y and z. MEG: shift of the head in metres.
        """
        shift = np.zeros(3) if shift is None else shift
        if self.preset.modality == "meg":
            coils = self.directions * (HEAD_RADIUS + HELMET_GAP) - shift
            return axial_gradiometers(positions, moments, coils)
        cap = _turned(electrode_directions(THINGS_63), shift)
        potentials = electrodes(positions, moments, cap)
        potentials -= potentials.mean(axis=0)
        chosen: Array = potentials[[THINGS_63.index(name) for name in self._names]]
        return chosen

    @cached_property
    def _components(self) -> tuple[Array, Array]:
        """Weights (2, n_groups, K) and time courses (K, n_samples) that make up all responses."""
        courses, _ = time_courses(self.preset.sfreq, self.preset.on)
        flat = courses.reshape(-1, courses.shape[-1])
        u, s, vt = np.linalg.svd(flat, full_matrices=False)
        kept = int((s > 0.01 * s[0]).sum())  # a few dozen shifted courses need not as many
        return (u[:, :kept] * s[:kept]).reshape(*courses.shape[:2], kept), vt[:kept]

    @property
    def courses(self) -> Array:
        """Components of responses in time from onset on (K, n_samples)."""
        return self._components[1]

    def _topographies(self, shift: Array | None) -> Array:
        """Return what each voxel's drives add to components and sensors (2, V, K, C), unscaled."""
        sources = self.sources
        lead = self.field(sources.positions, sources.normals, shift)
        share = np.array([AREAS[number - 1].content for number in self.cortex.anatomy.area])
        mix = np.sqrt(np.stack([1 - share, share]))
        weights = self._components[0][:, sources.group] * mix[..., None]
        maps: Array = (weights[..., None] * lead.T[None, :, None]).astype(np.float32)
        return maps

    @cached_property
    def reference_drives(self) -> Array:
        """Drives of the reference scenes (256, 2, V), over which sizes are set."""
        scenes = sample_scenes(0, N_REFERENCE, seed=REFERENCE_SEED)
        return self.drives(scenes)

    @cached_property
    def _scales(self) -> tuple[float, float]:
        """Currents that give evoked responses and differences between pictures their sizes."""
        plain = self._topographies(None)
        mean = np.einsum("kc,kt->ct", plain.sum(axis=(0, 1)), self.courses)
        drives = self.reference_drives.reshape(len(self.reference_drives), -1)
        parts = drives @ plain.reshape(drives.shape[1], -1)
        parts = parts.reshape(len(drives), *plain.shape[2:])
        signal = np.einsum("nkc,kt->nct", parts, self.courses, optimize=True)
        return (
            self.preset.evoked / float(np.abs(mean).max()),
            self.preset.difference / float(signal.std(axis=0).max()),
        )

    def drives(
        self, scenes: Sequence[Scene] | None = None, images: Array | None = None, block: int = 256
    ) -> Array:
        """Return the standardised drives of every voxel (n, 2, V): early vision, then content.

        Parameters
        ----------
        scenes : sequence of n Scene, optional
            Rendered here unless ``images`` are given too.
        images : (n, 64, 64, 3) uint8, optional
            Alone, for photographs: content then stays at its mean.
        block : int
            Pictures at a time.
        """
        if scenes is None and images is None:
            raise UsageError("neither scenes nor images are given", expected="one of them or both")
        count = len(scenes) if scenes is not None else len(images if images is not None else ())
        drives = np.empty((count, 2, self.cortex.n_voxels), dtype=np.float32)
        for start in progress(range(0, count, block), label="pictures seen"):
            rows = slice(start, start + block)
            shown = scenes[rows] if scenes is not None else None
            pictures = images[rows] if images is not None else render(shown or [], SIZE).images
            drives[rows, 0], drives[rows, 1] = self.cortex.drives(shown, pictures)
        return drives

    def coefficients(self, drives: Array, shift: Array | None = None) -> tuple[Array, Array]:
        """Return responses by component and sensor: the mean (K, C) and its changes (n, K, C)."""
        plain = self._topographies(shift)
        evoked, difference = self._scales
        flat = drives.reshape(len(drives), -1) @ plain.reshape(-1, plain[0, 0].size)
        changes = (difference * flat).reshape(len(drives), *plain.shape[2:])
        return evoked * plain.sum(axis=(0, 1)), changes.astype(np.float32)

    def respond(self, drives: Array, shift: Array | None = None) -> Array:
        """Return the true signal of pictures (n, C, n_times): deviations from the mean response.

        Parameters
        ----------
        drives : (n, 2, V)
            From :meth:`drives`.
        shift : (3,), optional
            Of cap or head, see :meth:`field`.
        """
        return self.in_window(self.coefficients(drives, shift)[1])

    def in_window(self, coefficients: Array) -> Array:
        """Return responses (n, C, n_times) in the window of a trial, zero before onset."""
        before = round(-self.preset.tmin * self.preset.sfreq)
        response = np.einsum("nkc,kt->nct", coefficients, self.courses, optimize=True)
        signal = np.zeros((*response.shape[:2], self.preset.n_times), dtype=np.float32)
        length = min(self.preset.n_times - before, response.shape[2])
        signal[:, :, before : before + length] = response[:, :, :length]
        return signal

    def background(self, shift: Array | None = None) -> Background:
        """Return the noise at one place of the sensors."""
        preset, stream = self.preset, Stream("virtual-electric", ELECTRIC_VERSION, self.label, "bg")
        brain = RADII[0] * HEAD_RADIUS
        outwards = stream.normal(N_BACKGROUND, 3)
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        outwards[:, 2] = np.where(outwards[:, 2] < -0.4, -outwards[:, 2], outwards[:, 2])
        depth = brain * (0.4 + 0.55 * stream.uniform(N_BACKGROUND, 1))
        lead = self.field(outwards * depth, stream.normal(N_BACKGROUND, 3), shift)
        spatial = lead @ lead.T
        spatial /= np.trace(spatial) / len(spatial)
        if preset.modality == "meg":
            frequencies = np.linspace(0, preset.sfreq / 2, 4096)
            band = float(background_spectrum(frequencies).mean() * preset.sfreq / 2)
            size, own = preset.background**2 * band, preset.private**2 * band
        else:
            size = preset.background**2 * (1 - preset.private)
            own = preset.background**2 * preset.private
        rhythm = self.field(self.sources.positions, self.sources.normals, shift)
        alpha = rhythm @ rhythm.T
        return Background(
            size * spatial + own * np.eye(len(spatial)),
            preset.alpha**2 * alpha / np.diag(alpha).max(),
            self._blink(shift),
            preset.sfreq,
        )

    def _blink(self, shift: Array | None) -> Array:
        moments = np.array([[0.0, 1.0, 0.0]] * 2)  # the eye is positive in front
        at_fp1 = electrodes(EYES, moments, electrode_directions(THINGS_63))
        at_fp1 -= at_fp1.mean(axis=0)
        size = BLINK_VOLTS / at_fp1[THINGS_63.index("Fp1")].sum()
        blink: Array = self.field(EYES, size * moments, shift).sum(axis=1)
        return blink

    def simulate(
        self,
        shown: Sequence[Scene] | Array,
        *,
        repetitions: int | None = None,
        seed: int = 0,
        sessions: int | None = None,
    ) -> ElectricSimulation:
        """Return the epochs of an experiment; see :func:`.experiment.simulate_electric`.

        Parameters
        ----------
        shown : sequence of n Scene, or ndarray (n, 2, V)
            Scenes, or their drives from :meth:`drives`.
        repetitions : int, optional
            Showings of every picture; the preset's by default.
        seed : int
            Of order and noise. Another seed gives other sessions of the same subject.
        sessions : int, optional
        """
        from phosphene.data.virtual.electric.experiment import simulate_electric

        drives = shown if isinstance(shown, np.ndarray) else self.drives(shown)
        return simulate_electric(
            self,
            drives,
            repetitions=self.preset.repetitions if repetitions is None else repetitions,
            seed=seed,
            sessions=sessions,
        )


def _turned(directions: Array, angles: Array) -> Array:
    """Rotate unit vectors about x, y and z by small angles."""
    from scipy.spatial.transform import Rotation

    turned: Array = Rotation.from_rotvec(angles).apply(directions)
    return turned
