"""What can be indexed: pictures that are still to be embedded, and embeddings that are ready."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "METADATA_COLUMNS",
    "EmbeddingSource",
    "Item",
    "PictureSource",
    "Source",
    "open_source",
    "refuse_duplicates",
]

METADATA_COLUMNS = ("id", "path", "caption")


@dataclass(frozen=True)
class Item:
    """One picture of a collection.

    Attributes
    ----------
    id : str
        Unique in the collection.
    path : str
        Where the picture lies: a file, ``SHARD.tar#MEMBER``, or an address.
    caption : str
        Empty where there is none.
    """

    id: str
    path: str
    caption: str = ""


class Source(ABC):
    """A collection of known length.

    Attributes
    ----------
    name : str
        Where it lies.
    """

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def hash(self) -> str:
        """Identity of the content, as far as names and sizes tell."""


class PictureSource(Source):
    """Pictures, each read when it is asked for."""

    @abstractmethod
    def item(self, row: int) -> Item:
        """Return what is known about a picture without looking at it."""

    @abstractmethod
    def read(self, row: int) -> Pictures:
        """Return the picture (H, W, C) in uint8; an unreadable one is an :class:`InputError`."""


class EmbeddingSource(Source):
    """Embeddings that somebody else computed, with what they are of."""

    dimension: int

    @abstractmethod
    def read(self, start: int, stop: int) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
        """Return embeddings (stop - start, dimension) and their ``id``, ``path``, ``caption``."""


def open_source(path: str | os.PathLike[str]) -> PictureSource | EmbeddingSource:
    """Open a folder of pictures, webdataset shards, or ready embeddings.

    Parameters
    ----------
    path : path
        A folder of pictures; ``X.tar``, a folder of such, or a pattern as
        ``data/{00000..00099}.tar``; a parquet file or folder, or a folder with ``img_emb`` and
        ``metadata`` as clip-retrieval writes it.
    """
    from phosphene.pipelines.retrieval.picture_folder import PictureFolder
    from phosphene.pipelines.retrieval.picture_shards import PictureShards
    from phosphene.pipelines.retrieval.ready_embeddings import ReadyEmbeddings

    name = os.fspath(path)
    root = Path(name)
    if root.is_dir():
        if (root / "img_emb").is_dir() or (not any(root.glob("*.tar")) and any(_parquet(root))):
            return ReadyEmbeddings(name)
        return PictureShards(name) if any(root.glob("*.tar")) else PictureFolder(name)
    if root.suffix == ".parquet":
        return ReadyEmbeddings(name)
    if root.suffix == ".tar" or any(letter in name for letter in "{*"):
        return PictureShards(name)
    raise InputError(
        f"there are no pictures at {name}",
        expected="a folder of pictures, webdataset shards (.tar) or ready embeddings (parquet)",
        remedy="check the path; unpack archives of another kind into a folder",
    )


def _parquet(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def refuse_duplicates(ids: pd.Series[Any], source: str) -> None:
    """Raise :class:`InputError` where an identifier stands twice."""
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(
            f"{source} holds {len(twice)} identifiers again, {twice.iloc[0]!r} for example",
            expected="every identifier once",
            remedy="give every picture its own name, or leave repeated ones out",
        )
