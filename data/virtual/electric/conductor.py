"""What current dipoles in a spherical head do to electrodes and to magnetometers.

EEG: concentric shells of different conductivity, the series in Legendre polynomials with its
coefficients from the continuity of potential and current at every shell. MEG: Sarvas (1987),
which depends on no conductivity. Both are checked against MNE in the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CONDUCTIVITIES", "HEAD_RADIUS", "RADII", "axial_gradiometers", "electrodes"]

Array = np.ndarray[Any, Any]

HEAD_RADIUS = 0.095  # metres
RADII = (0.87, 0.92, 1.0)  # brain, skull, scalp, relative to the head
CONDUCTIVITIES = (0.33, 0.0066, 0.33)  # siemens per metre
TERMS = 120
MU0 = 4e-7 * np.pi


def _shell_gains(degrees: Array, radii: tuple[float, ...], sigma: tuple[float, ...]) -> Array:
    """Return by how much every degree of the potential reaches the surface, (n_terms,).

    From the surface inwards: no current leaves it, which fixes the ratio of the growing to the
    decaying part; at every shell the parts inside follow from those outside. What is left of the
    decaying part in the innermost shell is what the source makes.
    """
    n = degrees
    growing, decaying = (n + 1) / n, np.ones_like(n)
    for shell in range(len(radii) - 2, -1, -1):
        ratio, rho = sigma[shell + 1] / sigma[shell], radii[shell]
        a, b = growing * rho**n, decaying * rho ** -(n + 1)
        potential, flux = a + b, ratio * (n * a - (n + 1) * b)
        inner = (n * potential - flux) / (2 * n + 1)
        growing, decaying = (potential - inner) * rho**-n, inner * rho ** (n + 1)
    gains: Array = (2 * n + 1) / n / decaying
    return gains


def electrodes(
    positions: Array,
    moments: Array,
    directions: Array,
    *,
    head_radius: float = HEAD_RADIUS,
    radii: tuple[float, ...] = RADII,
    conductivities: tuple[float, ...] = CONDUCTIVITIES,
    terms: int = TERMS,
) -> Array:
    """Return potentials (n_electrodes, n_dipoles) in volts, with no reference.

    Parameters
    ----------
    positions : (n_dipoles, 3)
        Metres from the centre of the head, inside the innermost shell.
    moments : (n_dipoles, 3)
        Ampere metres.
    directions : (n_electrodes, 3)
        Unit vectors; electrodes lie on the outermost shell.
    head_radius : float
    radii, conductivities : tuple of float
        From the innermost shell outwards; radii relative to the head.
    terms : int
        Of the series.
    """
    depth = np.linalg.norm(positions, axis=1)
    outwards = positions / depth[:, None]
    x = directions @ outwards.T  # cosine between electrode and dipole
    radial = np.sum(moments * outwards, axis=1)
    tangential = directions @ moments.T - x * radial
    degrees = np.arange(1, terms + 1, dtype=np.float64)
    gains = _shell_gains(degrees, radii, conductivities)
    share = depth / head_radius
    total = np.zeros_like(x)
    before, now = np.ones_like(x), x.copy()  # Legendre polynomials of degree n - 1 and n
    slope_before, slope = np.zeros_like(x), np.ones_like(x)
    for n, gain in zip(degrees, gains, strict=True):
        total += gain * share ** (n - 1) * (n * radial * now + tangential * slope)
        following = ((2 * n + 1) * x * now - n * before) / (n + 1)
        slope_following = slope_before + (2 * n + 1) * now
        before, now, slope_before, slope = now, following, slope, slope_following
    potentials: Array = total / (4 * np.pi * conductivities[0] * head_radius**2)
    return potentials


def _radial_field(positions: Array, moments: Array, sensors: Array) -> Array:
    """Return the field along the sensors' own direction (n_sensors, n_dipoles) in tesla."""
    r = np.linalg.norm(sensors, axis=1)[:, None]
    apart = sensors[:, None] - positions[None]
    a = np.linalg.norm(apart, axis=2)
    along = np.einsum("sdk,sk->sd", apart, sensors)
    inner = sensors @ positions.T
    f = a * (r * a + r**2 - inner)
    gradient = (a**2 / r + along / a + 2 * a + 2 * r)[..., None] * sensors[:, None] - (
        a + 2 * r + along / a
    )[..., None] * positions[None]
    cross = np.cross(moments, positions)
    through = sensors @ cross.T
    field = f[..., None] * cross[None] - through[..., None] * gradient
    radial: Array = MU0 / (4 * np.pi) * np.einsum("sdk,sk->sd", field, sensors / r) / f**2
    return radial


def axial_gradiometers(
    positions: Array, moments: Array, sensors: Array, *, baseline: float = 0.05
) -> Array:
    """Return the difference of the radial field between two coils (n_sensors, n_dipoles), tesla.

    Parameters
    ----------
    positions : (n_dipoles, 3)
        Metres from the centre of the head.
    moments : (n_dipoles, 3)
        Ampere metres.
    sensors : (n_sensors, 3)
        Of the inner coil, metres from the centre; the outer one lies behind it.
    baseline : float
        Metres between the coils.
    """
    outer = sensors * (1 + baseline / np.linalg.norm(sensors, axis=1, keepdims=True))
    difference: Array = _radial_field(positions, moments, sensors) - _radial_field(
        positions, moments, outer
    )
    return difference
