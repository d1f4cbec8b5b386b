"""Words for clips: of all captions that training clips had, the one nearest to what was decoded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["KnownCaptions", "thinned"]

MOST = 1000  # captions that a model keeps
BLOCK = 64


class KnownCaptions:
    """Captions in the space of a target that reads words.

    Parameters
    ----------
    texts : sequence of str
    target : StimulusEncoder
        With ``encode_text``.
    """

    def __init__(self, texts: Sequence[str], target: Any) -> None:
        self.texts, self.target = tuple(texts), target

    @cached_property
    def _embeddings(self) -> Tensor:
        parts = [
            self.target.encode_text(self.texts[start : start + BLOCK]).float().cpu()
            for start in range(0, len(self.texts), BLOCK)
        ]
        return torch.cat(parts)

    def nearest(self, decoded: Tensor) -> list[str]:
        """Return a caption for each decoded embedding (n, d).

        All captions have much in common, and decoded ones are shrunken towards it: directions are
        compared from the mean of all captions on.
        """
        mean = self._embeddings.mean(0)
        known = F.normalize(self._embeddings - mean, dim=1)
        found = (decoded.float().cpu() - mean) @ known.T
        return [self.texts[row] for row in found.argmax(dim=1).tolist()]


def thinned(texts: Sequence[str]) -> tuple[str, ...]:
    """Return every caption once, evenly thinned to as many as a model keeps."""
    known = list(dict.fromkeys(text for text in texts if text))
    return tuple(known[:: max(1, -(-len(known) // MOST))])
