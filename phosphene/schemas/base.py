"""What all stored objects share: a name, a version, strict keys, atomic writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from phosphene.errors import InputError
from phosphene.storage import hash_bytes, read_json, write_json

__all__ = ["Stored", "validation_message"]


class Stored(BaseModel):
    """Base of every object on disk.

    A file carries ``schema`` (the object's name) and ``schema_version``. Reading refuses
    another name, another version and unknown keys, and says so in one message.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_name: ClassVar[str]
    schema_version: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        header = {"schema": self.schema_name, "schema_version": self.schema_version}
        return header | self.model_dump(mode="json")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically."""
        write_json(path, self.to_json())

    @property
    def hash(self) -> str:
        """Identity of the content, independent of the order of keys."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hash_bytes(text.encode())[:16]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read and check a file; anything wrong with it raises :class:`InputError`."""
        return cls.from_json(read_json(path), source=str(Path(path)))

    @classmethod
    def from_json(cls, content: Any, *, source: str) -> Self:
        """Check the content of a file named ``source`` in messages."""
        if not isinstance(content, dict) or content.get("schema") != cls.schema_name:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise InputError(
                f"{source} is not a {cls.schema_name} file (its schema is {found!r})",
                expected=f'an object with "schema": "{cls.schema_name}"',
                remedy="check the path, or restore the file from its source",
            )
        body = {k: v for k, v in content.items() if k not in ("schema", "schema_version")}
        version = content.get("schema_version")
        if version != cls.schema_version:
            raise InputError(
                f"{source} has version {version!r} of the {cls.schema_name} schema",
                expected=f"version {cls.schema_version}",
                remedy="read it with the phosphene release that wrote it, or write it again "
                "with this one; docs/contracts.md lists what changed between versions",
            )
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise InputError(
                f"{source} does not fit the {cls.schema_name} schema: {validation_message(error)}",
                expected="exactly the keys that docs/contracts.md lists",
                remedy="restore the file or write it again with this release",
            ) from error


def validation_message(error: ValidationError) -> str:
    """Return what pydantic found, one short clause per key."""
    clauses = []
    for item in error.errors():
        key = ".".join(map(str, item["loc"])) or "(whole)"
        clauses.append(f"{key}: {item['msg'].lower()}")
    return "; ".join(clauses)
