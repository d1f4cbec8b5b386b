"""What a picture does to early visual cortex, from its pixels alone.

Contrast energy of quadrature filters (4 orientations x 4 scales) under divisive normalisation,
luminance above and below the grey of the screen, and both directions of two colour-opponent
axes: 22 channels that are never negative, on 32 x 32 places. A voxel sums them over its
receptive field and compresses the sum (compressive spatial summation, Kay et al. 2013).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from phosphene.data.virtual.anatomy import Anatomy
from phosphene.data.virtual.areas import AREAS, PICTURE_DEGREES, VERSION
from phosphene.data.virtual.draws import Stream
from phosphene.errors import InputError

__all__ = [
    "FREQUENCIES",
    "N_CHANNELS",
    "ORIENTATIONS",
    "EarlyVision",
    "analytic_responses",
    "channels",
    "energy_nearby",
    "lightness_of",
    "receptive_field_weights",
]

Array = np.ndarray[Any, Any]

SIZE, PADDED, PLACES = 64, 96, 32
PIXEL = PICTURE_DEGREES / SIZE
ORIENTATIONS = np.arange(4) * np.pi / 4
FREQUENCIES = 0.5 * 12 ** (np.arange(4) / 3)
"""0.5 to 6 cycles per degree. A 64-pixel picture holds nothing above 3.8 along its axes, so the
finest channel sees the lower flank of its band."""
BANDWIDTH = 0.55  # octaves, SD of the log-Gaussian
TUNING_WIDTH = np.radians(22)  # SD over orientation
SEMISATURATION = 0.004
POOL_DEGREES = 0.6
N_CHANNELS = len(FREQUENCIES) * len(ORIENTATIONS) + 6


def channels(images: Array, gaze: Array | None = None) -> Array:
    """Return the channels of pictures (n, 22, 32, 32) float32.

    Parameters
    ----------
    images : (n, 64, 64, 3) uint8
    gaze : (n, 2), optional
        Where the eyes are relative to the centre, degrees right and up. The picture moves the
        other way on the retina.

    Raises
    ------
    InputError
        If the pictures have another shape or type.
    """
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3) or images.dtype != np.uint8:
        raise InputError(
            f"pictures of shape {images.shape} and type {images.dtype}",
            expected=f"(n, {SIZE}, {SIZE}, 3) uint8",
            remedy="resize them and save them as 8-bit RGB",
        )
    rgb = images.astype(np.float32) / 255
    if gaze is not None:
        rgb = _moved(rgb, gaze)
    lightness = lightness_of(rgb)
    red_green = rgb[..., 0] - rgb[..., 1]
    blue_yellow = rgb[..., 2] - (rgb[..., 0] + rgb[..., 1]) / 2
    energy = _contrast_energy(lightness)
    signed = [_halved(plane) for plane in (lightness, red_green, blue_yellow)]
    rectified = [np.maximum(sign * plane, 0) for plane in signed for sign in (1, -1)]
    normalised = energy / energy_nearby(energy)
    return np.concatenate([normalised, np.stack(rectified, axis=1)], axis=1)


def lightness_of(rgb: Array) -> Array:
    """Return how much lighter than the screen's grey pictures (n, H, W, 3) in 0..1 are."""
    lightness: Array = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32) - 0.5
    return lightness


def _moved(rgb: Array, gaze: Array) -> Array:
    """Shift every picture by whole pixels against the gaze; the screen around it is grey."""
    moved = np.full_like(rgb, 0.5)
    for picture, target, (right, up) in zip(rgb, moved, gaze, strict=True):
        dx, dy = -round(float(right) / PIXEL), round(float(up) / PIXEL)
        rows = slice(max(dy, 0), SIZE + min(dy, 0)), slice(max(-dy, 0), SIZE + min(-dy, 0))
        cols = slice(max(dx, 0), SIZE + min(dx, 0)), slice(max(-dx, 0), SIZE + min(-dx, 0))
        target[rows[0], cols[0]] = picture[rows[1], cols[1]]
    return moved


def _halved(plane: Array) -> Array:
    halved: Array = plane.reshape(len(plane), PLACES, 2, PLACES, 2).mean(axis=(2, 4))
    return halved


@cache
def _filters() -> list[tuple[Array, Array, Array]]:
    """Return window rows, window columns and gains of each filter in the padded spectrum.

    An analytic filter covers a window of frequencies. The squared envelope does not change
    when the window is moved to the origin, so a small inverse transform gives the energy on
    every second pixel at once.
    """
    window = PADDED // 2
    step = 1 / (PADDED * PIXEL)
    offsets = np.arange(-window // 2, window // 2)
    filters = []
    for frequency in FREQUENCIES:
        for orientation in ORIENTATIONS:
            # Orientation is that of the bars; the frequency vector is perpendicular to it.
            direction = -np.array([np.cos(orientation), np.sin(orientation)])  # rows, columns
            centre = np.round(min(frequency, 2.9) / step * direction).astype(int)
            rows, columns = centre[0] + offsets, centre[1] + offsets
            fy, fx = rows[:, None] * step, columns[None, :] * step
            radius = np.maximum(np.hypot(fx, fy), 1e-6)
            cosine = np.clip((fy * direction[0] + fx * direction[1]) / radius, -1, 1)
            gain = np.exp(-0.5 * (np.log2(radius / frequency) / BANDWIDTH) ** 2)
            gain *= np.exp(-0.5 * (np.arccos(cosine) / TUNING_WIDTH) ** 2)
            limit = np.abs(np.stack(np.broadcast_arrays(rows[:, None], columns[None])))
            gain *= (limit < window).all(axis=0)
            # Half a pixel of shift puts the samples in the middle of 2 x 2 pixels.
            phase = np.exp(1j * np.pi * PIXEL * (fy + fx))
            filters.append((rows % PADDED, columns % PADDED, (gain * phase).astype(np.complex64)))
    return filters


def analytic_responses(lightness: Array) -> Array:
    """Return what quadrature pairs of all filters answer (n, 16, 32, 32) complex64.

    The phase is relative to each filter's own wave at that place: how it turns from one frame to
    the next is how far the picture has moved along the wave.

    Parameters
    ----------
    lightness : (n, 64, 64) float32
        Relative to the grey of the screen.
    """
    from scipy import fft

    border = (PADDED - SIZE) // 2
    padded = np.pad(lightness, ((0, 0), (border, border), (border, border)))
    spectrum = fft.fft2(padded.astype(np.float32), workers=2)
    inner = slice(border // 2, border // 2 + PLACES)
    answers = np.empty((len(lightness), len(_filters()), PLACES, PLACES), dtype=np.complex64)
    for index, (rows, columns, gain) in enumerate(_filters()):
        windowed = spectrum[:, rows[:, None], columns[None, :]] * gain
        answers[:, index] = fft.ifft2(windowed, workers=2)[:, inner, inner] / 4
    return answers


def _contrast_energy(lightness: Array) -> Array:
    """Return squared envelopes of all filters (n, 16, 32, 32)."""
    answers = analytic_responses(lightness)
    energy: Array = 4 * (answers.real**2 + answers.imag**2)
    return energy


def energy_nearby(energy: Array) -> Array:
    """Return what energy is divided by (n, 1, 32, 32), over all orientations and scales."""
    places = np.arange(PLACES) * 2 * PIXEL
    pool = np.exp(-0.5 * ((places[:, None] - places[None]) / POOL_DEGREES) ** 2)
    pool = (pool / pool.sum(axis=1, keepdims=True)).astype(np.float32)
    nearby: Array = SEMISATURATION + (pool @ energy.mean(axis=1) @ pool.T)[:, None]
    return nearby


class EarlyVision:
    """Pooling of the channels by the voxels of one subject.

    Parameters
    ----------
    label : str
        Of the subject.
    anatomy : Anatomy
    """

    def __init__(self, label: str, anatomy: Anatomy) -> None:
        stream = Stream("virtual-fmri", VERSION, label, "early vision")
        self.exponent = anatomy.exponent.astype(np.float32)
        self.weights = _channel_weights(anatomy, stream)
        self.receptive_fields = receptive_field_weights(
            anatomy.rf_x, anatomy.rf_y, anatomy.rf_sigma
        )

    def drive(self, images: Array, gaze: Array | None = None, *, block: int = 64) -> Array:
        """Return the compressed drive of every voxel (n, V) float32, in no unit yet.

        Parameters
        ----------
        images : (n, 64, 64, 3) uint8
        gaze : (n, 2), optional
            Degrees right and up.
        block : int
            Pictures at a time; bounds the memory.
        """
        drive = np.empty((len(images), len(self.exponent)), dtype=np.float32)
        for start in range(0, len(images), block):
            rows = slice(start, start + block)
            maps = channels(images[rows], None if gaze is None else gaze[rows])
            maps = maps.reshape(-1, PLACES * PLACES)
            pooled = (maps @ self.receptive_fields).reshape(-1, N_CHANNELS, len(self.exponent))
            summed = np.einsum("ncv,cv->nv", pooled, self.weights)
            drive[rows] = summed**self.exponent
        return drive


def receptive_field_weights(x: Array, y: Array, sigma: Array) -> Array:
    """Return Gaussian weights (1024, V) that sum to 1 over the whole visual field.

    Parameters
    ----------
    x, y, sigma : (V,)
        Degrees right and up of the centre, and width.
    """
    centres = (np.arange(PLACES) - (PLACES - 1) / 2) * 2 * PIXEL
    in_x = np.exp(-0.5 * ((centres[:, None] - x) / sigma) ** 2)
    in_y = np.exp(-0.5 * ((-centres[:, None] - y) / sigma) ** 2)
    cell = (2 * PIXEL) ** 2 / (2 * np.pi * sigma**2)
    weights = in_y[:, None] * in_x[None] * cell
    # Far tails would be subnormal numbers, which processors multiply a hundred times slower.
    weights[weights < 1e-9] = 0
    return weights.reshape(PLACES * PLACES, -1).astype(np.float32)


# Typical means over scenes make the shares of an area comparable. Scenes are smoother than
# photographs; gain control per scale makes up for it, less so for the finest.
TYPICAL_ENERGY = np.array([0.37, 0.20, 0.09, 0.03])
TYPICAL = {"luminance": 0.09, "colour": 0.06}


def _channel_weights(anatomy: Anatomy, stream: Stream) -> Array:
    """Return weights (22, V): tuning to scale, weakly to orientation, sign of light and colour."""
    n = anatomy.n_voxels
    areas = [AREAS[number - 1] for number in anatomy.area]
    preferred = np.array([area.frequency for area in areas]) / (1 + 0.45 * anatomy.eccentricity)
    preferred *= np.exp(0.3 * stream.normal(n))
    scale = np.exp(-0.5 * np.log2(FREQUENCIES[:, None] / preferred) ** 2)
    best = np.pi * stream.uniform(n)
    orientation = 1 + 0.5 * np.cos(2 * (ORIENTATIONS[:, None] - best))
    energy = scale[:, None] * orientation[None]
    energy = energy / energy.sum(axis=(0, 1)) / TYPICAL_ENERGY[:, None, None]
    shares = np.array([(area.energy, area.luminance, area.colour) for area in areas]).T
    shares = shares * np.exp(0.5 * stream.normal(3, n))
    shares = shares / shares.sum(axis=0)
    positive = 1 / (1 + np.exp(-1.5 * stream.normal(3, n)))
    axis = 0.5 + 0.35 * (2 * stream.uniform(n) - 1)
    signed = [
        shares[1] * positive[0] / TYPICAL["luminance"],
        shares[1] * (1 - positive[0]) / TYPICAL["luminance"],
        shares[2] * axis * positive[1] / TYPICAL["colour"],
        shares[2] * axis * (1 - positive[1]) / TYPICAL["colour"],
        shares[2] * (1 - axis) * positive[2] / TYPICAL["colour"],
        shares[2] * (1 - axis) * (1 - positive[2]) / TYPICAL["colour"],
    ]
    weights = np.concatenate([shares[0] * energy.reshape(-1, n), np.stack(signed)])
    return weights.astype(np.float32)
