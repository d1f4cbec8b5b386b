"""Arrays of an ``.npz``, mapped where they lie uncompressed: tens of gigabytes need no memory."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError

__all__ = ["open_members"]

Array = np.ndarray[Any, Any]
KIND = "an .npz of numbers"
LOCAL_HEADER = 30  # bytes before the name of a member


def open_members(path: Path) -> dict[str, Array]:
    """Return the arrays by name: memory-mapped, or read whole where they are compressed.

    Raises
    ------
    InputError
        If the file is damaged or holds pickled objects.
    """
    existing_file(path, KIND)
    found: dict[str, Array] = {}
    with reading(path, KIND), zipfile.ZipFile(path) as archive, path.open("rb") as handle:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.compress_type != zipfile.ZIP_STORED:
                with archive.open(info) as member:
                    found[name] = np.lib.format.read_array(member, allow_pickle=False)
                continue
            handle.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", handle.read(4))
            handle.seek(info.header_offset + LOCAL_HEADER + name_length + extra_length)
            version = np.lib.format.read_magic(handle)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read_header(handle)
            if dtype.hasobject:
                raise InputError(
                    f"{path} holds pickled objects in {name}, which are never loaded",
                    expected=KIND,
                    remedy="save it again as numbers",
                )
            found[name] = (
                np.memmap(path, dtype, "r", handle.tell(), shape, order="F" if fortran else "C")
                if np.prod(shape)
                else np.empty(shape, dtype)
            )
    return found
