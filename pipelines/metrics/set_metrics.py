"""Distances of two sets of pictures: whether they look alike as sets, not which is which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    """Fréchet distance of Gaussians fitted to the features of both sets (Heusel et al. 2017).

    The trace of the root of two covariances is the sum of singular values of the product of their
    thin factors. With fewer pictures than features most eigenvalues of the covariances are zero,
    and an eigensolver takes the root of their rounding errors, which add up to percents.
    """

    def compute(self) -> MetricOutcome:
        """Return the distance; it is too large where there are few pictures."""
        items, made, shown = self.sets()
        n, width = shown.shape
        if n < 2:
            return self.result(None, items, note="one picture: a set needs two at least")
        centred, means = [], []
        for rows in (made.double(), shown.double()):
            means.append(rows.mean(dim=0))
            centred.append((rows - means[-1]) / (n - 1) ** 0.5)
        factors = [torch.linalg.qr(rows, mode="r").R for rows in centred]
        shared = torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
        spread = sum(rows.square().sum() for rows in centred)
        value = (means[0] - means[1]).square().sum() + spread - 2 * shared
        note = f"{n} pictures for {width} features: the estimate is biased upward"
        return self.result(
            None, items, value=max(0.0, float(value)), note=note if n <= 10 * width else ""
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
