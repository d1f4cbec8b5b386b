"""Parameters of the visual areas and of the scanners.

Values follow the literature cited in ``docs/virtual_subjects.md``; they were set before any
decoder saw a virtual subject and belong to :data:`VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass

from phosphene.errors import check_option

__all__ = ["AREAS", "AREA_NAMES", "PRESETS", "VERSION", "Area", "Preset", "get_preset"]

VERSION = "1"
"""Changes whenever a subject of any label would respond otherwise."""

PICTURE_DEGREES = 8.4
"""Side of the square picture in degrees of visual angle; fixation is at its centre."""


@dataclass(frozen=True)
class Area:
    """One visual area.

    Attributes
    ----------
    name : str
    sigma, sigma_slope : float
        Receptive-field sigma in degrees is ``sigma + sigma_slope * eccentricity``.
    exponent : float
        Of the compressive summation over the receptive field.
    energy, luminance, colour : float
        Mean shares of contrast energy, signed luminance and colour opponency.
    frequency : float
        Preferred spatial frequency at the fovea in cycles per degree.
    content : float
        Share of the signal's variance that is tuning to what the scene contains.
    """

    name: str
    sigma: float
    sigma_slope: float
    exponent: float
    energy: float
    luminance: float
    colour: float
    frequency: float
    content: float


AREAS = (
    Area("V1", 0.3, 0.10, 0.50, 0.50, 0.25, 0.25, 4.0, 0.0),
    Area("V2", 0.4, 0.15, 0.40, 0.50, 0.22, 0.28, 3.0, 0.0),
    Area("V3", 0.5, 0.22, 0.33, 0.55, 0.22, 0.23, 2.2, 0.0),
    Area("hV4", 0.8, 0.35, 0.25, 0.35, 0.15, 0.50, 2.2, 0.3),
    Area("LO", 1.5, 0.50, 0.20, 0.70, 0.15, 0.15, 2.0, 0.7),
    Area("face", 1.5, 0.50, 0.20, 0.70, 0.15, 0.15, 2.5, 0.9),
    Area("place", 3.0, 0.50, 0.20, 0.60, 0.25, 0.15, 1.5, 0.8),
)
"""The labels in the atlas are 1 to 7 in this order. ``face`` and ``place`` are face-like and
place-like in position and selectivity for configurations and layout; no scene has a face."""

AREA_NAMES = tuple(area.name for area in AREAS)


@dataclass(frozen=True)
class Preset:
    """A scanner with its protocol.

    Attributes
    ----------
    name : str
    tr : float
        Seconds between volumes.
    point_spread : float
        Full width at half maximum of the blood response across cortex, in millimetres.
    ncsnr : float
        Median over voxels of signal SD / noise SD of a single trial.
    repetitions : int
        Showings of every picture unless told otherwise.
    independent : bool
        Noise of all voxels independent. Unrealistic: decoding becomes trivial.
    """

    name: str
    tr: float
    point_spread: float
    ncsnr: float
    repetitions: int
    independent: bool = False


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("nsd-7t", 1.6, 2.0, 0.42, 3),
        Preset("lab-3t", 1.5, 3.5, 0.20, 1),
        Preset("independent", 1.6, 2.0, 0.42, 3, independent=True),
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset of that name; an unknown one is an error that lists them all."""
    return PRESETS[check_option("preset", name, PRESETS)]
