"""Retrieved pictures as the reconstruction, or as what another generator starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.retrieval.found_pictures import found_pictures
from phosphene.pipelines.retrieval.index import INDEX_NAME, Index
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["RetrievalGenerator"]

SIZE = 256  # pixels, where the target has no size of its own
TRIED = 10  # best results among which one must be readable


class RetrievalGenerator(Generator):
    """Shows the picture of an index that is nearest to an embedding.

    It draws nothing at random: all samples of an item are the same picture. The low-level branch
    has no part in it.

    Parameters
    ----------
    index : Index
        Of the target's own embeddings or search keys, with its pictures in place.
    target : StimulusEncoder
    size : int, optional
        Side of the pictures; the target's own by default.
    """

    name: ClassVar[str] = "retrieval"

    def __init__(self, index: Index, target: StimulusEncoder, size: int | None = None) -> None:
        index.check_target(target.spec)
        self.index, self.target = index, target
        self.size = int(target.spec.preprocessing.get("size", SIZE)) if size is None else size

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        """Open the index ``folder``, which ``--generator retrieval:INDEX`` names."""
        if not (folder / INDEX_NAME).is_file():
            raise UsageError(
                f"the generator retrieval without an index: {folder} is none",
                expected="retrieval:INDEX, a folder written by `phosphene index build`",
                remedy="name the index behind a colon",
            )
        return cls(Index.open(folder), target)

    def save(self, folder: Path) -> None:
        """Refuse: an index is no part of a model."""
        raise UsageError(
            "a model with the generator retrieval cannot be saved",
            expected="a generator whose parts belong to the model",
            remedy="save the model with its own generator, and name retrieval:INDEX when it runs",
        )

    @property
    def settings(self) -> dict[str, str]:
        return {"index": self.index.file.hash}

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        return self

    def init(self, condition: BrainEmbedding, *, size: int | None = None) -> torch.Tensor:
        """Return retrieved pictures (n, 3, H, W) in 0..1, for another generator to start from."""
        import torch

        pictures = self._retrieved(condition, self.size if size is None else size)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255

    def generate(
        self,
        condition: BrainEmbedding,
        *,
        init: torch.Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        output_type: Literal["np", "pt"] = "np",
    ) -> Pictures | torch.Tensor:
        self.check(condition, generators)
        if num_inference_steps is not None:
            raise UsageError(
                "the generator retrieval takes no steps",
                expected="no --steps",
                remedy="leave the flag away, or name a generator that takes steps",
            )
        if output_type == "pt":
            return self.init(condition)
        return self._retrieved(condition, self.size)

    def _retrieved(self, condition: BrainEmbedding, size: int) -> Pictures:
        result = self.index.search(condition.main, TRIED)
        table = result.table()
        best: list[Any] = []
        for query, rows in table.groupby("query", sort=False):
            readable = (one for one in found_pictures(rows["path"]) if one is not None)
            picture = next(readable, None)
            if picture is None:
                raise AssetError(
                    f"no picture that was found for item {query} can be read, "
                    f"{rows['path'].iloc[0]!r} for example",
                    expected="pictures where they lay when the index was built",
                    remedy="put them back, or build the index again",
                )
            best.append(picture)
        return np.asarray(fit_pictures(best, size=size, channels=3))
