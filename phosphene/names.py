"""Names of parts: registries that import on use, and where a model's folder lies."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from phosphene.errors import AssetError, UsageError, check_option

__all__ = ["Registry", "check_subject", "require", "resolve_folder"]


class Registry:
    """Names of one kind of part, each mapped to ``"module:Class"`` and imported on use.

    Parameters
    ----------
    kind : str
        What the names stand for, as error messages say it.
    entries : mapping of str to str
        Name to ``"module:Class"``.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def joined(self, *others: Registry) -> Registry:
        """Return a registry of the same kind that knows the names of others as well."""
        entries = dict(self._entries)
        for other in others:
            entries |= other._entries
        return Registry(self.kind, entries)

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._entries)

    def get(self, name: str) -> type[Any]:
        """Return the class of that name; an unknown one is an error that lists them all."""
        module, _, attribute = self._entries[
            check_option(self.kind, name, self._entries)
        ].partition(":")
        found: type[Any] = getattr(import_module(module), attribute)
        return found


def resolve_folder(name: str) -> Path:
    """Return the local folder that ``local-dir:PATH``, ``hf-hub:ID`` or a path stands for.

    Raises
    ------
    AssetError
        If the folder does not exist or cannot be fetched.
    """
    prefix, separator, rest = name.partition(":")
    if separator and prefix == "hf-hub":
        from phosphene.hub import hub_folder

        return hub_folder(rest)
    folder = Path(rest if separator and prefix == "local-dir" else name)
    if not folder.is_dir():
        raise AssetError(
            f"there is no model folder {folder}",
            expected="a folder (local-dir:PATH) or a hub id (hf-hub:OWNER/NAME)",
            remedy="check the path, or train one with `phosphene train`",
        )
    return folder


def require(module: str, extra: str) -> Any:
    """Import an optional module, or say which extra brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise AssetError(
            f"the Python package {module} is not installed",
            remedy=f'pip install "phosphene[{extra}]"',
        ) from error


def check_subject(subject: str) -> str:
    """Return a subject label without its ``sub-`` prefix; only letters and digits are allowed."""
    label = subject.removeprefix("sub-")
    if not label.isalnum() or not label.isascii():
        raise UsageError(
            f"`subject` is {subject!r}",
            expected="a label of letters and digits, such as 01",
            remedy="give the label that stands in file names after sub-",
        )
    return label
