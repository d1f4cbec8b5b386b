"""Published files as plain content: tensors by name, and what else lies beside them.

safetensors; ``torch.save`` archives; plain pickles of arrays; ``.npy``. A torch archive that asks
for tensors alone is read by ``torch.load(weights_only=True)``; one that needs more by the
restricted unpickler, which imports and runs nothing. Archives that are packed, overlap or declare
more than they hold are refused before a byte of them is allocated.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.converters.inert import (
    RefusedName,
    RestrictedUnpickler,
    tensor_names,
)
from phosphene.data.readers.damage import reading
from phosphene.data.readers.pickle_memo import check_memo
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.errors import InputError
from phosphene.storage import load_array, load_tensors

__all__ = ["Content", "read_content"]

KIND = "a checkpoint: .safetensors, a file of torch.save, a pickle of arrays, or .npy"
MOST_ENTRIES = 200_000
LARGEST_PICKLE = 2**30
DEEPEST = 64
MOST_OBJECTS = 10_000_000
PACKED = 2**20  # bytes of a packed entry that are still believed
HEADER = 30  # bytes of a local header of a zip archive


@dataclass
class Content:
    """What a file holds.

    Attributes
    ----------
    path : Path
    value : object
        Dictionaries, lists, tensors, arrays, plain values and inert records.
    inert : list of str
        Classes that were not imported.
    """

    path: Path
    value: Any
    inert: list[str] = field(default_factory=list)


def read_content(path: str | os.PathLike[str]) -> Content:
    """Read a published file without running anything of it.

    Raises
    ------
    InputError
        If it is no checkpoint, damaged, asks for something that runs, or declares more than it
        holds.
    """
    file = Path(path)
    if file.is_dir():
        raise InputError(
            f"{file} is a folder",
            expected=KIND,
            remedy="name the file in it; a DeepSpeed folder becomes one file with its own "
            "zero_to_fp32.py",
        )
    if not file.is_file():
        raise InputError(
            f"there is no file {file}", expected=KIND, remedy="check the path and its spelling"
        )
    with reading(file, KIND), file.open("rb") as handle:
        start = handle.read(16)
    if file.suffix == ".safetensors":
        return Content(file, dict(load_tensors(file)))
    if start.startswith(b"\x93NUMPY") or file.suffix == ".npz":
        return Content(file, torch.from_numpy(np.array(load_array(file))))
    if start.startswith(b"PK"):
        return _torch_archive(file)
    if _is_legacy(start):
        return _legacy(file)
    if start[:1] == b"\x80":
        return Content(file, load_plain_pickle(file))
    if len(start) >= 8 and start[8:9] == b"{":  # safetensors under another name
        return Content(file, dict(load_tensors(file)))
    raise InputError(
        f"{file} is no checkpoint: it starts with {start[:8]!r}",
        expected=KIND,
        remedy="check that the download is complete; a link to large storage is a short text file",
    )


def _torch_archive(file: Path) -> Content:
    """Read a ``torch.save`` archive."""
    with reading(file, KIND), zipfile.ZipFile(file) as archive:
        entries = _checked_entries(file, archive)
        pickles = [one for one in entries if one.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(
                f"{file} is an archive {'with several' if pickles else 'without'} data.pkl",
                expected="a file of torch.save; TorchScript and Keras archives are other things",
                remedy="name the file of weights",
            )
        name = pickles[0]
        root = name.removesuffix("data.pkl")
        order = entries.get(f"{root}byteorder")
        if order is not None and archive.read(order).strip() != b"little":
            raise InputError(
                f"{file} stores numbers in big-endian order",
                expected="little-endian numbers",
                remedy="save it again on a little-endian machine",
            )
        with archive.open(name) as handle:
            asked = _asked_names(handle)
        if asked <= tensor_names():
            value = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            return Content(file, _checked(file, value))
        with archive.open(name) as handle:
            check_memo(handle)
            reader = RestrictedUnpickler(handle, _Storages(file, entries, root))
            try:
                value = reader.load()
            except RefusedName as error:
                raise _refused(file, str(error)) from None
    return Content(file, value, sorted(reader.inert))


def _refused(file: Path, name: str) -> InputError:
    return InputError(
        f"{file} is a pickle that asks for {name}: nothing of it was executed",
        expected="tensors, arrays and plain containers",
        remedy="do not open this file with torch or pickle either; get it from its source",
    )


def _checked_entries(file: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name; refuse bombs: packed, overlapping or endless archives."""
    entries = archive.infolist()
    length = file.stat().st_size
    total = sum(entry.file_size for entry in entries)
    packed = [e for e in entries if e.compress_type != zipfile.ZIP_STORED and e.file_size > PACKED]
    if len(entries) > MOST_ENTRIES or packed or total > length + PACKED:
        raise InputError(
            f"{file} has {len(entries)} entries that unpack to {total} bytes, of a file of "
            f"{length} bytes",
            expected="what torch.save writes, which never packs anything",
            remedy="do not unpack this file; get it from its source",
        )
    if len({entry.filename for entry in entries}) < len(entries):
        raise InputError(
            f"{file} has several entries of one name",
            expected="what torch.save writes; readers would not agree on which of them counts",
            remedy="do not unpack this file; get it from its source",
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise InputError(
            f"{file} is encrypted",
            expected="a file of torch.save",
            remedy="decrypt it with the program that made it",
        )
    return {entry.filename: entry for entry in entries}


class _Storages:
    """Stored bytes as flat tensors over a map of the file; nothing is read until it is used."""

    def __init__(self, file: Path, entries: dict[str, zipfile.ZipInfo], root: str) -> None:
        self.file, self.entries, self.root = file, entries, root
        self.known: dict[tuple[str, str], Tensor] = {}

    def __call__(self, key: str, dtype: str, numbers: int) -> Tensor:
        if (key, dtype) in self.known:
            return self.known[key, dtype]
        entry = self.entries.get(f"{self.root}data/{key}")
        kind: torch.dtype = getattr(torch, dtype)
        stored = -1 if entry is None else entry.file_size // kind.itemsize
        if entry is None or entry.compress_type != zipfile.ZIP_STORED or stored < numbers:
            raise pickle.UnpicklingError(
                f"the storage {key} declares {numbers} numbers and holds {max(stored, 0)}"
            )
        if numbers == 0:
            return torch.empty(0, dtype=kind)
        with self.file.open("rb") as handle:
            handle.seek(entry.header_offset)
            header = handle.read(HEADER)
        lengths = struct.unpack("<HH", header[26:30])
        start = entry.header_offset + HEADER + sum(lengths)
        # Copy on write: torch wants memory it may write to; the file never changes.
        mapped = np.memmap(
            self.file, np.uint8, mode="c", offset=start, shape=(numbers * kind.itemsize,)
        )
        found = torch.from_numpy(mapped).view(kind)
        self.known[key, dtype] = found
        return found


def _is_legacy(start: bytes) -> bool:
    """Whether this is a file of torch before 1.6: a pickled magic number comes first."""
    return start[:1] == b"\x80" and start[2:15].startswith(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19")


def _legacy(file: Path) -> Content:
    with reading(file, KIND):
        try:
            value = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{file} is of torch before 1.6 and holds more than tensors: nothing of it was "
                f"executed ({str(error).splitlines()[0][:160]})",
                expected="tensors in plain containers",
                remedy="save its state_dict again with a torch of today, where you trust it",
            ) from None
    return Content(file, _checked(file, value))


def _asked_names(handle: IO[bytes]) -> set[str]:
    """Return every name a pickle asks for, without running it."""
    content = handle.read(LARGEST_PICKLE + 1)
    if len(content) > LARGEST_PICKLE:
        raise InputError(
            "a pickle of more than a gigabyte without its tensors",
            expected="a checkpoint, most of which is tensors",
            remedy="get the file from its source",
        )
    found: set[str] = set()
    texts: list[str] = []
    memo: dict[int, str] = {}
    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name in ("GLOBAL", "INST"):
            found.add(str(argument).replace(" ", ".", 1))
        elif name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
        elif name == "MEMOIZE" or name.endswith("PUT"):
            if texts:
                memo[len(memo) if argument is None else int(argument)] = texts[-1]
        elif name.endswith("GET") and argument in memo:
            texts.append(memo[int(argument)])
        elif isinstance(argument, str):
            texts.append(argument)
        elif name.startswith("EXT"):
            found.add("an extension")
        del texts[:-4]
    return found


def _checked(file: Path, value: Any, depth: int = 0, seen: list[int] | None = None) -> Any:
    """Refuse tensors that are larger than what is stored of them, or are no plain arrays."""
    seen = [0] if seen is None else seen
    seen[0] += 1
    if depth > DEEPEST or seen[0] > MOST_OBJECTS:
        raise InputError(
            f"{file} nests without end",
            expected="tensors in plain containers",
            remedy="get the file from its source",
        )
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
        stored = value.untyped_storage().nbytes() if plain else 0
        if not plain or value.numel() * value.element_size() > stored:
            raise InputError(
                f"{file} declares a tensor of shape {tuple(value.shape)} and stores {stored} bytes",
                expected="as many numbers as are declared",
                remedy="get the file from its source",
            )
    elif isinstance(value, dict):
        for one in value.values():
            _checked(file, one, depth + 1, seen)
    elif isinstance(value, list | tuple):
        for one in value:
            _checked(file, one, depth + 1, seen)
    return value
