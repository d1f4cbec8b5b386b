"""Places of a pickle's memory, checked before it is read.

A pickle keeps what it has read at numbered places, and python makes room for the highest number at
once: ten bytes can ask for many gigabytes.
"""

from __future__ import annotations

import pickle
import pickletools
from typing import IO

__all__ = ["check_memo"]

OPERATIONS = {ord(one.code): one for one in pickletools.opcodes}
LENGTHS = {  # bytes that say how many follow
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def check_memo(handle: IO[bytes]) -> None:
    """Refuse places beyond the number of operations; contents of arrays are passed over.

    Parameters
    ----------
    handle : binary file
        At the beginning of a pickle, where it is again afterwards.

    Raises
    ------
    pickle.UnpicklingError
        If a place is further than a program of this length can have come.
    """
    begin, seen = handle.tell(), 0
    while code := handle.read(1):
        operation = OPERATIONS.get(code[0])
        if operation is None or operation.name == "STOP":
            break  # what comes after is never read; a wrong code is the unpickler's to refuse
        seen += 1
        place = _argument(handle, operation)
        if place is not None and place > seen:
            raise pickle.UnpicklingError(f"operation {seen} keeps something at place {place}")
    handle.seek(begin)


def _argument(handle: IO[bytes], operation: pickletools.OpcodeInfo) -> int | None:
    """Pass over the argument of an operation; return the place that it names, if it names one."""
    argument, keeps = operation.arg, operation.name.endswith("PUT")
    if argument is None:
        return None
    if argument.n == pickletools.UP_TO_NEWLINE:
        line = handle.readline()
        if operation.name in ("GLOBAL", "INST"):
            handle.readline()
        try:
            return int(line) if keeps else None
        except ValueError:
            return None  # for the unpickler to refuse
    if argument.n in LENGTHS:
        length = handle.read(LENGTHS[argument.n])
        handle.seek(int.from_bytes(length, "little"), 1)
        return None
    value = handle.read(argument.n)
    return int.from_bytes(value, "little") if keeps else None
