"""Metric classes that compare pictures in the features of a network: identification, distance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.errors import InputError
from phosphene.pipelines.metrics.base import ItemMetric, check_picture_batch
from phosphene.pipelines.metrics.correlations import BLOCK, near_copies, sketch_rows, unit_rows
from phosphene.pipelines.metrics.identification import (
    Candidates,
    Ties,
    allowed_pairs,
    identify,
)
from phosphene.pipelines.metrics.network_features import (
    FeatureCache,
    FrozenFeatures,
    shared_features,
)
from phosphene.pipelines.metrics.resizing import as_tensor, match_size, resize_chain
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec
from phosphene.storage import hash_bytes

__all__ = ["FeatureDistance", "FeatureIdentification", "FeatureMetric", "PixelFeatures"]

Array = np.ndarray[Any, Any]


class PixelFeatures:
    """Pictures as they are, as features: values in 0..1."""

    identity = "pixels"
    weights_hash = ""

    def __init__(self, sizes: Sequence[int] = (), resize: str = "pillow-bilinear") -> None:
        self.sizes, self.resize = tuple(sizes), resize

    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Return float32 (n, d) of uint8 pictures (H, W, C), all of one size in the end."""
        rows = [as_tensor(resize_chain(one[None], self.sizes, self.resize)) for one in pictures]
        if len({row.shape for row in rows}) != 1:
            raise InputError(
                f"pictures of sizes {sorted({tuple(row.shape[2:]) for row in rows})}",
                expected="one size: their pixels are compared",
            )
        return torch.cat(rows).flatten(1)


class FeatureMetric(ItemMetric):
    """What metrics of features share: the network, and the features of a batch.

    Parameters
    ----------
    spec : MetricSpec
    network : str or None
        Name of a network; None compares pixels.
    layer, sizes, resize, colours
        As for ``FrozenFeatures``; they belong to the definition.
    weights_folder : path, optional
        Where the network's weights lie.
    cache : path, optional
        Folder where features of truths are kept, found again by network and content.
    compute_on : str
        Device of the network and of the products.
    """

    def __init__(
        self,
        spec: MetricSpec,
        *,
        network: str | None = None,
        layer: str = "embedding",
        sizes: Sequence[int] = (),
        resize: str = "pillow-bilinear",
        colours: str = "imagenet",
        weights_folder: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        compute_on: str = "cpu",
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.compute_on = compute_on
        self.network: FrozenFeatures | PixelFeatures = (
            PixelFeatures(sizes, resize)
            if network is None
            else shared_features(
                network, layer, tuple(sizes), resize, colours,
                None if weights_folder is None else str(weights_folder), compute_on,
            )
        )  # fmt: skip
        self.cache = None
        if cache is not None and isinstance(self.network, FrozenFeatures):
            self.cache = FeatureCache(cache, self.network.identity)

    def prepared(
        self, reconstructed: Pictures, truth: Pictures
    ) -> tuple[list[Pictures], list[Pictures]]:
        """Check a batch; pixels are compared at the size of the truth."""
        check_picture_batch(reconstructed, truth)
        if isinstance(self.network, PixelFeatures) and not self.network.sizes and len(truth):
            reconstructed, truth = match_size(reconstructed, truth)
        return list(reconstructed), list(truth)

    def features(self, reconstructed: list[Pictures], truth: list[Pictures]) -> dict[str, Array]:
        """Return the features of all different pictures by the hash of each.

        A network rounds differently from batch to batch: equal pictures go in once, so that a
        reconstruction that is its truth has the very same features.
        """
        shown = {picture_hash(one): one for one in truth}
        made = {picture_hash(one): one for one in reconstructed}
        made = {key: one for key, one in made.items() if key not in shown}
        if self.cache is not None and isinstance(self.network, FrozenFeatures):
            parts = [(made, None), (shown, self.cache)]
        else:
            parts = [(made | shown, None)]
        found: dict[str, Array] = {}
        for pictures, cache in parts:
            if not pictures:
                continue
            rows = list(pictures.values())
            if cache is not None and isinstance(self.network, FrozenFeatures):
                values = cache.encode(self.network, rows)
            else:
                values = self.network.encode(rows).numpy()
            found |= dict(zip(pictures, values, strict=True))
        return found

    def result(self, *args: Any, **kwargs: Any) -> MetricOutcome:
        """Return the outcome, which carries the identity of the weights."""
        return self.outcome(*args, weights_hash=self.network.weights_hash, **kwargs)


class FeatureDistance(FeatureMetric):
    """Correlation distance, 1 - Pearson's r, of each pair's features."""

    def __init__(self, spec: MetricSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.keep("scores")

    def update(
        self,
        reconstructed: Pictures,
        truth: Pictures,
        items: Sequence[str],
        *,
        pictures: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Score a batch of pairs, uint8 (n, H, W, 3)."""
        made, shown = self.prepared(reconstructed, truth)
        if not shown:
            return self.add(items, scores=np.zeros(0))
        found = self.features(made, shown)
        one, two = (
            unit_rows(np.stack([found[picture_hash(picture)] for picture in side]).astype(float))
            for side in (made, shown)
        )
        self.add(items, scores=np.clip(1 - np.einsum("nd,nd->n", one, two), 0, 2))
        return None

    def compute(self) -> MetricOutcome:
        """Return the mean distance, and one per item."""
        items, states = self.collected()
        return self.result(states["scores"].cpu().numpy(), items)


class FeatureIdentification(FeatureMetric):
    """Identification of each picture among others by Pearson's r of features.

    Features are kept centred, of length 1, in float32: their products are the correlations.

    Parameters
    ----------
    spec : MetricSpec
    ways : int
        Candidates, the right one included; expected score over all choices of the others.
    ties, candidates
        As for :func:`identify`.
    wins_taken_off : int
        Wins subtracted from those of each item, as one published evaluation does.
    **kwargs
        As for :class:`FeatureMetric`.
    """

    def __init__(
        self,
        spec: MetricSpec,
        *,
        ways: int = 2,
        ties: Ties = "half",
        candidates: Candidates = "truths",
        wins_taken_off: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.ways, self.ties, self.candidates = ways, ties, candidates
        self.wins_taken_off = wins_taken_off
        self.keep("content", "picture", "group")
        self.keep("predicted", "shown", large=True)
        self._met: dict[str, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_met": {}}

    def reset(self) -> None:
        """Forget all items."""
        self._met = {}
        super().reset()

    def update(
        self,
        reconstructed: Pictures,
        truth: Pictures,
        items: Sequence[str],
        *,
        pictures: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Take in a batch of pairs, uint8 (n, H, W, 3)."""
        made, shown = self.prepared(reconstructed, truth)
        if not shown:
            return
        names = [[picture_hash(one) for one in side] for side in (made, shown)]
        new = [
            [one for one, name in zip(side, keys, strict=True) if name not in self._met]
            for side, keys in zip((made, shown), names, strict=True)
        ]
        found = self.features(*new)
        values = {
            name: torch.from_numpy(row)
            for name, row in zip(
                found, unit_rows(np.stack(list(found.values()))) if found else (), strict=True
            )
        }
        # Pictures that come again (a constant reconstruction) have the features they had.
        rows = [
            torch.stack([self._met[n] if n in self._met else values[n] for n in keys])
            for keys in names
        ]
        labels = [hash_number(name) for name in names[1]] if pictures is None else pictures
        self.add(
            items,
            predicted=rows[0],
            shown=rows[1],
            content=torch.tensor(
                [[hash_number(a), hash_number(b)] for a, b in zip(*names, strict=True)]
            ),
            picture=_codes(labels, len(shown)),
            group=_codes(groups, len(shown)),
        )
        for side, keys in zip(rows, names, strict=True):
            self._met |= dict(zip(keys, side, strict=True))

    def compute(self) -> MetricOutcome:
        """Return the mean share of comparisons won, and one per item."""
        items, states = self.collected()
        n = len(items)
        picture, group = (states[name].cpu().numpy() for name in ("picture", "group"))
        n_pictures = len(np.unique(picture))
        if n_pictures < self.ways:
            return self.result(
                None, items, note=f"{n_pictures} pictures: too few for {self.ways} candidates"
            )
        _, order = self.order()
        matrix, copies = self.correlations(order)
        allowed = allowed_pairs(n, groups=group, pictures=picture, once=self.ways > 2)
        found = identify(
            matrix, allowed, copies=copies, tolerance=1e-6, ways=self.ways, ties=self.ties,
            candidates=self.candidates,
        )  # fmt: skip
        taken = self.wins_taken_off / np.maximum(allowed.sum(axis=0), 1)
        scores, chance = found.scores - taken, self.spec.chance
        if self.wins_taken_off and not np.isnan(scores).all():
            chance = found.chance - float(taken[~np.isnan(scores)].mean())
        note = "collapsed: most predictions are the same picture" if found.collapsed else ""
        return self.result(scores, items, collapsed=found.collapsed, chance=chance, note=note)

    def correlations(self, order: list[int]) -> tuple[Array, Array]:
        """Correlate every truth with every prediction of the batches so far.

        Parameters
        ----------
        order : list of int
            From :meth:`order`.

        Returns
        -------
        similarity : ndarray of shape (n, n)
            Truth i with prediction j, both in that order.
        copies : ndarray of shape (n, n)
            Which predictions are the same one.
        """
        predicted, shown = self._rows("predicted"), self._rows("shown")
        n = sum(map(len, predicted))
        matrix = torch.zeros(n, n, dtype=torch.float64, device=self.compute_on)
        for start in range(0, predicted[0].shape[1], BLOCK):
            block = slice(start, start + BLOCK)
            one, two = (
                torch.cat([part[:, block] for part in side]).to(self.compute_on)
                for side in (shown, predicted)
            )
            matrix += one @ two.T
        sketch = np.concatenate([sketch_rows(part.cpu().numpy()) for part in predicted])[order]
        return matrix.cpu().numpy()[np.ix_(order, order)], near_copies(sketch)


def hash_number(name: str) -> int:
    """Return 63 bits of a label's hash: what tensors can carry of it."""
    return int(hash_bytes(name.encode())[:16], 16) >> 1


def _codes(labels: Sequence[Any] | None, n: int) -> Tensor:
    if labels is None:
        return torch.zeros(n, dtype=torch.int64)
    return torch.tensor([hash_number(str(label)) for label in labels], dtype=torch.int64)
