"""Distances of two sets of pictures: whether they look alike as sets, not which is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.pipelines.metrics.feature_metrics import FeatureMetric, hash_number
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec

__all__ = ["FrechetDistance", "KernelDistance"]


class _SetMetric(FeatureMetric):
    """Collects the features of both sets."""

    def __init__(self, spec: MetricSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.keep("content")
        self.keep("predicted", "shown", large=True)

    def update(
        self,
        reconstructed: Pictures,
        truth: Pictures,
        items: Sequence[str],
        *,
        pictures: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Take in a batch of both sets, uint8 (n, H, W, 3)."""
        made, shown = self.prepared(reconstructed, truth)
        if not shown:
            return
        names = [[picture_hash(one) for one in side] for side in (made, shown)]
        found = self.features(made, shown)
        rows = [torch.from_numpy(np.stack([found[name] for name in keys])) for keys in names]
        content = [[hash_number(name) for name in keys] for keys in names]
        self.add(items, predicted=rows[0], shown=rows[1], content=torch.tensor(content).T)

    def sets(self) -> tuple[tuple[str, ...], Tensor, Tensor]:
        """Return the labels and the features (n, d) of both sets, in the order of the labels."""
        items, order = self.order()
        made, shown = (torch.cat(self._rows(name)).cpu()[order] for name in ("predicted", "shown"))
        return items, made, shown


class FrechetDistance(_SetMetric):
    """Fréchet distance of Gaussians fitted to the features of both sets, by torchmetrics."""

    def compute(self) -> MetricOutcome:
        """Return the distance; it is too large where there are few pictures."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        items, made, shown = self.sets()
        n, width = shown.shape
        if n < 2:
            return self.result(None, items, note="one picture: a set needs two at least")
        measure = FrechetInceptionDistance(feature=_Passed(width), normalize=False)
        measure.update(shown, real=True)
        measure.update(made, real=False)
        note = f"{n} pictures for {width} features: the estimate is biased upward"
        return self.result(
            None, items, value=float(measure.compute()), note=note if n <= 10 * width else ""
        )


class KernelDistance(_SetMetric):
    """Unbiased squared maximum mean discrepancy with a cubic kernel, of all pictures at once."""

    def compute(self) -> MetricOutcome:
        """Return the discrepancy, which may be below zero for equal sets."""
        from torchmetrics.image.kid import poly_mmd

        items, made, shown = self.sets()
        if len(items) < 2:
            return self.result(None, items, note="one picture: a set needs two at least")
        return self.result(None, items, value=float(poly_mmd(shown.double(), made.double())))


class _Passed(nn.Module):
    """What torchmetrics takes for its network where features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
