"""Seconds between volumes: what files say, and what a user says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError
from phosphene.storage import read_json

__all__ = ["repetition_time", "settle_repetition_time"]

UNITS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}
UNSET = 1.0  # what a header holds where nobody wrote a TR; then it has no unit of time either
KIND = "a series of volumes: NIfTI or CIFTI (.dtseries.nii), or an array of volumes x voxels"
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
        If header and JSON state different ones, or the file is no series of volumes.
    """
    return _stated(Path(path))[0]


def _stated(path: Path) -> tuple[float | None, bool]:
    """Return the TR that is stated, and whether what a user says may contradict it."""
    beside = _sidecar(path)
    (header, unset), told = _of_header(path), _of_sidecar(beside)
    if told is None or header is None or unset:
        return (header, unset) if told is None else (told, False)
    if abs(header - told) > TOLERANCE * max(header, told):
        raise InputError(
            f"{path} states a TR of {header:g} s and {beside} one of {told:g} s",
            expected="one and the same",
            remedy="correct the wrong one; --tr does not decide between them",
        )
    return told, False


def settle_repetition_time(
    path: str | os.PathLike[str], given: float | None, *, by: str = "--tr"
) -> float:
    """Return the TR of a file; what a user gives may fill a gap but not contradict it.

    Parameters
    ----------
    path : path
    given : float, optional
        Seconds.
    by : str
        Where ``given`` is from, for the message.

    Raises
    ------
    InputError
        If nothing states it, or both do and differ.
    """
    found, unset = _stated(Path(path))
    if unset and given is not None:
        found = None
    if found is None and given is None:
        raise InputError(
            f"{path} does not state the seconds between its volumes",
            expected="a TR in the header, RepetitionTime in the JSON beside it, or --tr",
            remedy="give --tr SECONDS",
        )
    if found is not None and given is not None and abs(found - given) > TOLERANCE * found:
        raise InputError(
            f"{by} is {given:g} s and {path} states {found:g} s",
            expected="the same",
            remedy="leave --tr away, or correct the header"
            if by == "--tr"
            else "check which recording this is, or correct its header",
        )
    tr = given if found is None else found
    if tr is None or not 0.05 <= tr <= 20:
        raise InputError(
            f"a TR of {tr} s for {path}",
            expected="seconds between volumes, from 0.05 to 20",
            remedy="a header in milliseconds has to say so; give --tr in seconds",
        )
    return float(tr)


def _of_header(path: Path) -> tuple[float | None, bool]:
    """Return the TR of a header, and whether it is what stands there where nobody wrote one."""
    name = path.name.lower()
    if name.endswith((".npy", ".npz")):
        existing_file(path, KIND)
        return None, False
    if ".npz:" in name or "," in name:  # an array of several, a pair of surfaces
        return None, False
    import nibabel
    from nibabel.cifti2.cifti2 import Cifti2Image
    from nibabel.cifti2.cifti2_axes import SeriesAxis

    with reading(existing_file(path, KIND), KIND):
        image = nibabel.load(path)
    if isinstance(image, Cifti2Image):
        axis = image.header.get_axis(0)  # type: ignore[no-untyped-call]
        if not isinstance(axis, SeriesAxis) or axis.unit != "SECOND":
            return None, False
        return float(axis.step) or None, False
    header: Any = getattr(image, "header", None)
    shape = getattr(image, "shape", None)
    if shape is not None and len(shape) < 4:
        raise InputError(
            f"{path} is a single volume of the shape {tuple(map(int, shape))}",
            expected="a series of volumes, with time as the fourth axis",
            remedy="give the run itself, not a map or a mean of it",
        )
    if shape is None or not hasattr(header, "get_xyzt_units"):
        return None, False
    unit = header.get_xyzt_units()[1]
    step = float(header.get_zooms()[3])
    tr = step * UNITS[unit] if unit in UNITS and step > 0 else None
    return tr, unit == "unknown" and step == UNSET


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
