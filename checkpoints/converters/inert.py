"""A restricted unpickler: tensors, numpy arrays and plain containers; nothing else ever runs.

A pickle is a program. This one can call functions of our own only: they make tensors of stored
bytes, numpy arrays and plain containers. Classes of other packages, which a file that pickles a
whole network needs, become :class:`InertRecord` objects that keep what they were given and do
nothing; no module is imported for them. Names of the standard library that do something are
refused outright.
"""

from __future__ import annotations

import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from phosphene.data.readers.restricted_pickle import ALLOWED, Maker

if TYPE_CHECKING:
    import torch

__all__ = ["InertRecord", "RefusedName", "RestrictedUnpickler", "tensor_names"]

# What torch.save writes for tensors alone; with these torch's own weights_only reads a file.
STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip
DTYPES = frozenset(STORAGES.values()) | {"float", "half", "double", "long", "int", "short"}
# Harmless names of the standard library, which pickled networks carry beside their tensors.
PLAIN_CLASSES = {
    "collections.defaultdict", "collections.deque", "collections.Counter", "functools.partial",
    "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath",
    "argparse.Namespace", "types.SimpleNamespace", "datetime.datetime", "datetime.timedelta",
    "builtins.set", "builtins.frozenset", "builtins.slice", "builtins.range", "builtins.complex",
}  # fmt: skip
OTHER_SYSTEMS = ("nt", "posix", "winreg", "_winapi")  # standard library, on some machines alone
MOST_NUMBERS = 2**40


class RefusedName(Exception):
    """The pickle asked for something that would do more than hold data."""


class InertRecord:
    """Stands for an object of a class that is not imported.

    Attributes
    ----------
    class_name : str
        ``module.Class`` as the file has it.
    arguments : tuple
        What it would have been made with.
    state : object
        What it would have been filled with; for a pickled network its ``__dict__``.
    """

    class_name = ""

    def __new__(cls, *arguments: Any, **named: Any) -> InertRecord:
        made = super().__new__(cls)
        made.arguments = (*arguments, *named.values())
        made.state = None
        made.items = []
        return made

    arguments: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def append(self, value: Any) -> None:
        """Keep what a list would have taken."""
        self.items.append(value)

    def extend(self, values: Any) -> None:
        """Keep what a list would have taken."""
        self.items += list(values)

    def add(self, value: Any) -> None:
        """Keep what a set would have taken."""
        self.items.append(value)


class RestrictedUnpickler(pickle.Unpickler):
    """Reads one pickle of a torch archive.

    Parameters
    ----------
    file : binary file
    storage : callable
        Key, dtype name and number of values to a flat tensor of the stored bytes.

    Attributes
    ----------
    inert : set of str
        Classes that became records.
    """

    def __init__(self, file: IO[bytes], storage: Callable[[str, str, int], torch.Tensor]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage
        self.inert: set[str] = set()
        self._records: dict[str, type[InertRecord]] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name)) or ALLOWED.get((module, name))
        if known is not None:
            return known
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _StorageKind(STORAGES[name])
        if module == "torch" and name in DTYPES:
            return name
        # Protocol 2 has the module names of Python 2: `commands` is today's `subprocess`.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full, root = f"{module}.{name}", module.partition(".")[0]
        if (root in sys.stdlib_module_names or root in OTHER_SYSTEMS) and full not in PLAIN_CLASSES:
            raise RefusedName(full)
        self.inert.add(full)
        if full not in self._records:
            self._records[full] = type("InertRecord", (InertRecord,), {"class_name": full})
        return self._records[full]

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise RefusedName("a reference to something outside the file")
        kind, key, numbers = pid[1], pid[2], pid[4]
        if not isinstance(kind, _StorageKind) or not isinstance(key, str):
            raise RefusedName("a storage of an unknown kind")
        if not isinstance(numbers, int) or not 0 <= numbers <= MOST_NUMBERS:
            raise RefusedName(f"a storage of {numbers} numbers")
        if kind.dtype not in STORAGES.values():  # a pickle can write to what it was given
            raise RefusedName("a storage of an unknown kind")
        return self.storage(key, kind.dtype, numbers)


class _StorageKind:
    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> torch.Tensor:
    """Return a view of a storage, checked against its length before anything is made."""
    import torch

    if not isinstance(storage, torch.Tensor):
        raise pickle.UnpicklingError("a tensor of something that is no storage")
    sizes, strides = [int(n) for n in size], [int(n) for n in stride]
    numbers, last = 1, int(offset)
    for length, step in zip(sizes, strides, strict=True):
        if length < 0 or step < 0:
            raise pickle.UnpicklingError(f"a tensor of shape {tuple(sizes)}")
        numbers *= length
        last += (length - 1) * step
    if numbers > len(storage) or (numbers and not 0 <= last < len(storage)) or int(offset) < 0:
        raise pickle.UnpicklingError(
            f"a tensor of shape {tuple(sizes)} is declared, which has {numbers} numbers where "
            f"{len(storage)} are stored"
        )
    return storage.as_strided(sizes, strides, int(offset)) if numbers else storage.new_empty(sizes)


def _parameter(data: Any, *more: Any) -> Any:
    return data


def _typed(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    return function(*arguments) if function in (TENSOR, PARAMETER) else None


def _size(values: Any = ()) -> tuple[int, ...]:
    return tuple(values)


TENSOR, PARAMETER = Maker(_tensor), Maker(_parameter)
_KNOWN: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): TENSOR,
    ("torch._utils", "_rebuild_tensor_v2"): TENSOR,
    ("torch._utils", "_rebuild_parameter"): PARAMETER,
    ("torch._utils", "_rebuild_parameter_with_state"): PARAMETER,
    ("torch._tensor", "_rebuild_from_type_v2"): Maker(_typed),
    ("torch", "Size"): Maker(_size),
    ("collections", "OrderedDict"): OrderedDict,
}


def tensor_names() -> set[str]:
    """Return the names that a file of plain tensors asks for; no other name is needed."""
    known = {f"{module}.{name}" for module, name in _KNOWN}
    storages = {f"{module}.{name}" for name in STORAGES for module in ("torch", "torch.storage")}
    return known | storages
