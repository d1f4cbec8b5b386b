"""Seconds between volumes: what files say, and what a user says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from phosphene.errors import InputError
from phosphene.storage import read_json

__all__ = ["repetition_time", "settle_repetition_time"]

UNITS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}
TOLERANCE = 1e-3  # of the TR: headers keep single precision


def repetition_time(path: str | os.PathLike[str]) -> float | None:
    """Return the TR that a file states in its header, or in the JSON beside it, else None.

    Parameters
    ----------
    path : path
        NIfTI, CIFTI time series, or an array (which states nothing by itself).

    Raises
    ------
    InputError
        If header and JSON state different ones.
    """
    file = Path(path)
    stated = {
        str(file): _of_header(file),
        str(_sidecar(file)): _of_sidecar(_sidecar(file)),
    }
    known = {name: tr for name, tr in stated.items() if tr is not None}
    if len(known) == 2:
        (first, a), (second, b) = known.items()
        if abs(a - b) > TOLERANCE * max(a, b):
            raise InputError(
                f"{first} states a TR of {a:g} s and {second} one of {b:g} s",
                expected="one and the same",
                remedy="correct the wrong one; --tr does not decide between them",
            )
    return next(reversed(known.values()), None)


def settle_repetition_time(path: str | os.PathLike[str], given: float | None) -> float:
    """Return the TR of a file; what a user gives may fill a gap but not contradict it.

    Raises
    ------
    InputError
        If nothing states it, or both do and differ.
    """
    found = repetition_time(path)
    if found is None and given is None:
        raise InputError(
            f"{path} does not state the seconds between its volumes",
            expected="a TR in the header, RepetitionTime in the JSON beside it, or --tr",
            remedy="give --tr SECONDS",
        )
    if found is not None and given is not None and abs(found - given) > TOLERANCE * found:
        raise InputError(
            f"--tr is {given:g} s and {path} states {found:g} s",
            expected="the same",
            remedy="leave --tr away, or correct the header",
        )
    tr = given if found is None else found
    if tr is None or not 0.05 <= tr <= 20:
        raise InputError(
            f"a TR of {tr} s for {path}",
            expected="seconds between volumes, from 0.05 to 20",
            remedy="a header in milliseconds has to say so; give --tr in seconds",
        )
    return float(tr)


def _of_header(path: Path) -> float | None:
    name = path.name.lower()
    if name.endswith((".npy", ".npz")) or not path.is_file():
        return None
    import nibabel
    from nibabel.cifti2.cifti2 import Cifti2Image
    from nibabel.cifti2.cifti2_axes import SeriesAxis

    try:
        image = nibabel.load(path)
    except Exception:  # the reader of the recording has the better message
        return None
    if isinstance(image, Cifti2Image):
        axis = image.header.get_axis(0)  # type: ignore[no-untyped-call]
        if not isinstance(axis, SeriesAxis) or axis.unit != "SECOND":
            return None
        return float(axis.step) or None
    header: Any = getattr(image, "header", None)
    if len(getattr(image, "shape", ())) < 4 or not hasattr(header, "get_xyzt_units"):
        return None
    unit = header.get_xyzt_units()[1]
    step = float(header.get_zooms()[3])
    return step * UNITS[unit] if unit in UNITS and step > 0 else None


def _sidecar(path: Path) -> Path:
    name = path.name
    for suffix in (".nii.gz", ".dtseries.nii", ".nii", ".npy", ".npz"):
        if name.endswith(suffix):
            return path.with_name(name.removesuffix(suffix) + ".json")
    return path.with_suffix(".json")


def _of_sidecar(path: Path) -> float | None:
    if not path.is_file():
        return None
    content = read_json(path)
    value = content.get("RepetitionTime") if isinstance(content, dict) else None
    return float(value) if isinstance(value, int | float) and value > 0 else None
