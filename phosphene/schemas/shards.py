"""``shards.json`` beside webdataset shards of a canonical dataset."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from phosphene.schemas.base import Stored

__all__ = ["Shard", "ShardedSubject", "ShardsFile"]


class ShardedSubject(BaseModel):
    """A subject's recording as it was divided; ``content_hash`` is that of the dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shape: tuple[int, ...]
    dtype: Literal["float16", "float32"]
    content_hash: str


class Shard(BaseModel):
    """One tar file: trials of one subject and one split, in the order of ``rows``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    subject: str
    split: str
    rows: list[int]
    size: int
    sha256: str


class ShardsFile(Stored):
    """Every shard, and which trials of the dataset it holds."""

    schema_name: ClassVar[str] = "shards"
    dataset: str
    modality: Literal["fmri", "eeg", "meg"]
    subjects: dict[str, ShardedSubject]
    shards: list[Shard]
    created_with: str
