"""What every metric class shares: items with labels, exact in batches and across processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.names import require
from phosphene.pipelines.metrics.resizing import match_size
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec, load_attribute

if TYPE_CHECKING:
    from torchmetrics import Metric
else:
    Metric = require("torchmetrics", "metrics").Metric

__all__ = ["ItemMetric", "PairMetric", "check_picture_batch"]

Array = np.ndarray[Any, Any]
END = b"\x00"  # after each label: one flat tensor of bytes can be gathered from any process


class ItemMetric(Metric):
    """A metric over labelled items.

    A subclass names its states with :meth:`keep`, gives each batch to :meth:`add` and reads them
    in ``compute`` with :meth:`collected`, sorted by label. States are lists of tensors with one
    row per item, which torchmetrics gathers from all processes.

    Parameters
    ----------
    spec : MetricSpec
        The definition it computes.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, spec: MetricSpec, **kwargs: Any) -> None:
        kwargs.setdefault("dist_sync_fn", _gather_rows)
        super().__init__(**kwargs)
        self.spec = spec
        self._kept: list[str] = []
        self._large: list[str] = []
        self.add_state("labels", [], dist_reduce_fx="cat")

    def keep(self, *states: str, large: bool = False) -> None:
        """Name the states of one row per item.

        Those that are ``large`` are left as they came by :meth:`collected`, to be read in
        pieces; they do not tell whether an item that came twice is the same.
        """
        for name in states:
            self.add_state(name, [], dist_reduce_fx="cat")
        if large:
            self._large += states
        else:
            self._kept += states

    def add(self, items: Sequence[str], **states: Tensor | Array) -> None:
        """Append one row per item to every state that :meth:`keep` named."""
        labels = [str(item) for item in items]
        if any("\x00" in label or not label for label in labels):
            raise InputError("an item whose label is empty or holds a zero byte", "other labels")
        rows = {name: torch.as_tensor(value) for name, value in states.items()}
        lengths = {name: len(value) for name, value in rows.items()} | {"items": len(labels)}
        if sorted(rows) != sorted(self._kept + self._large) or len(set(lengths.values())) != 1:
            raise InputError(
                f"a batch of {', '.join(f'{n} {name}' for name, n in lengths.items())}",
                expected=f"as many labels as rows of {', '.join(self._kept)}",
            )
        if not labels:
            return
        packed = b"".join(label.encode() + END for label in labels)
        self._rows("labels").append(torch.frombuffer(bytearray(packed), dtype=torch.uint8))
        for name, value in rows.items():
            self._rows(name).append(value)

    def _rows(self, name: str) -> list[Tensor]:
        """Return the parts of a state; after gathering, one tensor."""
        state: list[Tensor] | Tensor = getattr(self, name)
        return state if isinstance(state, list) else [state]

    def collected(self) -> tuple[tuple[str, ...], dict[str, Tensor]]:
        """Return the labels, sorted, and every state in their order but the large ones.

        An item that came twice with equal rows counts once: samplers that share items among
        processes repeat some of them so that each process has as many.

        Raises
        ------
        InputError
            If there is no item, or two different ones have the same label.
        """
        labels, order = self.order()
        states = {name: _joined(self._rows(name)) for name in self._kept}
        whole = list(range(sum(map(len, self._rows(self._kept[0]))))) if self._kept else order
        if order != whole:  # selecting copies: not where all is in order
            states = {name: value[order] for name, value in states.items()}
        return labels, states

    def order(self) -> tuple[tuple[str, ...], list[int]]:
        """Return the labels, sorted, and for each the row of the states where it stands."""
        found = b"".join(part.cpu().numpy().tobytes() for part in self._rows("labels"))
        labels = found.decode().split("\x00")[:-1]
        if not labels:
            raise InputError(
                f"no items for the metric {self.spec.id}", "at least one call of update"
            )
        states = [_joined(self._rows(name)) for name in self._kept]
        order = sorted(range(len(labels)), key=labels.__getitem__)
        kept = [order[0]]
        for row in order[1:]:
            if labels[row] != labels[kept[-1]]:
                kept.append(row)
            elif not all(_equal(value[row], value[kept[-1]]) for value in states):
                raise InputError(
                    f"two different items labelled {labels[row]!r} in the metric {self.spec.id}",
                    expected="one label per item",
                    remedy="add sample, subject or trial to the label",
                )
        return tuple(labels[row] for row in kept), kept

    def outcome(
        self,
        scores: Array | None,
        items: Sequence[str],
        *,
        value: float | None = None,
        **more: Any,
    ) -> MetricOutcome:
        """Return the outcome, its value the mean of the scores that are numbers."""
        note = more.pop("note", "")
        if value is None and scores is not None and not np.isnan(scores).all():
            value = float(np.nanmean(scores))
        if value is None and not note:
            note = "no item has a score"
        chance = more.pop("chance", self.spec.chance)
        return MetricOutcome(
            spec=self.spec,
            value=value,
            scores=scores,
            items=tuple(items),
            chance=chance,
            note=note,
            **more,
        )


class PairMetric(ItemMetric):
    """The mean of a function of each pair of pictures.

    Parameters
    ----------
    spec : MetricSpec
    measure : str
        ``"module:function"`` that takes two uint8 arrays (n, H, W, 3) and returns (n,) scores.
    arguments : dict, optional
        Keyword arguments of that function.
    match_size : bool
        Whether reconstructions are first brought to the size of their truths; a measure with a
        size of its own does without.
    """

    def __init__(
        self,
        spec: MetricSpec,
        measure: str,
        arguments: dict[str, Any] | None = None,
        match_size: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.measure = partial(load_attribute(measure), **(arguments or {}))
        self.match_size = match_size
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
        """Score a batch of pairs, uint8 (n, H, W, 3); what else there is changes nothing."""
        check_picture_batch(reconstructed, truth)
        if self.match_size and len(truth):
            reconstructed, truth = match_size(reconstructed, truth)
        scores = self.measure(reconstructed, truth) if len(truth) else np.zeros(0)
        self.add(items, scores=np.asarray(scores, dtype=np.float64))

    def compute(self) -> MetricOutcome:
        """Return the mean score, and one per item."""
        items, states = self.collected()
        return self.outcome(states["scores"].cpu().numpy(), items)


def check_picture_batch(reconstructed: Pictures, truth: Pictures) -> None:
    """Raise :class:`InputError` unless both are uint8 (n, H, W, 1 or 3) of as many pictures."""
    for name, pictures in (("reconstructions", reconstructed), ("truths", truth)):
        shape = pictures.shape
        if pictures.dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
            raise InputError(
                f"{name} of shape {shape} and type {pictures.dtype}",
                expected="uint8 pictures (n, H, W, 1 or 3)",
            )
    if len(reconstructed) != len(truth):
        raise InputError(
            f"{len(reconstructed)} reconstructions beside {len(truth)} truths",
            expected="one truth per reconstruction, in the same order",
        )


def _gather_rows(rows: Tensor, group: Any = None) -> list[Tensor]:
    """Gather the rows of all processes, of which some may have none and not know their shape."""
    import torch.distributed as dist
    from torchmetrics.utilities.distributed import gather_all_tensors

    known: list[Any] = [None] * dist.get_world_size(group)
    mine = (tuple(rows.shape[1:]), rows.dtype) if len(rows) else None
    dist.all_gather_object(known, mine, group=group)
    kind = next((one for one in known if one is not None), None)
    if kind is not None and mine is None:
        rows = torch.empty((0, *kind[0]), dtype=kind[1], device=rows.device)
    gathered: list[Tensor] = gather_all_tensors(rows, group)
    return gathered


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _equal(one: Tensor, two: Tensor) -> bool:
    same = one == two
    if one.is_floating_point():
        same = same | (torch.isnan(one) & torch.isnan(two))
    return bool(same.all())
