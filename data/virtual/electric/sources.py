"""Cortical sources: where the voxels' currents are, which way they point, when they flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.virtual.anatomy import Anatomy, smoothing_kernel
from phosphene.data.virtual.areas import AREA_NAMES
from phosphene.data.virtual.draws import Stream
from phosphene.data.virtual.electric.conductor import HEAD_RADIUS, RADII
from phosphene.data.virtual.electric.presets import ELECTRIC_VERSION

__all__ = ["LATENCIES", "Sources", "build_sources", "time_courses"]

Array = np.ndarray[Any, Any]

HEAD_CENTRE = np.array([0.0, -20.0, 5.0])  # mm, in the grid of the virtual fMRI subjects
DEEPEST_SHARE = 0.95  # of the brain's radius, for the voxel nearest to the skull
LATENCIES = {
    "V1": 0.075, "V2": 0.085, "V3": 0.095, "hV4": 0.130, "LO": 0.150, "face": 0.165,
    "place": 0.170,
}  # fmt: skip
"""Peak of the first response to what early filters see, in seconds after onset."""
CONTENT_DELAY = 0.035  # tuning to content comes later than what drives it
JITTER = 0.012  # SD over voxels, seconds
SHIFTS = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])  # in JITTER; a library, not a continuum
FOLDING = 0.8  # size of the bends of the sheet relative to its normal
FOLD_WIDTH = 12.0  # mm, FWHM


@dataclass(frozen=True, eq=False)
class Sources:
    """Currents of one subject.

    Attributes
    ----------
    positions : (V, 3)
        Metres from the centre of the head.
    normals : (V, 3)
        Unit vectors out of the cortical sheet, folds included.
    latency : (V,)
        Of the early response in seconds.
    group : (V,) int
        Which time course of :func:`time_courses` a voxel has.
    """

    positions: Array
    normals: Array
    latency: Array
    group: Array


def build_sources(label: str, anatomy: Anatomy) -> Sources:
    """Return the sources of the subject of that label."""
    stream = Stream("virtual-electric", ELECTRIC_VERSION, label, "sources")
    centred = anatomy.positions - HEAD_CENTRE
    scale = DEEPEST_SHARE * RADII[0] * HEAD_RADIUS / np.linalg.norm(centred, axis=1).max()
    normals = _sheet_normals(anatomy)
    kernel = smoothing_kernel(anatomy.positions, anatomy.positions, FOLD_WIDTH)
    kernel /= np.linalg.norm(kernel, axis=1, keepdims=True)
    normals = normals + FOLDING * (kernel @ stream.normal(anatomy.n_voxels, 3))
    # The banks of the calcarine sulcus face each other: the upper field lies on the lower bank.
    v1 = anatomy.area == AREA_NAMES.index("V1") + 1
    normals[v1] = 0.5 * normals[v1]
    normals[v1, 2] += np.sign(anatomy.rf_y[v1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    shift = np.clip(np.rint(stream.normal(anatomy.n_voxels) / 0.5).astype(int) + 3, 0, 6)
    early = np.array([LATENCIES[name] for name in AREA_NAMES])[anatomy.area - 1]
    group = (anatomy.area - 1) * len(SHIFTS) + shift
    return Sources(centred * scale, normals, early + JITTER * SHIFTS[shift], group)


def _sheet_normals(anatomy: Anatomy) -> Array:
    """Return the normals of the smooth sheet: a cap behind, a tube in front of it."""
    middle = np.array([[-28.5, -73.0, 4.0], [28.5, -73.0, 4.0]])[anatomy.hemisphere]
    offset = anatomy.positions - middle
    offset[:, 1] = np.minimum(offset[:, 1], 0)
    normals: Array = offset / np.linalg.norm(offset, axis=1, keepdims=True)
    return normals


def time_courses(sfreq: float, on: float, duration: float = 0.8) -> tuple[Array, Array]:
    """Return the responses in time of all groups, (2, n_groups, n_samples) for early and content.

    A first peak, an opposite one 60 ms later, a decaying rest, and a weaker answer to the
    picture's end. Each has a largest value of about 1.

    Parameters
    ----------
    sfreq : float
        Hertz.
    on : float
        Seconds the picture is shown.
    duration : float
        Seconds from onset.

    Returns
    -------
    courses : ndarray of shape (2, n_groups, n_samples)
    times : ndarray of shape (n_samples,)
    """
    times = np.arange(round(duration * sfreq)) / sfreq
    starts = np.array(
        [latency + JITTER * shift for latency in LATENCIES.values() for shift in SHIFTS]
    )
    courses = np.stack(
        [
            np.stack([_course(times, start + delay, width, on) for start in starts])
            for delay, width in ((0.0, 1.0), (CONTENT_DELAY, 1.5))
        ]
    )
    return courses, times


def _course(times: Array, peak: float, width: float, on: float) -> Array:
    def bump(at: float, sd: float) -> Array:
        shape: Array = np.exp(-0.5 * ((times - at) / (sd * width)) ** 2)
        return shape

    since = np.maximum(times - peak, 0)
    rest = 0.35 * np.exp(-since / 0.12) * (1 - np.exp(-since / 0.03)) * (times > peak)
    # Nothing flows before the first volley has arrived.
    gate = 1 / (1 + np.exp(-(times - 0.045) / 0.004))
    course: Array = gate * (
        bump(peak, 0.016)
        - 0.7 * bump(peak + 0.06, 0.025)
        + rest
        + 0.3 * bump(peak + on + 0.01, 0.02)
    )
    return course
