"""Cortex of a virtual subject: a folded sheet in a voxel grid, its areas and receptive fields.

Each hemisphere's occipital lobe is a cap that continues as a tube towards the front. The pole
of the cap is the fovea: distance from it along the surface is the logarithm of eccentricity,
the angle around the axis runs through V1 (medial), V2, V3 and hV4 (below) or LO (lateral).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.virtual.areas import AREA_NAMES, AREAS, VERSION
from phosphene.data.virtual.draws import Stream
from phosphene.types import VoxelSpace

__all__ = [
    "Anatomy",
    "Sheet",
    "build_anatomy",
    "cortical_sheets",
    "distances",
    "grid_affine",
    "smoothing_kernel",
]

Array = np.ndarray[Any, Any]

GRID_SHAPE = (62, 32, 36)
VOXEL_SIZE = 2.0
ORIGIN = (-61.0, -107.0, -32.0)
THICKNESS = 2.8
RADIUS = 25.0
POLE = -98.0
MAGNIFICATION = 17.3  # mm/deg at eccentricity E: MAGNIFICATION / (E + FOVEAL_SCALE)
FOVEAL_SCALE = 0.75
LARGEST_ECCENTRICITY = 4.8
# Shares of what V1 leaves of the circumference; V2 and V3 have a lower and an upper half.
BANDS = {"V2": 0.18, "V3": 0.13, "hV4": 0.17, "LO": 0.21}


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Voxels of one subject in C order of the grid.

    Attributes
    ----------
    space : VoxelSpace
    positions : (V, 3)
        Millimetres, x to the right, y to the front, z up.
    area : (V,) int
        1 to 7, numbers of :data:`AREA_NAMES`.
    hemisphere : (V,) int
        0 left, 1 right.
    rf_x, rf_y, rf_sigma : (V,)
        Receptive field in degrees; x to the right, y up.
    exponent : (V,)
    """

    space: VoxelSpace
    positions: Array
    area: Array
    hemisphere: Array
    rf_x: Array
    rf_y: Array
    rf_sigma: Array
    exponent: Array

    @property
    def n_voxels(self) -> int:
        """Number of voxels V."""
        return self.space.n_voxels

    @property
    def affine(self) -> Array:
        """Voxel to millimetres (4, 4)."""
        return grid_affine()

    @property
    def area_names(self) -> Array:
        """Name of each voxel's area (V,)."""
        names: Array = np.array(AREA_NAMES)[self.area - 1]
        return names

    @property
    def eccentricity(self) -> Array:
        """Degrees from fixation (V,)."""
        return np.hypot(self.rf_x, self.rf_y)


def grid_affine() -> Array:
    """Return the affine of the grid, voxel to millimetres (4, 4); the same for all subjects."""
    affine = np.diag([VOXEL_SIZE] * 3 + [1.0])
    affine[:3, 3] = ORIGIN
    return affine


@dataclass(frozen=True, eq=False)
class Sheet:
    """One hemisphere's cortex: where each point of the grid lies on it.

    Attributes
    ----------
    side : int
        0 left, 1 right.
    radius : float
        Of the cap, in millimetres.
    bands : dict of str to float
        Shares of the circumference.
    s, phi : (n_points,)
        Distance from the pole (mm) and angle around the axis, see :func:`cortical_sheets`.
    inside : (n_points,) bool
        Whether the point is in the sheet of this side.
    """

    side: int
    radius: float
    bands: dict[str, float]
    s: Array
    phi: Array
    inside: Array


def cortical_sheets(label: str) -> tuple[Array, tuple[Sheet, ...], Stream]:
    """Return the points of the grid (n, 3) in mm, both sheets, and the stream that drew them.

    The angle is 0 at the medial side, positive upwards, pi at the lateral side.
    """
    stream = Stream("virtual-fmri", VERSION, label, "anatomy")
    grid = np.stack(np.meshgrid(*map(np.arange, GRID_SHAPE), indexing="ij"), axis=-1)
    points = grid.reshape(-1, 3) * VOXEL_SIZE + np.array(ORIGIN)
    radius = RADIUS * (1 + 0.04 * (2 * stream.uniform(2) - 1))
    sheets = []
    for side in (0, 1):
        bands = {name: share * (0.9 + 0.2 * stream.uniform(1)[0]) for name, share in BANDS.items()}
        on_side = (points[:, 0] < 0) if side == 0 else (points[:, 0] >= 0)
        s, phi, inside = _surface_coordinates(points, side, radius[side], stream)
        sheets.append(Sheet(side, float(radius[side]), bands, s, phi, on_side & inside))
    return points, tuple(sheets), stream


def build_anatomy(label: str) -> Anatomy:
    """Return the anatomy of the subject of that label."""
    points, sheets, stream = cortical_sheets(label)
    area = np.zeros(len(points), dtype=np.int64)
    eccentricity, angle = np.zeros(len(points)), np.zeros(len(points))
    for sheet in sheets:
        found, e, theta = _retinotopy(sheet.s, sheet.phi, sheet.radius, sheet.bands)
        chosen = sheet.inside & (found > 0)
        area[chosen] = found[chosen]
        eccentricity[chosen] = e[chosen]
        # The left hemisphere sees the right half of the field.
        angle[chosen] = theta[chosen] if sheet.side == 0 else np.pi - theta[chosen]
    indices = np.flatnonzero(area)
    space = VoxelSpace(GRID_SHAPE, indices, grid_affine())
    fields = _receptive_fields(area[indices], eccentricity[indices], angle[indices], stream)
    positions = points[indices]
    hemisphere = (positions[:, 0] >= 0).astype(np.int64)
    return Anatomy(space, positions, area[indices], hemisphere, *fields)


def _surface_coordinates(
    points: Array, side: int, radius: float, stream: Stream
) -> tuple[Array, Array, Array]:
    """Return distance from the pole (mm), angle around the axis and whether inside the sheet.

    The angle is 0 at the medial side, positive upwards, pi at the lateral side.
    """
    sign = -1.0 if side == 0 else 1.0
    centre = np.array([sign * (radius + 3.5), POLE + radius, 4.0])
    offset = points - centre
    across = np.hypot(offset[:, 0], offset[:, 2])
    phi = np.arctan2(offset[:, 2], -sign * offset[:, 0])
    behind = offset[:, 1] < 0
    polar = np.arctan2(across, -offset[:, 1])
    s = np.where(behind, radius * polar, radius * np.pi / 2 + offset[:, 1])
    height = np.where(behind, np.hypot(across, offset[:, 1]), across) - radius
    # Folds: a few plane waves some 25 mm long bend the sheet by about a millimetre.
    directions, phases = stream.normal(4, 3), stream.uniform(4) * 2 * np.pi
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    height -= 0.7 * np.cos(points @ directions.T * (2 * np.pi / 25) + phases).sum(axis=1)
    return s, phi, np.abs(height) < THICKNESS / 2


def _retinotopy(
    s: Array, phi: Array, radius: float, bands: dict[str, float]
) -> tuple[Array, Array, Array]:
    """Return area number, eccentricity (deg) and polar angle of the right field (rad, up > 0)."""
    eccentricity = FOVEAL_SCALE * (np.exp(np.minimum(s, 60) / MAGNIFICATION) - 1)
    circumference = 2 * np.pi * radius * np.sin(np.minimum(s / radius, np.pi / 2))
    # Half the width of V1 is pi/2 times eccentricity times magnification.
    v1 = np.pi**2 * MAGNIFICATION * (1 - np.exp(-s / MAGNIFICATION)) / np.maximum(circumference, 1)
    v1 = np.minimum(v1, 0.5 * np.pi)
    rest = 2 * np.pi - 2 * v1
    area, theta = np.zeros(len(s), dtype=np.int64), np.zeros(len(s))
    quarter, distance = np.pi / 2, np.abs(phi)
    field = np.where(phi < 0, 1.0, -1.0)  # below the calcarine sulcus lies the upper field
    retinotopic = eccentricity <= LARGEST_ECCENTRICITY

    def fill(name: str, where: Array, value: Array) -> None:
        area[where] = AREA_NAMES.index(name) + 1
        theta[where] = value[where]

    fill("V1", retinotopic & (distance <= v1), field * quarter * distance / v1)
    along = (distance - v1) / rest
    v2, v3 = bands["V2"], bands["V2"] + bands["V3"]
    outside = retinotopic & (along > 0)
    fill("V2", outside & (along <= v2), field * quarter * (1 - along / v2))
    second = (along - v2) / bands["V3"]
    fill("V3", outside & (second > 0) & (second <= 1), field * quarter * second)
    for name, lower in (("hV4", True), ("LO", False)):
        third = (along - v3) / bands[name]
        where = outside & (third > 0) & (third <= 1) & ((phi < 0) == lower)
        fill(name, where, field * quarter * (1 - 2 * third))
    below, depth = np.degrees(-phi), s - radius * np.pi / 2
    fill("place", (below > 40) & (below < 86) & (depth > 1) & (depth < 19), np.zeros_like(s))
    fill("face", (below > 92) & (below < 140) & (depth > 1) & (depth < 15), np.zeros_like(s))
    return area, eccentricity, theta


def _receptive_fields(
    area: Array, eccentricity: Array, angle: Array, stream: Stream
) -> tuple[Array, Array, Array, Array]:
    """Return x, y, sigma and exponent; neighbours scatter around the map."""
    n = len(area)
    x, y = eccentricity * np.cos(angle), eccentricity * np.sin(angle)
    free = area >= AREA_NAMES.index("face") + 1
    spread = np.where(area == AREA_NAMES.index("face") + 1, 0.8, 1.6)
    contralateral = np.sign(np.cos(angle))
    x = np.where(free, spread * (stream.normal(n) + 0.7 * contralateral), x)
    y = np.where(free, spread * stream.normal(n), y)
    slope, base, exponent = (
        np.array([getattr(one, name) for one in AREAS])[area - 1]
        for name in ("sigma_slope", "sigma", "exponent")
    )
    sigma = base + slope * np.hypot(x, y)
    scatter = np.where(free, 0.0, 0.25) * sigma
    x, y = x + scatter * stream.normal(n), y + scatter * stream.normal(n)
    sigma = sigma * np.exp(0.15 * stream.normal(n))
    exponent = exponent * np.exp(0.1 * stream.normal(n))
    return x, y, sigma, exponent


def distances(a: Array, b: Array) -> Array:
    """Return distances in millimetres (n_a, n_b) between two sets of positions."""
    squared = sum((a[:, None, k] - b[None, :, k]) ** 2 for k in range(a.shape[1]))
    apart: Array = np.sqrt(squared)
    return apart


def smoothing_kernel(a: Array, b: Array, width: float) -> Array:
    """Return Gaussian weights (n_a, n_b) of full width at half maximum ``width`` (mm)."""
    sigma = width / np.sqrt(8 * np.log(2))
    weights: Array = np.exp(-0.5 * (distances(a, b) / sigma) ** 2)
    # Subnormal numbers in the tails would make every later product slow.
    weights[weights < 1e-6] = 0
    return weights
