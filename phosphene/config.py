"""Configuration of a command: file, then ``--set a.b=c``, then flags, each beating the former."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from phosphene.errors import InputError, UsageError
from phosphene.schemas.base import validation_message

__all__ = ["Config", "resolve_config"]


class Config(BaseModel):
    """Base of command configurations: unknown keys are errors, values do not change later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigType = TypeVar("ConfigType", bound=Config)


def resolve_config(
    kind: type[ConfigType],
    *,
    file: str | os.PathLike[str] | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ConfigType:
    """Merge the three sources of a configuration and check the result.

    A part of which ``sets`` or flags change some keys keeps the command's own defaults for the
    others. A part that a file gives is the file's: what it leaves out is as in the part's class.

    Parameters
    ----------
    kind : type
        The configuration class.
    file : path, optional
        A YAML file.
    sets : sequence of str
        ``"key=value"`` or ``"part.key=value"``; values are read as YAML.
    flags : mapping, optional
        Values of command-line flags; ``None`` means not given.

    Raises
    ------
    InputError
        If the file is missing or not a YAML mapping.
    UsageError
        If a key is unknown or a value has the wrong type.
    """
    stated: dict[str, Any] = _read_yaml(Path(file)) if file is not None else {}
    merged = deepcopy(stated)
    for assignment in sets:
        _assign(merged, assignment)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(merged, key.split("."), value)
    try:
        return kind.model_validate(_over_defaults(kind, merged, stated))
    except ValidationError as error:
        absent = [item["loc"] for item in error.errors() if item["type"] == "missing"]
        if absent:
            names = [".".join(map(str, where)) for where in absent]
            raise UsageError(
                " and ".join(f"--{name.replace('_', '-')}" for name in names) + " must be given",
                remedy=f"add the flag, --set {names[0]}=VALUE, or the key in the file of --config",
            ) from error
        bare = [item["loc"][-1] for item in error.errors() if item["type"] == "string_type"]
        hint = f"; a label needs quotes in YAML, as {bare[0]}: '01'" if bare else ""
        raise UsageError(
            f"the configuration is not valid: {validation_message(error)}",
            expected=f"keys among {', '.join(kind.model_fields)}",
            remedy=f"correct the flag, the --set or the configuration file{hint}",
        ) from error


def _over_defaults(
    kind: type[BaseModel], given: Mapping[str, Any], stated: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``given`` with parts that a file has not stated filled in from their defaults."""
    found = dict(given)
    for name, value in given.items():
        field = kind.model_fields.get(name)
        if field is None or not isinstance(field.default, Config) or not isinstance(value, dict):
            continue
        if name not in stated:
            found[name] = _merge(field.default.model_dump(), value)
        elif isinstance(stated[name], dict):
            found[name] = _over_defaults(type(field.default), value, stated[name])
    return found


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(under)
    for name, value in over.items():
        below = found.get(name)
        if isinstance(below, dict) and isinstance(value, Mapping):
            value = _merge(below, value)
        found[name] = value
    return found


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise InputError(
            f"there is no configuration file {path}",
            expected="a YAML file",
            remedy="check the path",
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not readable YAML ({error})",
            "a YAML mapping",
            remedy="correct the file: one `key: value` per line",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}",
            expected="a YAML mapping",
            remedy="write one `key: value` per line",
        )
    return content


def _assign(merged: dict[str, Any], assignment: str) -> None:
    import yaml

    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise UsageError(
            f"`--set` got {assignment!r}",
            expected="KEY=VALUE, such as a.b=3",
            remedy="write a key, an equals sign and a value",
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"`--set` got {assignment!r}",
            "a value that reads as YAML",
            remedy="quote the value",
        ) from error
    _put(merged, key.split("."), value)


def _put(merged: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = merged.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{'.'.join(path)} goes through {name}, which is a plain value")
        merged = inner
    merged[path[-1]] = value
