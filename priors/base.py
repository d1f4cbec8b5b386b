"""What every prior offers: a predicted embedding in, one of the target's own distribution out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from phosphene.component import Component
from phosphene.errors import UsageError
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["Prior"]


class Prior(Component, ABC):
    """Cleans predicted embeddings, one random generator per item.

    The result of a batch equals the results one at a time.
    """

    kind = "prior"

    @abstractmethod
    def sample(
        self,
        embedding: BrainEmbedding,
        *,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> BrainEmbedding:
        """Return embeddings as the target itself has them.

        Parameters
        ----------
        embedding : BrainEmbedding
            n predictions; their ``lowlevel`` part passes through.
        generators : sequence of torch.Generator
            One per item.
        num_inference_steps : int, optional
            For priors that take steps; the prior's own number by default.
        guidance_scale : float, optional
            For priors that can be guided; the prior's own by default.
        """

    def network_calls(
        self, num_inference_steps: int | None = None, guidance_scale: float | None = None
    ) -> int:
        """Return how often a network is called per item; never, where there is none."""
        return 0

    def check(self, embedding: BrainEmbedding, generators: Sequence[torch.Generator]) -> None:
        """Refuse another number of random generators than of items."""
        if len(generators) != len(embedding):
            raise UsageError(
                f"{len(generators)} random generators for {len(embedding)} items",
                expected="one per item",
            )
