"""Pickled dictionaries of plain values and numpy arrays, read without executing anything.

Public EEG sets are pickles with an ``.npy`` suffix. A pickle is a program; this reader lets it
call nothing but a few functions of our own that make plain numpy arrays, and refuses every other
name before it is imported. What a pickle may write into is our own as well: numpy believes whatever
is written into its types, and then takes numbers for addresses.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from phosphene.data.readers.damage import existing_file, reading
from phosphene.data.readers.pickle_memo import check_memo
from phosphene.errors import InputError

__all__ = ["load_plain_pickle"]

KIND = "a pickled dictionary of plain values and numpy arrays"
PLAIN_DTYPE = re.compile(r"[<>|=]?(b1?|[?]|[iufcSUOV]\d*)")


class Maker:
    """Something that a pickle can name and call, and cannot write to."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)  # type: ignore[attr-defined]

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("a program that writes to what it calls")


class _Kind:
    """Stands for a type of numpy's while a pickle is read: only a byte order can be written."""

    __slots__ = ("_dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype

    def __setstate__(self, state: Any) -> None:
        # Version, byte order; then parts, names and fields, which plain types do not have.
        if (
            not isinstance(state, tuple)
            or len(state) < 5
            or state[1] not in ("<", ">", "|", "=")
            or any(one is not None for one in state[2:5])
        ):
            raise pickle.UnpicklingError("a type of an array that has parts")
        if state[1] in ("<", ">"):
            self._dtype = self._dtype.newbyteorder(state[1])


class _Filled(np.ndarray[Any, Any]):
    """An array that a pickle fills: with a plain type, and as many bytes as its shape takes."""

    def __setstate__(self, state: Any) -> None:
        version, shape, kind, in_columns, content = state
        dtype = kind if isinstance(kind, np.dtype) else _known(kind)
        checked: Any = (version, shape, dtype, bool(in_columns), content)
        super().__setstate__(checked)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """Return plain arrays and numbers: what is computed of it is nothing special."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain


def _known(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("an array without a type")
    return kind._dtype


def _empty_array(kind: Any, shape: Any, typecode: Any) -> np.ndarray[Any, Any]:
    """Stand in for numpy's own maker of arrays, which fills them afterwards."""
    if kind is not ARRAY or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array of another class than numpy.ndarray")
    return _Filled(0, dtype=np.int8)


def _dtype(code: Any, *flags: Any) -> _Kind:
    if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
        raise pickle.UnpicklingError(f"the type {code!r} of an array")
    return _Kind(np.dtype(code))


def _from_buffer(buffer: Any, kind: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    dtype = _known(kind)
    if dtype.hasobject or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array of objects in a buffer")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order).copy()


def _scalar(kind: Any, content: Any) -> Any:
    dtype = _known(kind)
    if dtype.hasobject or not isinstance(content, bytes):
        raise pickle.UnpicklingError("a scalar that is not a plain number")
    return np.frombuffer(content, dtype=dtype, count=1)[0]


def _no_array(*arguments: Any) -> Any:
    raise pickle.UnpicklingError("an array that is not filled")


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("bytes in another form than latin1")
    return text.encode("latin1")


CORES = ("numpy.core", "numpy._core")
ARRAY = Maker(_no_array)
ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): ARRAY,
    ("numpy", "dtype"): Maker(_dtype),
    ("_codecs", "encode"): Maker(_encode),
    **{(f"{core}.multiarray", "_reconstruct"): Maker(_empty_array) for core in CORES},
    **{(f"{core}.multiarray", "scalar"): Maker(_scalar) for core in CORES},
    **{(f"{core}.numeric", "_frombuffer"): Maker(_from_buffer) for core in CORES},
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = ALLOWED.get((module, name))
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("a reference to something outside the file")


class _Refused(Exception):
    """The pickle asked for something that plain data does not need."""


def load_plain_pickle(path: str | os.PathLike[str], *, before: str | None = None) -> Any:
    """Return what a pickle, or an object array of one element in an ``.npy``, holds.

    Parameters
    ----------
    path : path
        A bare pickle, or an ``.npy`` that ``numpy.save`` made of a dictionary.
    before : str, optional
        Package whose first object ends the reading, ``nibabel``: of a tuple with an image at its
        end, the lists and arrays that come before it are returned, as a list.

    Returns
    -------
    object
        Dictionaries, lists, text, numbers and numpy arrays.

    Raises
    ------
    InputError
        If the file is damaged, or asks for anything but plain values: nothing is executed.
    """
    file = existing_file(path, KIND)
    try:
        with reading(file, KIND), file.open("rb") as handle:
            _skip_header(handle)
            check_memo(handle)
            unpickler = _PlainUnpickler(handle)
            content = unpickler.load()
    except InputError as error:
        refused = error.__cause__
        if not isinstance(refused, _Refused):
            raise
        if before is not None and str(refused).startswith(f"{before}."):
            read = [value for _, value in sorted(unpickler.memo.copy().items())]
            return [value for value in read if isinstance(value, list | np.ndarray)]
        raise InputError(
            f"{file} is a pickle that asks for {refused}: nothing of it was executed",
            expected=KIND,
            remedy="do not open this file with numpy or pickle either; get it from its source",
        ) from None
    if isinstance(content, np.ndarray) and content.ndim == 0 and content.dtype == object:
        content = content.item()
    return content


def is_pickled(path: Path) -> bool:
    """Whether a file is a pickle, bare or as an object array of numpy."""
    with reading(path, KIND), path.open("rb") as handle:
        start = handle.read(2)
        if start[:1] == b"\x80":
            return True
        handle.seek(0)
        return start == b"\x93N" and _skip_header(handle)


def _skip_header(handle: IO[bytes]) -> bool:
    """Go to where the pickle starts; tell whether it is an object array of numpy."""
    if handle.read(6) != b"\x93NUMPY":
        handle.seek(0)
        return False
    handle.seek(0)
    version = np.lib.format.read_magic(handle)
    if version == (1, 0):
        _, _, dtype = np.lib.format.read_array_header_1_0(handle)
    else:
        _, _, dtype = np.lib.format.read_array_header_2_0(handle)
    return bool(dtype.hasobject)
