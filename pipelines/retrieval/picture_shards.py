"""Pictures in webdataset shards: tar files whose members share a key.

Members are found by their place in the file and decoded by an allow-list of endings; nothing is
ever unpacked onto the disk and nothing else in a shard is ever looked at.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from phosphene.data.pictures import PICTURE_SUFFIXES, Pictures, decode_picture
from phosphene.data.readers.damage import reading
from phosphene.errors import InputError
from phosphene.pipelines.retrieval.sources import Item, PictureSource
from phosphene.storage import hash_bytes

__all__ = ["PictureShards", "read_member"]

KIND = "an uncompressed tar file of pictures"
MAX_PICTURE, MAX_TEXT = 256 << 20, 1 << 20  # bytes of a member that are read at most


@dataclass(slots=True)
class Place:
    """Where a sample's members lie in its shard: offset and size in bytes."""

    shard: int
    key: str
    member: str = ""
    picture: tuple[int, int] = (0, 0)
    text: tuple[int, int] | None = None
    facts: tuple[int, int] | None = None


class PictureShards(PictureSource):
    """Shards of webdataset or img2dataset.

    Parameters
    ----------
    pattern : str
        A tar file, a folder of tar files, or a pattern with ``{00000..00099}`` or ``*``.

    Raises
    ------
    InputError
        If a shard is damaged, has a member that would lead out of its folder, or no shard holds
        a picture.
    """

    def __init__(self, pattern: str) -> None:
        self.name = pattern if "{" in pattern or "*" in pattern else str(Path(pattern).resolve())
        self.shards = _shards(pattern)
        self.places: list[Place] = []
        for number, shard in enumerate(self.shards):
            self.places += _scan(shard, number)
        if not self.places:
            raise InputError(
                f"the shards of {pattern} hold no pictures",
                expected=f"members ending in {', '.join(PICTURE_SUFFIXES)}",
                remedy="check the pattern",
            )
        alone = len({place.key for place in self.places}) == len(self.places)
        self.ids = [
            place.key if alone else f"{self.shards[place.shard].stem}/{place.key}"
            for place in self.places
        ]
        if len(set(self.ids)) < len(self.ids):
            raise InputError(
                f"several shards of {pattern} have the same name and the same keys",
                expected="every key once, or shards of different names",
                remedy="rename the shards",
            )

    def __len__(self) -> int:
        return len(self.places)

    @property
    def hash(self) -> str:
        lines = (
            f"{name}\t{place.picture}" for name, place in zip(self.ids, self.places, strict=True)
        )
        return hash_bytes("\n".join(lines).encode())[:16]

    def item(self, row: int) -> Item:
        place = self.places[row]
        shard = self.shards[place.shard]
        return Item(self.ids[row], f"{shard.resolve()}#{place.member}", _caption(shard, place))

    def read(self, row: int) -> Pictures:
        place = self.places[row]
        shard = self.shards[place.shard]
        return _decode(shard, place.member, place.picture)


def read_member(path: str) -> Pictures:
    """Read the picture that a path ``SHARD.tar#MEMBER`` names."""
    shard, _, name = path.partition("#")
    with reading(shard, KIND), tarfile.open(shard, "r:") as archive:
        member = archive.getmember(name)
        place = (member.offset_data, member.size)
    return _decode(Path(shard), name, place)


def _shards(pattern: str) -> list[Path]:
    import braceexpand

    found: list[Path] = []
    for one in braceexpand.braceexpand(pattern):
        path = Path(one)
        if path.is_dir():
            found += sorted(path.glob("*.tar"))
        elif "*" in one:
            found += sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        else:
            found.append(path)
    absent = [path for path in found if not path.is_file()]
    if absent or not found:
        raise InputError(
            f"there is no shard {absent[0] if absent else pattern}",
            expected=KIND,
            remedy="check the pattern",
        )
    return found


def _scan(shard: Path, number: int) -> list[Place]:
    """List the samples of a shard; only headers are read."""
    from webdataset.tariterators import base_plus_ext

    found: dict[str, Place] = {}
    with reading(shard, KIND), tarfile.open(shard, "r:") as archive:
        for member in archive:
            _refuse_escape(shard, member)
            if not member.isfile():
                continue
            key, ending = base_plus_ext(member.name)
            if key is None:
                continue
            place = found.setdefault(key, Place(number, key))
            span = (member.offset_data, member.size)
            if f".{ending.lower()}" in PICTURE_SUFFIXES:
                if place.member:
                    raise InputError(
                        f"{shard} holds {place.member} and {member.name}",
                        expected="one picture per key: the key is its identifier",
                        remedy="give every picture its own key",
                    )
                place.member, place.picture = member.name, span
            elif ending == "txt":
                place.text = span
            elif ending == "json":
                place.facts = span
        end = archive.offset  # tarfile takes a broken header for the end
    _refuse_cut(shard, end)
    return [place for place in found.values() if place.member]


def _refuse_escape(shard: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or member.issym() or member.islnk():
        raise InputError(
            f"{shard} holds the member {member.name!r}, which leads out of its folder",
            expected="plain files below one folder; links and .. have no place in a shard",
            remedy="do not trust this file; get it again from its source",
        )


def _refuse_cut(shard: Path, end: int) -> None:
    with shard.open("rb") as handle:
        handle.seek(end)
        block = handle.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise InputError(
            f"{shard} is cut off or damaged at byte {end}",
            expected=f"{KIND} with its end mark",
            remedy="copy it again from its source",
        )


def _bytes(shard: Path, span: tuple[int, int], limit: int) -> bytes:
    if span[1] > limit:
        raise InputError(
            f"a member of {shard} has {span[1] >> 20} MiB",
            expected=f"at most {limit >> 20} MiB",
            remedy="shrink the picture first",
        )
    with shard.open("rb") as handle:
        handle.seek(span[0], os.SEEK_SET)
        return handle.read(span[1])


def _decode(shard: Path, member: str, span: tuple[int, int]) -> Pictures:
    content = io.BytesIO(_bytes(shard, span, MAX_PICTURE))
    return decode_picture(content, source=f"{shard}#{member}")


def _caption(shard: Path, place: Place) -> str:
    """Return the text beside a picture, or the caption among its facts; else nothing."""
    try:
        if place.text is not None:
            text = _bytes(shard, place.text, MAX_TEXT).decode("utf-8", errors="replace")
            return " ".join(text.split())
        if place.facts is not None:
            facts = json.loads(_bytes(shard, place.facts, MAX_TEXT))
            found = facts.get("caption") if isinstance(facts, dict) else None
            return "" if found is None else " ".join(str(found).split())
    except (InputError, ValueError, RecursionError):  # no caption is no reason to stop
        pass
    return ""
