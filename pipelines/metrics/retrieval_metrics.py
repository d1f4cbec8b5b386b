"""Metric classes that search embeddings: which picture was it, and which brain response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.pipelines.metrics.base import ItemMetric
from phosphene.pipelines.metrics.retrieval import (
    RetrievalResult,
    brain_to_image_retrieval,
    image_to_brain_retrieval,
)
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec
from phosphene.storage import hash_bytes

__all__ = ["EmbeddingMetric", "EmbeddingRetrieval", "SampledRetrieval"]

Array = np.ndarray[Any, Any]
Direction = Literal["brain-to-image", "image-to-brain"]


class EmbeddingMetric(ItemMetric):
    """What metrics of embeddings share: predicted and true rows, pictures, groups."""

    def __init__(self, spec: MetricSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.keep("predicted", "truth", "picture", "group")

    def update(
        self,
        predicted: Array | Tensor,
        truth: Array | Tensor,
        items: Sequence[str],
        *,
        pictures: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Take in embeddings (n, d) or (n, n_tokens, d), kept as float32.

        Parameters
        ----------
        predicted, truth : ndarray or Tensor
        items : sequence of str
        pictures : sequence of str, optional
            Which picture each item is of; equal truths are one picture without it.
        groups : sequence of str, optional
            Search only within the same one.
        """
        one, two = (
            torch.as_tensor(x).detach().float().cpu().flatten(1) for x in (predicted, truth)
        )
        if pictures is None:
            names = [hash_bytes(row.numpy().tobytes()) for row in two]
        else:
            names = [str(picture) for picture in pictures]
        self.add(
            items,
            predicted=one,
            truth=two,
            picture=_numbers(names),
            group=_numbers([""] * len(two) if groups is None else [str(one) for one in groups]),
        )

    def rows(self, *, per_picture: bool) -> tuple[tuple[str, ...], dict[str, Array]]:
        """Return labels and states; per picture with the mean prediction of its items."""
        items, states = self.collected()
        found = {name: value.cpu().numpy() for name, value in states.items()}
        if not per_picture:
            return items, found
        _, first, codes = np.unique(found["picture"], return_index=True, return_inverse=True)
        sums = np.zeros((len(first), found["predicted"].shape[1]))
        np.add.at(sums, codes, found["predicted"])
        order = np.argsort(first)
        kept = first[order]
        found = {name: value[kept] for name, value in found.items()}
        found["predicted"] = (sums / np.bincount(codes)[:, None])[order]
        return tuple(items[row] for row in kept), found


class EmbeddingRetrieval(EmbeddingMetric):
    """Top-k, top-1 in a smaller pool, or the rank of the right candidate.

    Parameters
    ----------
    spec : MetricSpec
    direction : {"brain-to-image", "image-to-brain"}
        What searches what. Image to brain has one response per picture: the mean prediction of
        its items.
    k : int
        The right one has to be among the first ``k``; 0 gives its rank instead.
    pool : int
        Candidates, the right one included: the expected score over all such pools, in closed
        form. 0 takes all there are.
    csls_neighbours : int
        Neighbours of the transductive rescoring; 0 for none.
    """

    def __init__(
        self,
        spec: MetricSpec,
        *,
        direction: Direction,
        k: int = 1,
        pool: int = 0,
        csls_neighbours: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.direction, self.k, self.pool = direction, k, pool
        self.csls_neighbours = csls_neighbours

    def compute(self) -> MetricOutcome:
        """Return the mean score over queries, one per item, and its chance in this pool."""
        items, found = self.rows(per_picture=self.direction == "image-to-brain")
        n = len(np.unique(found["picture"]))
        needed = max(2, self.pool, self.csls_neighbours)
        if n < needed:
            return self.outcome(None, items, note=f"{n} pictures: {needed} are needed")
        result = self._search(found)
        if self.k == 0:
            chance = float((result.rivals / 2 + 1).mean())
            return self.outcome(result.ranks, items, chance=chance)
        if self.pool:
            enough = self.pool <= int(result.rivals.max()) + 1
            scores = result.top_1_among(self.pool) if enough else np.full(len(items), np.nan)
            return self.outcome(scores, items, chance=1 / self.pool)
        return self.outcome(result.top_k(self.k), items, chance=result.chance(self.k))

    def _search(self, found: dict[str, Array]) -> RetrievalResult:
        options: dict[str, Any] = {
            "groups": found["group"], "csls_neighbours": self.csls_neighbours,
        }  # fmt: skip
        if self.direction == "image-to-brain":
            return image_to_brain_retrieval(found["predicted"], found["truth"], **options)
        return brain_to_image_retrieval(
            found["predicted"], found["truth"], pictures=found["picture"], **options
        )


class SampledRetrieval(EmbeddingMetric):
    """Retrieval as published evaluations sample it, first place to the first of a tie.

    Parameters
    ----------
    spec : MetricSpec
    direction : {"brain-to-image", "image-to-brain"}
    pool : int
        Candidates of a draw.
    draws : int
        Draws of ``pool`` items, each searched among themselves; 0 draws the rivals of each item
        once, by themselves.
    seed : int
        The published code has none.
    """

    def __init__(
        self,
        spec: MetricSpec,
        *,
        direction: Direction,
        pool: int,
        draws: int,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.direction, self.pool, self.draws, self.seed = direction, pool, draws, seed

    def compute(self) -> MetricOutcome:
        """Return the mean over draws; ``details`` holds the interval over them."""
        items, found = self.rows(per_picture=False)
        if len(items) < self.pool:
            return self.outcome(None, items, note=f"{len(items)} items: {self.pool} are needed")
        unit = []
        for name in ("predicted", "truth"):
            rows = found[name].astype(np.float64)
            unit.append(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
        queries, candidates = unit if self.direction == "brain-to-image" else unit[::-1]
        similarity = queries @ candidates.T
        generator = np.random.default_rng(self.seed)
        chance = 1 / self.pool
        if not self.draws:
            return self.outcome(self._one_draw_each(similarity, generator), items, chance=chance)
        means = []
        for _ in range(self.draws):
            drawn = generator.choice(len(items), self.pool, replace=False)
            best = similarity[np.ix_(drawn, drawn)].argmax(axis=1)
            means.append(float((best == np.arange(self.pool)).mean()))
        error = float(np.std(means, ddof=1) / np.sqrt(self.draws))
        value = float(np.mean(means))
        details = {"interval_low": value - 1.96 * error, "interval_high": value + 1.96 * error}
        return self.outcome(None, items, value=value, chance=chance, details=details)

    def _one_draw_each(self, similarity: Array, generator: np.random.Generator) -> Array:
        scores = []
        for row, values in enumerate(similarity):
            others = np.delete(np.arange(len(values)), row)
            drawn = generator.choice(others, self.pool - 1, replace=False)
            scores.append(float(values[row] > values[drawn].max()))
        return np.array(scores)


def _numbers(names: list[str]) -> Tensor:
    """Return 63 bits of the hash of each label."""
    return torch.tensor(
        [int(hash_bytes(name.encode())[:16], 16) >> 1 for name in names], dtype=torch.int64
    )
