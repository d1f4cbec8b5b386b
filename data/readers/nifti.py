"""NIfTI and MGH volumes, read once and in order.

The header is interpreted by nibabel; the data are streamed here in pieces of a few megabytes.
Slicing volume after volume through nibabel's array proxy decompresses a ``.gz`` from its start
for each of them (quadratic), and a memory map keeps every page it touched. One pass does
neither, whatever the file's size.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.grids import check_affine
from phosphene.data.readers.values import to_float32
from phosphene.errors import InputError

__all__ = ["VolumeFile", "open_volumes"]

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

KIND = "a NIfTI (.nii, .nii.gz) or MGH (.mgh, .mgz) file"
PIECE_BYTES = 4 * 2**20
TRAILER_BYTES = 2**20  # what may follow the data and is read to verify a gzip's checksum
DEFLATE_LIMIT = 1032  # no deflate stream expands further than this


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume or a series of volumes whose header has been read and checked.

    Parameters
    ----------
    path : Path
    grid_shape : tuple of int
        ``(X, Y, Z)``.
    n_volumes : int
        1 for a 3-D file.
    affine : ndarray of shape (4, 4)
        Voxel to millimetres.
    dtype : dtype
        Of the stored numbers, byte order included.
    offset : int
        Bytes before the data, after decompression.
    slope, inter : float
        A value is ``stored * slope + inter``.
    """

    path: Path
    grid_shape: tuple[int, int, int]
    n_volumes: int
    affine: Array
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float

    def read(self, indices: Array, out: Array | None = None) -> Array:
        """Read the voxels at ``indices`` of every volume, in one pass over the file.

        Parameters
        ----------
        indices : ndarray of shape (n_voxels,)
            Flat C-order positions in the grid.
        out : ndarray of shape (n_volumes, n_voxels), float32, optional
            Where to write.

        Returns
        -------
        ndarray of shape (n_volumes, n_voxels), float32

        Raises
        ------
        InputError
            If the file ends early, is damaged, or holds values beyond float32.
        """
        # Files store the first axis fastest (Fortran order), masks count the last one fastest.
        stored = np.ravel_multi_index(
            np.unravel_index(indices, self.grid_shape), self.grid_shape, order="F"
        )
        order = np.argsort(stored)
        stored = stored[order]
        size = math.prod(self.grid_shape)
        step = max(1, min(size, PIECE_BYTES // self.dtype.itemsize))
        pieces = [
            (start, min(start + step, size), *np.searchsorted(stored, (start, start + step)))
            for start in range(0, size, step)
        ]
        with reading(self.path, KIND):
            if out is None:
                out = np.empty((self.n_volumes, len(indices)), dtype=np.float32)
            buffer = np.empty(step, dtype=self.dtype)
            with _open_stream(self.path) as handle:
                handle.seek(self.offset)
                for volume in range(self.n_volumes):
                    for start, stop, low, high in pieces:
                        if low == high:
                            handle.seek((stop - start) * self.dtype.itemsize, os.SEEK_CUR)
                            continue
                        _fill(handle, buffer[: stop - start])
                        chosen = buffer[stored[low:high] - start]
                        out[volume, order[low:high]] = self._scaled(chosen)
                self._check_end(handle)
        return out

    def read_single(self) -> Array:
        """Read the whole grid of a file that holds one volume, (X, Y, Z) in its scaled values."""
        if self.n_volumes != 1:
            raise InputError(
                f"{self.path} holds {self.n_volumes} volumes",
                expected="a single one, (X, Y, Z)",
                remedy="save one of them: nibabel.four_to_three(image)[0]",
            )
        with reading(self.path, KIND):
            buffer = np.empty(math.prod(self.grid_shape), dtype=self.dtype)
            with _open_stream(self.path) as handle:
                handle.seek(self.offset)
                _fill(handle, buffer)
                self._check_end(handle)
            values = buffer if self._is_identity else buffer * self.slope + self.inter
        return values.reshape(self.grid_shape, order="F")

    @property
    def _is_identity(self) -> bool:
        return self.slope == 1 and self.inter == 0

    def _scaled(self, values: Array) -> Array:
        """Return stored numbers as float32; scaling is done in float64, as nibabel does it."""
        if self._is_identity and (self.dtype.kind != "f" or self.dtype.itemsize <= 4):
            return values.astype(np.float32)
        scaled = values.astype(np.float64) * self.slope + self.inter
        return to_float32(scaled, str(self.path))

    def _check_end(self, handle: BinaryIO) -> None:
        """Read what follows the data: a gzip tells at its end whether all of it was right."""
        end = self.offset + self.n_volumes * math.prod(self.grid_shape) * self.dtype.itemsize
        if handle.tell() < end:
            raise EOFError(f"the data end after {handle.tell()} of {end} bytes")
        handle.read(TRAILER_BYTES)


def open_volumes(path: str | os.PathLike[str]) -> VolumeFile:
    """Read and check the header of a NIfTI-1, NIfTI-2 or MGH file, compressed or not.

    Parameters
    ----------
    path : path
        The format is told from the content, not from the suffix.

    Raises
    ------
    InputError
        If the file is missing, not of these formats, shorter than its header says, has no
        volumes, or stores complex numbers or colours.
    """
    file = existing_file(path, KIND)
    with reading(file, KIND):
        with _open_stream(file) as handle:
            header, first = _parse_header(file, handle.read(540))
        offset = max(int(header["vox_offset"]), first) if "vox_offset" in header else first
        # MGH has no scale factors and its class says so with (None, None), as NIfTI does.
        slope, inter = header.get_slope_inter() if hasattr(header, "get_slope_inter") else (1, 0)
        dtype = _check_dtype(file, np.dtype(header.get_data_dtype()))
        grid_shape, n_volumes = _check_shape(file, header.get_data_shape())
        volumes = VolumeFile(
            path=file,
            grid_shape=grid_shape,
            n_volumes=n_volumes,
            affine=check_affine(header.get_best_affine(), str(file)),
            dtype=dtype,
            offset=offset,
            slope=1.0 if slope is None else float(slope),
            inter=0.0 if inter is None else float(inter),
        )
        _check_size(volumes)
    return volumes


def _open_stream(path: Path) -> BinaryIO:
    """Open a file decompressed; a gzip is told by its first two bytes."""
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def _fill(handle: BinaryIO, target: Array) -> None:
    view = memoryview(cast(Any, target.view(np.uint8)))
    done = 0
    while done < len(view):
        count = cast(Any, handle).readinto(view[done:])
        if not count:
            raise EOFError(f"the data end {len(view) - done} bytes before the end of a volume")
        done += count


def _parse_header(path: Path, block: bytes) -> tuple[Any, int]:
    """Return nibabel's header of a file's first bytes, and the first byte data can have."""
    from nibabel.freesurfer.mghformat import MGHHeader
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if block[:4] == b"\x00\x00\x00\x01":
        return MGHHeader(block[:90]), 284  # type: ignore[no-untyped-call]
    known = 348 in sizes or 540 in sizes
    kind: Any = Nifti2Header if 540 in sizes else Nifti1Header
    length = 540 if 540 in sizes else 348
    if not known or len(block) < length:
        raise InputError(
            f"{path} is not a NIfTI file: it starts with {block[:8]!r}",
            expected=KIND,
            remedy="check that the path names the scan, and copy it again if it does",
        )
    header = kind(block[:length], check=False)
    if not bytes(header["magic"]).startswith(b"n+"):
        raise InputError(
            f"{path} is the header of a pair of files (.hdr and .img) or of the older Analyze form",
            expected="a single NIfTI file",
            remedy="convert it: nibabel.save(nibabel.load('scan.hdr'), 'scan.nii.gz')",
        )
    header.check_fix(logger=logger, error_level=40)
    return header, length + 4


def _check_dtype(path: Path, dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return dtype
    kind = "complex numbers" if dtype.kind == "c" else "colours" if dtype.kind == "V" else "numbers"
    raise InputError(
        f"{path} stores {kind} ({dtype})",
        expected="real numbers: float32, float64, or integers with or without scale factors",
        remedy="save the real quantity you mean, such as numpy.abs(values), as float32",
    )


def _check_shape(path: Path, shape: tuple[int, ...]) -> tuple[tuple[int, int, int], int]:
    extent = [int(length) for length in shape]
    while len(extent) > 4 and extent[-1] == 1:
        extent.pop()
    described = " x ".join(map(str, extent))
    if len(extent) not in (3, 4):
        raise InputError(
            f"{path} has {len(extent)} axes ({described})",
            expected="3 axes (one trial) or 4 axes (X, Y, Z, trials)",
            remedy="drop axes of length one: numpy.squeeze, then save it again",
        )
    if min(extent) < 0 or 0 in extent[:3]:
        raise InputError(
            f"{path} has the impossible shape {described}",
            expected=KIND,
            remedy="restore the header from the file's source",
        )
    if len(extent) == 4 and extent[3] == 0:
        raise InputError(
            f"{path} holds zero trials ({described})",
            expected="at least one volume",
            remedy="check how the volumes were selected and save them again",
        )
    return (extent[0], extent[1], extent[2]), extent[3] if len(extent) == 4 else 1


def _check_size(volumes: VolumeFile) -> None:
    """Compare the length of the file with what the header declares, before allocating."""
    declared = volumes.n_volumes * math.prod(volumes.grid_shape) * volumes.dtype.itemsize
    declared += volumes.offset
    with volumes.path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        length = raw.seek(0, os.SEEK_END)
    if declared > (length * DEFLATE_LIMIT if compressed else length):
        shape = " x ".join(map(str, (*volumes.grid_shape, volumes.n_volumes)))
        raise InputError(
            f"{volumes.path} is truncated: it has {length} bytes{' compressed' * compressed}, "
            f"its header declares {shape} values of {volumes.dtype}, {declared} bytes",
            expected="a complete file",
            remedy="copy it again from its source",
        )
