"""One subject's predictions through every metric, beside rivals and wrong pairings, in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import AssetError, InputError
from phosphene.pipelines.evaluation.block_pairs import BlockPairs, block_size
from phosphene.pipelines.evaluation.exchange import Exchange, exchange_of
from phosphene.pipelines.evaluation.identified import IdentifiedPairs, is_identification
from phosphene.pipelines.evaluation.permutation import (
    PermutationResult,
    exchange_labels,
    permutation_test,
)
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.evaluation.rivals import Rival
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec
from phosphene.progress import progress

__all__ = ["MetricScores", "Scorer", "SubjectScores"]

Array = np.ndarray[Any, Any]
PictureOf = Callable[[int], Pictures]
Round = list[int]


@dataclass(eq=False)
class MetricScores:
    """One metric of one subject.

    Attributes
    ----------
    value : float
        Mean over samples and rounds.
    per_item : ndarray of shape (n_items,) or None
        In the order of the subject's rows; NaN where an item has no score, ``None`` for a score
        of the set.
    chance : float or None
        Of guessing, where the definition fixes it.
    controls : dict of str to float or None
        What rivals score.
    rival_items : dict of str to ndarray of shape (n_items,)
        The same for each item; NaN for further items of a picture.
    test : PermutationResult or None
        Of the pairing.
    wrong : float or None
        Mean over all wrong pairs; of identification over all pairs, as a right one takes its
        wins from wrong ones.
    within : ndarray of shape (n_items,) or None
        Identification among pictures of the same category.
    shuffled : PermutationResult or None
        Of the pairing within categories only.
    """

    spec: MetricSpec
    value: float
    per_item: Array | None
    chance: float | None
    collapsed: bool
    note: str
    controls: dict[str, float | None] = field(default_factory=dict)
    rival_items: dict[str, Array] = field(default_factory=dict)
    test: PermutationResult | None = None
    wrong: float | None = None
    within: Array | None = None
    shuffled: PermutationResult | None = None


@dataclass(eq=False)
class SubjectScores:
    """All metrics of one subject's items.

    Attributes
    ----------
    rows : list of int
    metrics : dict of str to MetricScores
    absent : dict of str to str
        Why some could not be computed.
    exchange : Exchange
        Which pictures were exchanged in tests of the pairing.
    """

    rows: list[int]
    metrics: dict[str, MetricScores]
    absent: dict[str, str]
    exchange: Exchange


class Scorer:
    """Runs metrics over items without holding more than a batch of pictures.

    A metric is given one item per picture at a time, a *round*, so that repetitions of a picture
    never stand among the rivals it has to be told from.

    Parameters
    ----------
    reader : PairReader
    metrics : mapping of str to torchmetrics.Metric
        Of the kinds ``picture`` and ``set``; they are reset after use.
    rivals : sequence of Rival
    categories : mapping of str to str, optional
        Of each shown picture.
    batch_size : int
        Pairs of pictures at a time; it does not change any number.
    seed : int
        Of blocks and permutations.
    """

    def __init__(
        self,
        reader: PairReader,
        metrics: Mapping[str, Any],
        rivals: Sequence[Rival],
        *,
        categories: Mapping[str, str] | None = None,
        batch_size: int = 32,
        n_permutations: int = 1000,
        seed: int = 0,
    ) -> None:
        self.reader, self.metrics, self.rivals = reader, dict(metrics), list(rivals)
        self.categories = categories
        self.batch_size, self.n_permutations, self.seed = batch_size, n_permutations, seed

    def score(self, rows: Sequence[int], *, label: str = "") -> SubjectScores:
        """Score the items of one subject.

        Parameters
        ----------
        rows : sequence of int
            Positions among the reader's items.
        label : str
            Shown beside the progress.
        """
        live, absent = dict(self.metrics), dict[str, str]()
        rounds = self._rounds(rows)
        outcomes: dict[str, list[tuple[Round, MetricOutcome]]] = defaultdict(list)
        pairs = {
            name: IdentifiedPairs(self.categories)
            for name, metric in live.items()
            if is_identification(metric.spec)
        }
        for number in range(self.reader.n_samples):
            for part in rounds:
                words = f"{label}predictions" + (f" {number}" if number else "")
                self._run(self._sample(number), part, live, absent, words)
                for name, metric in list(live.items()):
                    outcome = metric.compute()
                    if outcome.value is None:
                        absent[name] = outcome.note
                        del live[name]
                    elif name in pairs:
                        pairs[name].add(sorted(part), self._pictures(sorted(part)), metric)
                    metric.reset()
                    outcomes[name].append((part, outcome))
        found = {name: self._mean(rows, outcomes[name]) for name in live}
        self._add_rivals(found, rows, rounds[0], live, label)
        exchange = exchange_of([self.reader.items[row] for row in rows])
        self._add_pairings(found, rows, live, pairs, exchange, label)
        return SubjectScores(list(rows), found, absent, exchange)

    def _rounds(self, rows: Sequence[int]) -> list[Round]:
        """Deal the items out into rounds with one item of every picture in each.

        A picture with fewer items than others stands in with its first one again: its rivals
        are the same in every round, and the score it has already is simply found again.
        """
        items: dict[str, Round] = defaultdict(list)
        for row in rows:
            items[self.reader.items[row].picture].append(row)
        most = max(map(len, items.values()))
        return [
            [own[number] if number < len(own) else own[0] for own in items.values()]
            for number in range(most)
        ]

    def _pictures(self, rows: Sequence[int]) -> list[str]:
        return [self.reader.items[row].picture for row in rows]

    def _sample(self, number: int) -> PictureOf:
        return lambda row: self.reader.sample(row, number)

    def _run(
        self,
        picture: PictureOf,
        part: Round,
        live: dict[str, Any],
        absent: dict[str, str],
        label: str,
    ) -> None:
        """Feed one round to every metric; one that cannot take it leaves with its reason."""
        starts = range(0, len(part), self.batch_size)
        for start in progress(starts, label=label, total=len(starts)):
            batch = part[start : start + self.batch_size]
            predicted = np.stack([picture(row) for row in batch])
            truth = np.stack([self.reader.shown(name) for name in self._pictures(batch)])
            labels = [f"{row:09d}" for row in batch]
            for name, metric in list(live.items()):
                try:
                    metric.update(predicted, truth, labels)
                except (AssetError, InputError) as error:  # pictures are tiny, weights damaged
                    absent[name] = _reason(error)
                    del live[name]
                    metric.reset()

    def _mean(
        self, rows: Sequence[int], outcomes: Sequence[tuple[Round, MetricOutcome]]
    ) -> MetricScores:
        """Average over samples: an item's score, and the value of the whole."""
        first = outcomes[0][1]
        place = {row: number for number, row in enumerate(rows)}
        sums, counts = np.zeros(len(rows)), np.zeros(len(rows))
        for part, outcome in outcomes:
            if outcome.scores is None:
                continue
            for row, score in zip(sorted(part), outcome.scores, strict=True):
                if np.isfinite(score):
                    sums[place[row]] += score
                    counts[place[row]] += 1
        per_item = None
        if first.scores is not None:
            per_item = np.divide(sums, counts, out=np.full(len(rows), np.nan), where=counts > 0)
        values = [outcome.value for _, outcome in outcomes if outcome.value is not None]
        return MetricScores(
            first.spec,
            float(np.mean(values)) if per_item is None else float(np.nanmean(per_item)),
            per_item,
            first.chance,
            any(outcome.collapsed for _, outcome in outcomes),
            "; ".join(dict.fromkeys(o.note for _, o in outcomes if o.note)),
        )

    def _add_rivals(
        self,
        found: dict[str, MetricScores],
        rows: Sequence[int],
        part: Round,
        live: dict[str, Any],
        label: str,
    ) -> None:
        """Score what stands in for the predictions, one picture per shown picture."""
        place = {row: number for number, row in enumerate(rows)}
        for rival in self.rivals:
            able, absent = {name: live[name] for name in found}, dict[str, str]()
            self._run(rival.picture, part, able, absent, f"{label}{rival.name.replace('_', ' ')}")
            for name, scores in found.items():
                outcome = able[name].compute() if name in able else None
                scores.controls[rival.name] = None if outcome is None else outcome.value
                if outcome is not None and outcome.scores is not None:
                    per_item = np.full(len(rows), np.nan)
                    per_item[[place[row] for row in sorted(part)]] = outcome.scores
                    scores.rival_items[rival.name] = per_item
                live[name].reset()

    def _add_pairings(
        self,
        found: dict[str, MetricScores],
        rows: Sequence[int],
        live: dict[str, Any],
        pairs: dict[str, IdentifiedPairs],
        exchange: Exchange,
        label: str,
    ) -> None:
        """Score wrong pairs, and test the real pairing against permuted ones."""
        for name, scores in found.items():
            spec = scores.spec
            if spec.kind != "picture":
                continue
            rule = exchange.rule
            if name in pairs:
                matrix = pairs[name].matrix(rows, self._pictures(rows))
                groups = exchange.within(sorted(set(self._pictures(rows))))
                scores.within = pairs[name].within(rows)
                scores.shuffled = self._shuffled(matrix, self._pictures(rows))
                among: Array = np.ones(matrix.shape, dtype=bool)
            else:
                size = block_size(
                    len(rows) * self.reader.n_samples,
                    self.reader.size,
                    network=spec.network is not None,
                )
                blocks = BlockPairs(self.reader, rows, exchange, size=size, seed=self.seed)
                words = f"{label}wrong pairs, {name}"
                matrix = blocks.matrix(live[name], batch_size=self.batch_size, label=words)
                groups = blocks.groups
                if len(blocks.blocks) > 1:
                    rule += ", in random blocks"
                among = ~np.eye(len(matrix), dtype=bool)
            if len(matrix) > 1 and np.isfinite(matrix[among]).any():
                scores.wrong = float(np.nanmean(matrix[among]))
                test = self._test(matrix, groups, spec.higher_is_better)
                scores.test = replace(test, rule=rule)

    def _shuffled(self, matrix: Array, pictures: Sequence[str]) -> PermutationResult | None:
        """Exchange pictures within their categories; ``None`` where none has two."""
        if self.categories is None:
            return None
        kinds = np.asarray([self.categories[name] for name in sorted(set(pictures))])
        if np.unique(kinds, return_counts=True)[1].max() < 2:
            return None
        return self._test(matrix, kinds, True)

    def _test(self, matrix: Array, groups: Array | None, higher: bool) -> PermutationResult:
        drawn = exchange_labels(
            len(matrix), within=groups, n_permutations=self.n_permutations, seed=self.seed
        )
        return permutation_test(matrix, drawn, higher_is_better=higher)


def _reason(error: AssetError | InputError) -> str:
    return f"{error.found}, {error.expected}" if error.expected else error.found
