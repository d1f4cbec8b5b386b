"""Metrics of captions that take batches: what is kept of each caption, and how it is summed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.errors import AssetError
from phosphene.pipelines.metrics.base import ItemMetric
from phosphene.pipelines.metrics.caption_meaning import (
    SentenceEncoder,
    caption_identification,
    caption_retrieval,
    check_minilm,
    sentence_similarity,
)
from phosphene.pipelines.metrics.captions import (
    CaptionReferences,
    bleu_from_statistics,
    bleu_statistics,
    check_captions,
    coco_scores,
    rouge,
)
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec
from phosphene.storage import hash_bytes

__all__ = ["BleuMetric", "CaptionSetMetric", "RougeMetric"]

Array = np.ndarray[Any, Any]
END = b"\x00"  # JSON writes a zero byte as an escape, so that none stands inside
RESAMPLES = 1000
COCO = ("cider", "meteor", "rouge")
EMBEDDED = ("similarity", "retrieval", "identification")


class BleuMetric(ItemMetric):
    """BLEU of all captions together, from the counts of each.

    Parameters
    ----------
    spec : MetricSpec
    order : int
        Longest n-gram.
    """

    def __init__(self, spec: MetricSpec, order: int, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.longest = order
        self.resamples = RESAMPLES  # 0 leaves the interval out
        self.keep("statistics")

    def update(
        self, predicted: Sequence[str], references: CaptionReferences, items: Sequence[str]
    ) -> None:
        """Count the n-grams of a batch of captions."""
        self.add(items, statistics=bleu_statistics(predicted, references))

    def compute(self) -> MetricOutcome:
        """Return BLEU; its 95 % bootstrap interval over captions is among the details."""
        items, states = self.collected()
        rows = states["statistics"].cpu().numpy()
        details = {}
        if self.resamples:
            draws = np.random.default_rng(0).integers(0, len(rows), (self.resamples, len(rows)))
            low, high = np.quantile(
                [bleu_from_statistics(rows[draw], self.longest) for draw in draws], [0.025, 0.975]
            )
            details = {"low": float(low), "high": float(high)}
        value = bleu_from_statistics(rows, self.longest)
        return self.outcome(None, items, value=value, details=details)


class RougeMetric(ItemMetric):
    """Mean over captions of the F score of shared words or sequences.

    Parameters
    ----------
    spec : MetricSpec
    key : {"rouge1", "rouge2", "rougeL"}
    """

    def __init__(self, spec: MetricSpec, key: Any, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.key = key
        self.keep("scores")

    def update(
        self, predicted: Sequence[str], references: CaptionReferences, items: Sequence[str]
    ) -> None:
        """Score a batch of captions."""
        self.add(items, scores=rouge(predicted, references, key=self.key))

    def compute(self) -> MetricOutcome:
        """Return the mean, and one score per caption."""
        items, states = self.collected()
        return self.outcome(states["scores"].cpu().numpy(), items)


class CaptionSetMetric(ItemMetric):
    """A metric that looks at the texts of all captions at once.

    Texts are kept until the end: what a caption scores may depend on the others (CIDEr,
    retrieval), and a network rounds differently from batch to batch.

    Parameters
    ----------
    spec : MetricSpec
    measure : {"cider", "meteor", "rouge", "similarity", "retrieval", "identification"}
    weights_folder : str, optional
        Where the sentence encoder of the definition lies, if not in its package.

    Raises
    ------
    AssetError
        If other weights than those of the definition lie there, or nothing computes it.
    """

    texts: list[Tensor]

    def __init__(
        self, spec: MetricSpec, measure: str, *, weights_folder: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(spec, **kwargs)
        if measure not in (*COCO, *EMBEDDED):
            reason = spec.availability() or "nothing computes it here"
            raise AssetError(f"the metric {spec.id} cannot run here: {reason}")
        if weights_folder is not None and measure in EMBEDDED:
            check_minilm(weights_folder)
        self.measure, self.weights_folder = measure, weights_folder
        self.encoder: SentenceEncoder | None = None  # one that knows the texts already
        self.keep("digests")
        # One flat tensor, as for labels; rows of different length cannot be joined.
        self.add_state("texts", [], dist_reduce_fx="cat")

    def update(
        self, predicted: Sequence[str], references: CaptionReferences, items: Sequence[str]
    ) -> None:
        """Keep a batch of captions."""
        pairs = zip(*check_captions(predicted, references), strict=True)
        packed = [json.dumps(pair).encode() for pair in pairs]
        digests = [list(bytes.fromhex(hash_bytes(one))) for one in packed]
        rows = torch.tensor(digests, dtype=torch.uint8).reshape(len(packed), 32)
        self.add(items, digests=rows)
        if packed:
            flat = bytearray(b"".join(one + END for one in packed))
            self.texts.append(torch.frombuffer(flat, dtype=torch.uint8))

    def compute(self) -> MetricOutcome:
        """Return the mean over captions, and one score per caption."""
        items, states = self.collected()
        predicted, references = self._texts(states["digests"].cpu().numpy())
        if self.measure in COCO:
            scorer: Any = self.measure
            return self.outcome(coco_scores(predicted, references, scorer=scorer), items)
        encoder = self.encoder or SentenceEncoder(self.weights_folder)
        if self.measure == "similarity":
            scores = sentence_similarity(predicted, references, encoder=encoder)
            return self.outcome(scores, items)
        if len(items) < 2:
            return self.outcome(np.full(len(items), np.nan), items, note="a single caption")
        if self.measure == "retrieval":
            found = caption_retrieval(predicted, references, encoder=encoder)
            return self.outcome(
                found.top_k(1),
                items,
                chance=found.chance(),
                details={"mean_rank": found.mean_rank, "top_5": float(found.top_k(5).mean())},
            )
        ways = self.spec.ways or 2
        told = caption_identification(predicted, references, ways=ways, encoder=encoder)
        return self.outcome(told.scores, items, collapsed=told.collapsed)

    def _texts(self, digests: Array) -> tuple[list[str], list[list[str]]]:
        """Return captions and references in the order of their digests."""
        parts = self.texts if isinstance(self.texts, list) else [self.texts]
        packed = b"".join(part.cpu().numpy().tobytes() for part in parts).split(END)[:-1]
        known = {bytes.fromhex(hash_bytes(one)): one for one in packed}
        pairs = [json.loads(known[row.tobytes()]) for row in digests]
        return [text for text, _ in pairs], [texts for _, texts in pairs]
