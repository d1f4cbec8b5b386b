"""Which items are best, median and worst: by a written rule, never by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Ranking", "rank_items"]

Scores = Sequence[float | None]


@dataclass(frozen=True)
class Ranking:
    """Items from best to worst.

    Attributes
    ----------
    order : tuple of int
        Item numbers, best first; items without a score are left out.
    metric : str
        Identifier of what was ranked by.
    ties : str
        Identifier of what decides between equal scores; empty where there is nothing.
    """

    order: tuple[int, ...]
    metric: str
    ties: str = ""

    def exemplars(self, count: int = 1) -> dict[str, list[int]]:
        """Return the first ``count`` items, those around the middle, and the last.

        No item stands twice: ``count`` is at most a third of the items.

        Examples
        --------
        >>> Ranking((4, 2, 0, 1, 3), "r").exemplars()
        {'best': [4], 'median': [0], 'worst': [3]}
        """
        n = len(self.order)
        count = min(count, n // 3)
        middle = (n - count) // 2
        parts = {"best": slice(0, count), "median": slice(middle, middle + count)}
        parts["worst"] = slice(n - count, n)
        return {name: list(self.order[part]) for name, part in parts.items()} if count else {}

    def spread(self, most: int) -> list[int]:
        """Return at most ``most`` items, evenly spaced over the ranks, first and last included.

        Examples
        --------
        >>> Ranking((9, 8, 7, 6, 5), "r").spread(3)
        [9, 7, 5]
        """
        n = len(self.order)
        if n <= most:
            return list(self.order)
        if most == 1:
            return [self.order[0]]
        return [self.order[place * (n - 1) // (most - 1)] for place in range(most)]


def rank_items(
    scores: Mapping[str, Scores],
    higher_is_better: Mapping[str, bool],
    identifying: Collection[str],
) -> Ranking | None:
    """Rank items by the first identification score, else by the first score there is.

    Equal scores are decided by pixel correlation where that is known (else by the first other
    score), and what is equal in both keeps the order of the items.

    Parameters
    ----------
    scores : dict of str to sequence of float or None
        Per metric, one number per item.
    higher_is_better : dict of str to bool
    identifying : collection of str
        Metrics that tell an item's own picture from others.
    """
    known = [name for name, values in scores.items() if any(v is not None for v in values)]
    if not known:
        return None
    metric = next((name for name in known if name in identifying), known[0])
    others = [name for name in known if name != metric]
    ties = next((name for name in others if name.startswith("pixcorr")), (others or [""])[0])

    def key(item: int) -> tuple[float, ...]:
        found = [(name, scores[name][item]) for name in (metric, ties) if name]
        return tuple(
            float("inf") if value is None else (-value if higher_is_better[name] else value)
            for name, value in found
        )

    items = [item for item, value in enumerate(scores[metric]) if value is not None]
    return Ranking(tuple(sorted(items, key=key)), metric, ties)
