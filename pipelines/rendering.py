"""From a decoded embedding to a picture: prior, start, generator and borrowed detail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.step_progress import StepEnd
from phosphene.priors.base import Prior
from phosphene.priors.detail import BorrowedDetail
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding

__all__ = ["Rendering"]


@dataclass(frozen=True, eq=False)
class Rendering:
    """One way to make pictures of embeddings.

    Parameters
    ----------
    generator : Generator
    prior : Prior, optional
        Draws from the same random stream as the generator.
    strength : float
        1 starts from noise alone.
    start : callable, optional
        Returns what the generator starts from; needed where the strength is below 1.
    detail : BorrowedDetail, optional
        Used where the embedding has features to search with.
    features : StimulusEncoder, optional
        What the features are of; looks at pictures with detail of several lenders.
    blend : float
        Share of the low-level picture in what is shown.
    lowlevel : callable, optional
        Returns low-level pictures (n, 3, H, W) in 0..1 of any size; needed for a blend.
    tell : callable, optional
        Called after every step of a block, by generators that tell them.
    """

    generator: Generator
    prior: Prior | None = None
    strength: float = 1.0
    start: Callable[[BrainEmbedding], Tensor] | None = None
    detail: BorrowedDetail | None = None
    features: StimulusEncoder | None = None
    blend: float = 0.0
    lowlevel: Callable[[BrainEmbedding], Tensor] | None = None
    tell: StepEnd | None = None

    def pictures(
        self,
        embedding: BrainEmbedding,
        seeds: Sequence[int],
        *,
        num_inference_steps: int | None = None,
    ) -> Pictures:
        """Return one picture (H, W, 3) per item.

        Parameters
        ----------
        embedding : BrainEmbedding
            n items.
        seeds : sequence of n int
            The first draw of an item has its seed, so that with and without borrowed detail it
            is the same picture.
        """
        if self.detail is None or self.detail.blur == 0 or embedding.features is None:
            return self._draw(embedding, seeds, num_inference_steps)
        return self.lend(self.coarse(embedding, seeds, num_inference_steps), embedding)

    def batches(
        self,
        embedding: BrainEmbedding,
        seeds: np.ndarray[Any, Any],
        batch_size: int,
        num_inference_steps: int | None = None,
    ) -> Iterator[tuple[int, Pictures]]:
        """Yield ``(first item, pictures (n, n_samples, H, W, 3))`` for seeds (n_items, n_samples).

        The same pictures in batches of any size.
        """
        for start in range(0, len(embedding), batch_size):
            part = embedding[start : start + batch_size]
            columns = [
                self.pictures(part, column, num_inference_steps=num_inference_steps)
                for column in seeds[start : start + batch_size].T.tolist()
            ]
            yield start, np.stack(columns, axis=1)

    def coarse(
        self,
        embedding: BrainEmbedding,
        seeds: Sequence[int],
        num_inference_steps: int | None = None,
    ) -> np.ndarray[Any, Any]:
        """Return what detail is put on: the mean of some draws (n, H, W, 3), in 0..255."""
        n, draws = len(embedding), 1 if self.detail is None else self.detail.draws
        drawn = self._draw(
            embedding[torch.arange(n).repeat_interleave(draws)],
            [_draw_seed(seed, index) for seed in seeds for index in range(draws)],
            num_inference_steps,
        )
        return np.asarray(drawn.reshape(n, draws, *drawn.shape[1:]).mean(axis=1))

    def lend(self, coarse: np.ndarray[Any, Any], embedding: BrainEmbedding) -> Pictures:
        """Return coarse pictures (n, H, W, 3) with borrowed detail."""
        assert self.detail is not None
        assert self.generator.latents is not None
        return self.detail.lend(
            coarse,
            embedding,
            decode=self.generator.latents.decode,
            describe=None if self.features is None else self.features.encode_places,
        )

    def _draw(self, embedding: BrainEmbedding, seeds: Sequence[int], steps: int | None) -> Pictures:
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        if self.prior is not None:
            embedding = self.prior.sample(embedding, generators=generators)
        started = self.start is not None and self.strength < 1
        more: dict[str, Any] = {} if self.tell is None else {"callback_on_step_end": self.tell}
        rendered = np.asarray(
            self.generator.generate(
                embedding,
                init=self.start(embedding) if started and self.start is not None else None,
                strength=self.strength,
                generators=generators,
                num_inference_steps=steps,
                **more,
            )
        )
        if self.blend == 0 or self.lowlevel is None:
            return rendered
        return _blended(rendered, self.lowlevel(embedding), self.blend)


def _blended(pictures: Pictures, lowlevel: Tensor, share: float) -> Pictures:
    """Return pictures (n, H, W, 3) with a share of others (n, C, h, w), resized to them."""
    size = (pictures.shape[1], pictures.shape[2])
    fitted = F.interpolate(lowlevel.float().cpu(), size, mode="bilinear", antialias=True)
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return to_uint8((1 - share) * shown + share * fitted.clamp(0, 1))


def _draw_seed(seed: int, index: int) -> int:
    return int(seed) if index == 0 else item_seed(int(seed), "draw", "", index)
