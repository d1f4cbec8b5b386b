"""Samples of webdataset tars: members by an allow-list, no pickles, nothing unpacked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures, decode_picture
from phosphene.data.readers.damage import reading
from phosphene.errors import InputError

__all__ = ["Sample", "read_samples"]

Array = np.ndarray[Any, Any]
KIND = "an uncompressed tar file of samples"
MAX_BYTES = 256 << 20  # of a member that is read


@dataclass(frozen=True)
class Sample:
    """Members of one sample: where each lies in its tar.

    Attributes
    ----------
    shard : Path
    key : str
    places : dict of str to (int, int)
        Ending such as ``behav.npy`` to offset and size in bytes.
    """

    shard: Path
    key: str
    places: dict[str, tuple[int, int]] = field(default_factory=dict)

    def array(self, ending: str) -> Array:
        """Read a member as an array of numbers."""
        with reading(self.shard, f"a tar with whole arrays {ending}"):
            return np.asarray(np.load(io.BytesIO(self._bytes(ending)), allow_pickle=False))

    def picture(self) -> Pictures:
        """Read the picture of the sample."""
        ending = next(name for name in ("png", "jpg", "jpeg") if name in self.places)
        source = f"{self.shard}#{self.key}.{ending}"
        return decode_picture(io.BytesIO(self._bytes(ending)), source=source)

    @property
    def has_picture(self) -> bool:
        """Whether the sample holds a picture."""
        return any(name in self.places for name in ("png", "jpg", "jpeg"))

    def _bytes(self, ending: str) -> bytes:
        if ending not in self.places:
            raise InputError(
                f"the sample {self.key} of {self.shard} has no {ending}",
                expected=f"one, beside {', '.join(sorted(self.places))}",
                remedy="copy the file again from its source",
            )
        offset, size = self.places[ending]
        if size > MAX_BYTES:
            raise InputError(f"{self.key}.{ending} of {self.shard} has {size} bytes", "far fewer")
        with self.shard.open("rb") as handle:
            handle.seek(offset)
            return handle.read(size)


def read_samples(shards: Sequence[Path], endings: Sequence[str]) -> Iterator[Sample]:
    """Yield the samples of some tars in order; members with other endings are passed over.

    Raises
    ------
    InputError
        If a tar is damaged or a member is no plain file.
    """
    for shard in shards:
        found: dict[str, Sample] = {}
        with reading(shard, KIND), tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if ending not in endings:
                    continue
                if not member.isreg():
                    raise InputError(
                        f"{shard} has a link {member.name}", "plain files", "copy it again"
                    )
                key = f"{folder}/{stem}" if folder else stem
                sample = found.setdefault(key, Sample(shard, key))
                sample.places[ending] = (member.offset_data, member.size)
        yield from found.values()
