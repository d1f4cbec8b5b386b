"""Where sensors are: electrodes of the 10-10 system and axial gradiometers around a sphere."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from phosphene.errors import InputError

__all__ = ["OCCIPITAL_17", "THINGS_63", "electrode_directions", "helmet_directions"]

Array = np.ndarray[Any, Any]

_THINGS_63 = (
    "Fp1 Fp2 AF7 AF3 AFz AF4 AF8 F7 F5 F3 F1 F2 F4 F6 F8 FT9 FT7 FC5 FC3 FC1 FCz FC2 FC4 FC6 FT8 "
    "FT10 T7 C5 C3 C1 Cz C2 C4 C6 T8 TP9 TP7 CP5 CP3 CP1 CPz CP2 CP4 CP6 TP8 TP10 P7 P5 P3 P1 Pz "
    "P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2"
)
THINGS_63 = tuple(_THINGS_63.split(" "))
"""The 63 channels of THINGS-EEG2 in the order that its preprocessing uses; there is no Fz."""

OCCIPITAL_17 = THINGS_63[THINGS_63.index("P7") :]
"""The 17 occipital and parietal channels of the official preprocessing of THINGS-EEG2."""

# Rows of the 10-10 system from front to back: what stands on the ring, what lies between.
ROWS = {
    "AF": ("AF7", "AF8"), "F": ("F7", "F8"), "FC": ("FT7", "FT8"), "C": ("T7", "T8"),
    "CP": ("TP7", "TP8"), "P": ("P7", "P8"), "PO": ("PO7", "PO8"),
}  # fmt: skip
RING_LEFT = ("Fpz", "Fp1", "AF7", "F7", "FT7", "T7", "TP7", "P7", "PO7", "O1", "Oz")
MIDLINE = ("Fpz", "AFz", "Fz", "FCz", "Cz", "CPz", "Pz", "POz", "Oz")
BELOW = {"FT9": "FT7", "FT10": "FT8", "TP9": "TP7", "TP10": "TP8"}


def _direction(inclination: float, azimuth: float) -> Array:
    """Return the unit vector at degrees from the vertex and from the front, left positive."""
    down, turn = np.radians(inclination), np.radians(azimuth)
    return np.array([-np.sin(down) * np.sin(turn), np.sin(down) * np.cos(turn), np.cos(down)])


@cache
def _ten_ten() -> dict[str, Array]:
    """Return directions on an ideal sphere, x right, y front, z up."""
    places: dict[str, Array] = {}
    for step, name in enumerate(RING_LEFT):
        places[name] = _direction(90, 18 * step)
        mirrored = name[:-1] + str(int(name[-1]) + 1) if name[-1].isdigit() else name
        places.setdefault(mirrored, _direction(90, -18 * step))
    for step, name in enumerate(MIDLINE):
        places[name] = _direction(abs(step - 4) * 22.5, 0 if step < 4 else 180)
    for row, (left, right) in ROWS.items():
        # The circle through ring, midline and ring; equal arcs on either side of the midline.
        for near, far, numbers in ((left, right, (5, 3, 1)), (right, left, (6, 4, 2))):
            for step, number in enumerate(numbers, start=1):
                point = _on_circle(places[near], places[f"{row}z"], places[far], step / 4)
                places.setdefault(f"{row}{number}", point)
    for name, above in BELOW.items():
        x, y, _ = places[above]
        places[name] = _direction(112.5, np.degrees(np.arctan2(-x, y)))
    return places


def _on_circle(first: Array, middle: Array, last: Array, share: float) -> Array:
    """Return the point at a share of the arc from first to middle, of the circle through three."""
    normal = np.cross(middle - first, last - first)
    normal /= np.linalg.norm(normal)
    centre = normal * (normal @ first)
    u = first - centre
    radius = np.linalg.norm(u)
    u = u / radius
    v = np.cross(normal, u)
    angle = np.arctan2((middle - centre) @ v, (middle - centre) @ u)
    turned: Array = centre + radius * (np.cos(share * angle) * u + np.sin(share * angle) * v)
    return turned


def electrode_directions(names: tuple[str, ...]) -> Array:
    """Return unit vectors (n, 3) of electrodes of the 10-10 system.

    Raises
    ------
    InputError
        If a name is not of that system as far as it is known here.
    """
    places = _ten_ten()
    unknown = [name for name in names if name not in places]
    if unknown:
        raise InputError(
            f"no place is known for the electrodes {', '.join(unknown)}",
            expected="names of the 10-10 system",
            remedy="correct their spelling",
        )
    return np.stack([places[name] for name in names])


def helmet_directions(count: int) -> Array:
    """Return unit vectors (count, 3) spread evenly over a helmet open below and in front.

    A Fibonacci lattice down to 25 degrees below the equator, without the face.
    """
    total, kept = count, np.zeros((0, 3))
    while len(kept) < count:
        total += 1
        index = np.arange(total) + 0.5
        height = 1 - 2 * index / total
        turn = np.pi * (1 + np.sqrt(5)) * index
        flat = np.sqrt(1 - height**2)
        points = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
        face = (points[:, 1] > 0.35) & (points[:, 2] < 0.1)
        kept = points[(points[:, 2] > -np.sin(np.radians(25))) & ~face]
    return kept[:count]
