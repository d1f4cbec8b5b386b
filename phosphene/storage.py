"""Reading and writing files safely: atomic writes, hashes, arrays without pickles."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.errors import InputError, PhospheneError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = [
    "TEMPORARY",
    "atomic_path",
    "check_new_folder",
    "hash_bytes",
    "hash_file",
    "load_array",
    "load_tensors",
    "new_folder",
    "read_json",
    "save_array",
    "save_tensors",
    "write_error",
    "write_json",
    "write_text",
]

TEMPORARY = ".tmp-"  # how names of half-written files start


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that replaces it when the block succeeds.

    A failure (an exception, a full disk, a killed process) never leaves a half-written
    ``path``; an existing file stays as it was.
    """
    target = Path(path)
    # The suffix stays last: writers such as nibabel or Pillow choose the format by it.
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_error(target: Path, error: OSError) -> PhospheneError:
    """Return the error that tells a user why ``target`` could not be written."""
    # numpy reports a short write as an OSError without a number.
    short_write = error.errno is None and "written" in str(error)
    if short_write or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return PhospheneError(
            f"the disk is full: {target} could not be written",
            remedy="free some space or choose another output; nothing half-written was left, "
            "and --resume goes on from what is finished",
        )
    reason = error.strerror or str(error)
    return UsageError(
        f"{target} could not be written ({reason})",
        expected="a folder that can be written to",
        remedy="check its permissions or choose another output",
    )


def check_new_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder that can be made; long work asks before it starts.

    Raises
    ------
    UsageError
        If ``path`` exists and is not an empty folder, or is the current folder itself, which
        cannot be replaced under the feet of the shell.
    """
    target = Path(path)
    try:
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:
        raise write_error(target, error) from error
    if taken:
        raise UsageError(
            f"the output {target} exists and is not an empty folder",
            expected="a new or an empty folder, so that nothing of yours is overwritten",
            remedy="choose another output or remove that one first",
        )
    if not target.name or target.name == "..":
        raise UsageError(
            f"the output {target} has no name of its own",
            expected="the name of a new folder",
            remedy=f"name one, for example {target / 'model'}",
        )
    return target


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Build a folder under a temporary name and move it to ``path`` when complete.

    Raises
    ------
    UsageError
        If ``path`` exists and is not an empty folder, or cannot be written.
    """
    target = check_new_folder(path)
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{target.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.replace(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal, read in blocks."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` in UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as indented JSON, atomically. NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file; a missing or damaged one raises :class:`InputError`."""
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"there is no file {source}",
            expected="a JSON file of that name",
            remedy="check the path, or copy the folder again from its source",
        )
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{source} is not readable JSON ({error})",
            expected="a JSON file written by phosphene",
            remedy="restore the file from its source",
        ) from error


def save_array(path: str | os.PathLike[str], array: np.ndarray[Any, Any]) -> None:
    """Write one array as ``.npy``, atomically and without pickles."""
    import numpy as np

    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)


def load_array(source: str | os.PathLike[str], *, memory_map: bool = True) -> np.ndarray[Any, Any]:
    """Read ``FILE.npy``, ``FILE.npz`` or ``FILE.npz:KEY`` without ever unpickling.

    Returns
    -------
    ndarray
        Memory-mapped for ``.npy`` unless ``memory_map`` is false.

    Raises
    ------
    InputError
        If the file is missing, damaged, holds pickled objects, or an ``.npz`` has several
        arrays and no key was named.
    """
    import numpy as np

    path, key = _split_key(str(source))
    if not path.is_file():
        raise InputError(
            f"there is no file {path}",
            expected="an .npy or .npz file",
            remedy="check the path and its spelling",
        )
    try:
        if path.suffix == ".npz":
            return _load_npz(path, key)
        return np.asanyarray(
            np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
        )
    except PhospheneError:
        raise
    except Exception as error:  # a damaged header can make numpy raise a dozen kinds
        raise _array_error(path, error) from error


def _split_key(source: str) -> tuple[Path, str | None]:
    head, separator, key = source.rpartition(".npz:")
    return (Path(f"{head}.npz"), key) if separator else (Path(source), None)


def _load_npz(path: Path, key: str | None) -> np.ndarray[Any, Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if key is None and len(names) == 1:
            key = names[0]
        if key is None or key not in names:
            raise InputError(
                f"{path} holds the arrays {', '.join(names) or '(none)'}"
                + (f" and no {key!r}" if key else ""),
                expected="one array, or the name of one",
                remedy=f"name one, for example {path}:{names[0] if names else 'KEY'}",
            )
        return np.asanyarray(archive[key])


def _array_error(path: Path, error: Exception) -> InputError:
    with path.open("rb") as handle:
        start = handle.read(6)
    # numpy takes whatever it does not know for a pickle; these start with \x80 in every version
    # that is in use.
    if not start.startswith((b"\x93NUMPY", b"PK", b"\x80")):
        return InputError(
            f"{path} is not an array file: it starts with {start!r}",
            expected="a complete .npy or .npz file",
            remedy="save the array with numpy.save, or copy the file again from its source",
        )
    if any(word in str(error).lower() for word in ("pickle", "object array", "python objects")):
        return InputError(
            f"{path} holds pickled Python objects, which are never loaded",
            expected="a plain numeric array",
            remedy="save it again as numbers: numpy.save(path, array.astype('float32'))",
        )
    return InputError(
        f"{path} is damaged or not an array file ({error})",
        expected="a complete .npy or .npz file",
        remedy="copy it again from its source",
    )


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, torch.Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        try:
            save_file(
                {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
                temporary,
            )
        except SafetensorError as error:  # its text is all that is left of the system's error
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
        mask = os.umask(0)  # the library makes the file private; others follow the umask
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)


def load_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a safetensors file; a missing or damaged one raises :class:`InputError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise InputError(
            f"there is no file {path}",
            expected="a safetensors file",
            remedy="copy the folder again from its source",
        )
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is damaged or not a safetensors file ({error})",
            expected="a complete safetensors file",
            remedy="copy the folder again from its source",
        ) from error
    return tensors
