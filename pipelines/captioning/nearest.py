"""The caption of the nearest picture of an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError
from phosphene.pipelines.captioning.base import Captioner
from phosphene.pipelines.retrieval.index import INDEX_NAME, Index
from phosphene.types import BrainEmbedding

__all__ = ["NearestCaptioner"]

TRIED = 50  # best results among which one must have a caption


class NearestCaptioner(Captioner):
    """Says what stands below the nearest picture that has a caption.

    Parameters
    ----------
    index : Index
        Of the target's own embeddings or search keys, built with captions.
    target : StimulusEncoder
    """

    name: ClassVar[str] = "nearest"

    def __init__(self, index: Index, target: StimulusEncoder) -> None:
        index.check_target(target.spec)
        self.index = index

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        if not (folder / INDEX_NAME).is_file():
            raise InputError(
                f"there is no index in {folder}",
                expected="a folder written by `phosphene index build`",
                remedy="name the index behind a colon: nearest:INDEX",
            )
        return cls(Index.open(folder), target)

    @property
    def settings(self) -> dict[str, str]:
        return {"caption": self.name, "caption_index": self.index.file.hash}

    def caption(self, condition: BrainEmbedding) -> list[str]:
        table = self.index.search(condition.main, TRIED).table()
        table = table[table["caption"].fillna("").str.strip() != ""]
        best: dict[Any, str] = table.groupby("query", sort=False)["caption"].first().to_dict()
        missing = [item for item in range(len(condition)) if str(item) not in best]
        if missing:
            raise InputError(
                f"none of the {TRIED} pictures nearest to item {missing[0]} has a caption in "
                f"{self.index.folder}",
                expected="an index whose pictures have captions",
                remedy="build it from pictures with captions: NAME.txt beside NAME.jpg, in a "
                "folder or in shards, or a column `caption` of ready embeddings",
            )
        return [best[str(item)].strip() for item in range(len(condition))]
