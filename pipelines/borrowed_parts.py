"""Parts of a model that lie in another one: a small folder names it and what it has to be."""

from __future__ import annotations

from pathlib import Path

from phosphene.checkpoints.registry import model_folder
from phosphene.errors import InputError
from phosphene.schemas import BorrowedPart, ModelIndex
from phosphene.storage import hash_bytes, hash_file

__all__ = ["borrow", "find_borrowed"]

INDEX_NAME = "model_index.json"


def borrow(model: str, role: str) -> BorrowedPart:
    """Return how another model's part is named and recognised.

    Parameters
    ----------
    model : str
        A known model, ``local-dir:PATH`` or ``hf-hub:ID``.
    role : str
        Such as ``target`` or ``generator``.
    """
    index = ModelIndex.load(model_folder(model) / INDEX_NAME)
    return BorrowedPart(model=model, hash=_identity(model, index, role))


def find_borrowed(part: BorrowedPart, role: str) -> Path:
    """Return the folder of a borrowed part, every file of it verified.

    Raises
    ------
    AssetError
        If the other model is not there.
    InputError
        If its part is another one than it was.
    """
    folder = model_folder(part.model)
    index = ModelIndex.load(folder / INDEX_NAME)
    found = _identity(part.model, index, role)
    if found != part.hash:
        raise InputError(
            f"the {role} of the model {part.model} has the identity {found}",
            expected=f"{part.hash}, with which the model that borrows it was trained",
            remedy="install the release that has both, or train the model again",
        )
    for name, expected in _files(index, role).items():
        path = folder / name
        if not path.is_file() or hash_file(path) != expected:
            raise InputError(
                f"the file {name} of the model {part.model} is missing, changed or damaged",
                expected=f"content with the SHA-256 {expected[:16]}...",
                remedy="copy that model again from its source",
            )
    return folder / role


def _files(index: ModelIndex, role: str) -> dict[str, str]:
    return {name: sha for name, sha in index.files.items() if name.startswith(f"{role}/")}


def _identity(model: str, index: ModelIndex, role: str) -> str:
    files = _files(index, role)
    if not files:
        raise InputError(
            f"the model {model} has no files of the part {role}",
            expected=f"one with a folder {role} of its own",
            remedy="borrow from another model",
        )
    text = "\n".join(f"{name} {sha}" for name, sha in sorted(files.items()))
    return hash_bytes(text.encode())[:16]
