"""Copies of a picture: saved again, resized, shifted or cropped a little.

Scenes of one kind resemble each other as wholes (sky above, ground below); copies also agree in
their details once they are laid over each other. So candidates are found cheaply, by coarse
pixels, a perceptual hash and the amplitude spectrum, and judged by the correlation of band-passed
pictures after registration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.progress import progress

__all__ = ["NearCopies", "Nearest", "aligned_correlation", "perceptual_hash", "thumbnails"]

Array = np.ndarray[Any, Any]
SIDE = 64  # of a thumbnail
MOST_SHIFT = 7  # pixels of a thumbnail either way: a ninth of the picture
SCALES = (1.0, 0.9, 0.95, 1.05, 1.1)
FINE, COARSE = 0.7, 3.0  # SD of the Gaussians of the band-pass, pixels of a thumbnail
CANDIDATES = 4  # of each kind
SAMPLE = 40  # training pictures that tell how alike different pictures of this set are
FLOOR, CEILING = 0.7, 0.95  # between which the threshold lies
FLAT = 0.05  # SD in grey levels below which there is no detail to compare
SURELY = 0.9  # correlation of details that only copies have, but in sets of great likeness


def thumbnails(pictures: Iterable[Pictures], *, label: str = "", total: int | None = None) -> Array:
    """Return grey pictures of one size, (n, 64, 64) uint8; each is read once."""
    from PIL import Image

    made = []
    for pixels in progress(pictures, label=label or "reading pictures", total=total):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
        made.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    return np.stack(made) if made else np.zeros((0, SIDE, SIDE), dtype=np.uint8)


def perceptual_hash(thumbs: Array) -> Array:
    """Return 64 bits of each thumbnail, (n, 64): low cosine frequencies above their median.

    Copies saved with other compression, size or brightness differ in few bits.

    Parameters
    ----------
    thumbs : ndarray of shape (n, 64, 64)
    """
    from scipy.fft import dctn

    low = dctn(_halve(thumbs), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(len(thumbs), -1)
    # The constant says how bright the picture is and would shift the median.
    return np.asarray(low > np.median(low[:, 1:], axis=1, keepdims=True))


def aligned_correlation(one: Array, others: Array) -> Array:
    """Return Pearson's r of band-passed pictures where they overlap, after registration.

    Parameters
    ----------
    one : ndarray of shape (64, 64)
    others : ndarray of shape (n, 64, 64)
        Each is scaled by .9 to 1.1 and shifted by up to a ninth of the picture to fit best.

    Returns
    -------
    ndarray of shape (n,)
        0 where either picture has no detail.
    """
    fixed = _band_pass(np.asarray(one, dtype=np.float32)[None])[0]
    grey = np.asarray(others, dtype=np.float32)
    size = SIDE + MOST_SHIFT + 1
    steps = np.r_[0 : MOST_SHIFT + 1, -MOST_SHIFT:0]
    spectrum = np.fft.rfft2(fixed, (size, size))
    best = np.zeros(len(others))
    for scale in SCALES:
        resample, inside = _resampling(scale)
        moved = _band_pass(resample @ grey @ resample.T) * inside
        crossed = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(moved, (size, size))), (size, size))
        window = crossed[:, steps[:, None], steps[None, :]].reshape(len(others), -1)
        for row, place in enumerate(window.argmax(axis=1)):
            dy, dx = (int(steps[k]) for k in divmod(int(place), len(steps)))
            here, there = _overlap(dy, dx)
            kept = inside[there]
            r = _correlation(fixed[here][kept], moved[row][there][kept])
            best[row] = max(best[row], r)
    return best


def _overlap(dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    here = slice(max(0, dy), SIDE + min(0, dy)), slice(max(0, dx), SIDE + min(0, dx))
    there = slice(max(0, -dy), SIDE + min(0, -dy)), slice(max(0, -dx), SIDE + min(0, -dx))
    return here, there


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(norms) < FLAT * a.size**0.5:
        return 0.0
    return float(a @ b) / (norms[0] * norms[1])


def _band_pass(pictures: Array) -> Array:
    fine, coarse = (_blur(sd) for sd in (FINE, COARSE))
    return np.asarray(fine @ pictures @ fine.T - coarse @ pictures @ coarse.T)


@cache
def _blur(sd: float) -> Array:
    """Return the matrix (64, 64) of a Gaussian blur along one axis, edges mirrored."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(SIDE, dtype=np.float32), sd, axis=0))


@cache
def _resampling(scale: float) -> tuple[Array, Array]:
    """Return the matrix that scales one axis about its centre, and where pictures still are."""
    centre = (SIDE - 1) / 2
    at = (np.arange(SIDE) - centre) / scale + centre
    low = np.clip(np.floor(at).astype(int), 0, SIDE - 2)
    part = np.clip(at - low, 0, 1)
    matrix = np.zeros((SIDE, SIDE), dtype=np.float32)
    matrix[np.arange(SIDE), low], matrix[np.arange(SIDE), low + 1] = 1 - part, part
    inside = (at >= -1e-9) & (at <= SIDE - 1 + 1e-9)
    return matrix, inside[:, None] & inside[None, :]


def _halve(thumbs: Array) -> Array:
    grey = np.asarray(thumbs, dtype=np.float32)
    return np.asarray(grey.reshape(len(grey), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4)))


def _unit(rows: Array) -> Array:
    flat = rows.reshape(len(rows), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 1e-6))


@dataclass(frozen=True)
class Nearest:
    """The training picture that a picture is most a copy of.

    Attributes
    ----------
    row : int
        Of the training pictures.
    correlation : float
        Of details, after registration.
    coarse_correlation : float
        Of 32 x 32 pixels as they stand.
    hash_distance : int
        Bits of 64 that differ.
    """

    row: int
    correlation: float
    coarse_correlation: float
    hash_distance: int


class NearCopies:
    """Looks for copies among training pictures.

    Parameters
    ----------
    training : ndarray of shape (n, 64, 64)
        From :func:`thumbnails`; at least one.

    Attributes
    ----------
    threshold : float
        Correlation of details from which a picture counts as a copy: beyond what different
        pictures of this training set reach (median and four robust SD of the nearest ones),
        at least .7 and at most .95.
    """

    def __init__(self, training: Array, *, seed: int = 0) -> None:
        self._thumbs = training
        self._features = _features(training)
        self._hashes = perceptual_hash(training)
        self.threshold = FLOOR
        if len(training) > 2:
            rows = np.random.default_rng(seed).permutation(len(training))[:SAMPLE]
            found = [self._nearest(self._thumbs[row], [], leave_out=int(row)) for row in rows]
            r = np.array([one.correlation for one in found])
            self.threshold = _threshold(r)

    def nearest(self, thumb: Array, extra: Sequence[int] = ()) -> Nearest:
        """Return the nearest training picture of one thumbnail (64, 64).

        Parameters
        ----------
        thumb : ndarray of shape (64, 64)
        extra : sequence of int
            Rows to look at too, such as the nearest by embedding.
        """
        return self._nearest(thumb, extra)

    def is_copy(self, found: Nearest) -> bool:
        """Whether it is nearer than different pictures of this set are to each other."""
        return found.correlation >= self.threshold

    def _nearest(self, thumb: Array, extra: Sequence[int], leave_out: int | None = None) -> Nearest:
        coarse, spectral = (
            known @ mine[0]
            for known, mine in zip(self._features, _features(thumb[None]), strict=True)
        )
        distance = (self._hashes != perceptual_hash(thumb[None])).sum(axis=1)
        if leave_out is not None:
            coarse[leave_out] = spectral[leave_out] = -np.inf
            distance[leave_out] = 65
        orders = [_first(-coarse), _first(-spectral), _first(distance)]
        rows = np.array(sorted({*np.concatenate(orders).tolist(), *extra} - {leave_out}))
        r = aligned_correlation(thumb, self._thumbs[rows])
        best = int(r.argmax())
        row = int(rows[best])
        return Nearest(row, float(r[best]), float(coarse[row]), int(distance[row]))


def _threshold(r: Array) -> float:
    """Return from where on a correlation is beyond those of nearest different pictures."""
    different = r[r < SURELY]  # training may hold copies itself
    if len(different) < len(r) / 3:
        return CEILING
    middle = float(np.median(different))
    spread = 1.4826 * float(np.median(np.abs(different - middle)))
    return float(np.clip(middle + 4 * spread, FLOOR, CEILING))


def _first(cost: Array) -> Array:
    count = min(CANDIDATES, len(cost))
    return np.asarray(np.argpartition(cost, count - 1)[:count])


def _features(thumbs: Array) -> tuple[Array, Array]:
    """Return coarse pixels, and their amplitude spectra, which a shift leaves as they are."""
    small = _halve(thumbs) / 255
    spectra = np.fft.rfft2(small - small.mean(axis=(1, 2), keepdims=True))
    return _unit(small), _unit(np.log(np.abs(spectra) + 0.1))
