"""Captions: tables matched by identifier, scored beside a plain sentence and wrong pairings."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers import read_trials
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.evaluation.assemble import INTERVAL_RULE, corrected
from phosphene.pipelines.evaluation.background import Background
from phosphene.pipelines.evaluation.block_pairs import blocks_of
from phosphene.pipelines.evaluation.config import EvaluateConfig
from phosphene.pipelines.evaluation.pairing import correlation_matrix, win_scores
from phosphene.pipelines.evaluation.permutation import (
    PermutationResult,
    exchange_labels,
    permutation_test,
    permuted_statistic,
)
from phosphene.pipelines.evaluation.predictions import Item, Predictions, bare_name, match_items
from phosphene.pipelines.evaluation.records import evaluation_record, item_record, protocol_record
from phosphene.pipelines.evaluation.rivals import absent_controls
from phosphene.pipelines.evaluation.shown import Shown, find_categories, read_categories, read_shown
from phosphene.pipelines.evaluation.suites import create_where_known
from phosphene.pipelines.evaluation.within import within_category
from phosphene.pipelines.metrics.caption_meaning import SentenceEncoder, caption_identification
from phosphene.pipelines.metrics.caption_metrics import RESAMPLES, BleuMetric
from phosphene.pipelines.metrics.intervals import bootstrap_interval
from phosphene.pipelines.metrics.specs import METRICS, MetricOutcome
from phosphene.progress import progress
from phosphene.schemas import (
    AbsentMetric,
    EvaluatedMetric,
    EvaluationFile,
    PermutedPairing,
    WithinCategory,
)
from phosphene.storage import hash_bytes
from phosphene.trials import UNKNOWN

__all__ = ["caption_evaluation", "read_captions", "score_captions"]

Array = np.ndarray[Any, Any]
GREY = "a plain grey picture"  # what there is to say of the control that every result has
MOST_PERMUTATIONS = 200  # each scores all captions again
STARTS_A_PROGRAM = ("meteor",)  # each time that it scores: all pairs of a block go in at once
MOST_PAIRS = 16_000
PRESENT = ("grey_picture", "permuted")


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Read captions from a table: identifier and caption in each row.

    Parameters
    ----------
    path : path
        ``.tsv``, ``.csv`` or ``.parquet``. The first column identifies the picture; the caption
        stands in the column ``caption``, or else in the second one. Several rows of one picture
        are several captions.

    Returns
    -------
    dict of str to list of str
        By identifier, without a picture's ending.

    Raises
    ------
    InputError
        If there is a single column, or a picture without a caption.
    """
    table = read_trials(path)
    if len(table.columns) < 2:
        raise InputError(
            f"{path} has the single column {table.columns[0]!r}",
            expected="an identifier and a caption in each row",
            remedy="add a column named caption",
        )
    column = "caption" if "caption" in table else str(table.columns[1])
    found: dict[str, list[str]] = {}
    for name, text in zip(table.iloc[:, 0].astype(str), table[column], strict=True):
        if not isinstance(text, str) or text in ("", UNKNOWN):
            raise InputError(
                f"{path} has no caption for {name!r}",
                expected="a text in every row",
                remedy="complete the table, or leave the row out",
            )
        found.setdefault(bare_name(name), []).append(text)
    return found


def caption_evaluation(config: EvaluateConfig, names: Sequence[str]) -> EvaluationFile:
    """Score a table of captions against a table of true ones, or the captions of a dataset."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    table = Path(str(config.predictions))
    made = read_captions(table)
    if several := [name for name, texts in made.items() if len(texts) > 1]:
        raise InputError(
            f"{table} holds {len(made[several[0]])} captions of {several[0]!r}",
            expected="one predicted caption per identifier",
            remedy="evaluate one set at a time; only the truth may have several",
        )
    shown, truth = _true_captions(config)
    found = [Item(name, name, (table,)) for name in sorted(made)]
    predictions = Predictions(table.parent, tuple(found), own=False, stored_truth={})
    items, n_missing = match_items(
        predictions, shown.files, truth_name=shown.name, allow_missing=config.allow_missing
    )
    pictures = [item.picture for item in items]
    reasons: dict[str, str] = {}
    kinds = _kinds(config, shown, pictures, reasons)
    metrics, absent = score_captions(
        names,
        [made[name][0] for name in pictures],
        [truth[name] for name in pictures],
        kinds=kinds,
        weights_folder=config.network,
        n_permutations=config.n_permutations,
        seed=config.seed,
    )
    hashes = {name: hash_bytes("\n".join(truth[name]).encode())[:16] for name in pictures}
    background = Background(table.stem)
    counts = sorted({len(truth[name]) for name in pictures})
    rule = f"captions beside {' to '.join(map(str, counts))} true ones each"
    present = [*PRESENT] if metrics else []
    if any(metric.within_category is not None for metric in metrics):
        present.append("within_category")
    items = [replace(item, category=kind) for item, kind in zip(items, kinds, strict=True)]
    return evaluation_record(
        config,
        background,
        protocol=protocol_record(items, shown, background, hashes, n_missing, rule),
        items=[item_record(item, hashes, table.parent) for item in items],
        metrics=metrics,
        absent=absent,
        controls=absent_controls(
            present, reasons, otherwise="no metric could be computed", of="captions"
        ),
        interval_rule=INTERVAL_RULE,
        started=started,
    )


def _true_captions(config: EvaluateConfig) -> tuple[Shown, dict[str, list[str]]]:
    """Return the true captions of a table, or of the stimuli of a dataset."""
    source = Path(config.truth or config.dataset or "")
    if (config.truth or config.dataset) and source.is_file():
        truth = read_captions(source)
        return Shown(source.stem, dict.fromkeys(truth, source)), truth
    if not (source / "dataset.json").is_file():
        raise UsageError(
            f"the truth {source} is neither a table nor a dataset"
            if config.truth or config.dataset
            else "no true captions",
            expected="--truth with a table (.tsv) of identifiers and captions, or a dataset",
            remedy="write one; several rows of one picture are several captions of it",
        )
    shown = read_shown(source, split=config.split, subjects=config.subjects)
    assert shown.dataset is not None
    for table in (shown.dataset.stimuli, shown.dataset.table):
        if "caption" in table:
            truth = {}
            rows = table[["stimulus_id", "caption"]].drop_duplicates()
            for name, text in rows.itertuples(index=False):
                if bare_name(str(name)) in shown.files and isinstance(text, str):
                    truth.setdefault(bare_name(str(name)), []).append(text)
            return Shown(
                shown.name, {name: shown.files[name] for name in truth}, shown.split, shown.dataset
            ), truth
    raise InputError(
        f"the dataset {source} has no column caption",
        expected="a table of captions, or a dataset whose trials have a column caption",
        remedy="give a table of identifiers and captions with --truth",
    )


def _kinds(
    config: EvaluateConfig, shown: Shown, pictures: Sequence[str], reasons: dict[str, str]
) -> list[str] | list[None]:
    """Return the category of each item; the reason is kept where they are not known."""
    known: dict[str, str] | str
    if config.category is not None:
        known = read_categories(config.category, shown)
    else:
        known = find_categories(shown, {})
    if isinstance(known, str):
        reasons["within_category"] = known
        return [None] * len(pictures)
    reasons["within_category"] = "no two pictures of one category, or no metric that identifies"
    return [known[name] for name in pictures]


class KnownSentences(SentenceEncoder):
    """A sentence encoder that has met all texts, so that pairing them anew costs nothing."""

    def __init__(self, texts: Sequence[str], folder: str | None = None) -> None:
        super().__init__(folder)
        distinct = list(dict.fromkeys(texts))
        self.vectors = super().encode(distinct)
        self.place = {text: row for row, text in enumerate(distinct)}

    def encode(self, texts: Sequence[str]) -> Array:
        """Return the vectors of texts it has met, (n, d)."""
        return np.asarray(self.vectors[[self.place[text] for text in texts]])


def score_captions(
    names: Sequence[str],
    predicted: Sequence[str],
    truth: Sequence[Sequence[str]],
    *,
    kinds: Sequence[str] | Sequence[None] | None = None,
    weights_folder: str | None = None,
    n_permutations: int = MOST_PERMUTATIONS,
    seed: int = 0,
) -> tuple[list[EvaluatedMetric], list[AbsentMetric]]:
    """Score captions by several metrics, each beside a plain sentence and wrong pairings.

    Parameters
    ----------
    names : sequence of str
        Ids of metrics of captions.
    predicted : sequence of n str
    truth : sequence of n sequences of str
        The true captions of each picture, one or more.
    kinds : sequence of n str, optional
        Category of each picture.
    weights_folder : str, optional
        Where the sentence encoder lies, if not in its package.
    n_permutations, seed : int
    """
    metrics, absent = [], []
    encoder: KnownSentences | None = None
    for name in progress(names, label="captions"):
        spec = METRICS[name].spec
        try:
            metric = create_where_known(name, weights_folder, {})
            if spec.network is not None:
                texts = [*predicted, GREY, *(text for few in truth for text in few)]
                encoder = encoder or KnownSentences(texts, metric.weights_folder)
                metric.encoder = encoder
        except AssetError as error:
            reason = spec.availability() or f"{error.found}: {error.remedy}"
            absent.append(AbsentMetric(id=name, reason=reason))
            continue
        scored = _Scored(metric, list(predicted), [list(few) for few in truth])
        outcome = scored.outcome(scored.predicted)
        if outcome.value is None:
            absent.append(AbsentMetric(id=name, reason=outcome.note))
            continue
        within = _within(scored, kinds, encoder, n_permutations, seed)
        metrics.append(_metric(scored, outcome, within, n_permutations, seed))
    return corrected(metrics), absent


@dataclass(frozen=True)
class _Scored:
    """A metric and the captions it scores."""

    metric: Any
    predicted: list[str]
    truth: list[list[str]]

    def outcome(self, predicted: Sequence[str], order: Array | None = None) -> MetricOutcome:
        """Score captions with the truths in another order."""
        rows = range(len(self.truth)) if order is None else order.tolist()
        labels = [f"{row:09d}" for row in range(len(self.truth))]
        if isinstance(self.metric, BleuMetric):  # an interval of a wrong pairing says nothing
            self.metric.resamples = RESAMPLES if order is None else 0
        self.metric.update(predicted, [self.truth[row] for row in rows], labels)
        found: MetricOutcome = self.metric.compute()
        self.metric.reset()
        return found


def _metric(
    scored: _Scored,
    outcome: MetricOutcome,
    within: WithinCategory | None,
    n_permutations: int,
    seed: int,
) -> EvaluatedMetric:
    spec, n = outcome.spec, len(scored.truth)
    permuted = PermutedPairing(
        mean=None, p_value=None, n_permutations=0, rule="fewer than two captions"
    )
    if n > 1:
        test = (
            _test_by_pairs(scored, n_permutations, seed)
            if spec.id.startswith(STARTS_A_PROGRAM)
            else permuted_statistic(
                lambda order: float(scored.outcome(scored.predicted, order).value or 0),
                exchange_labels(
                    n, n_permutations=min(n_permutations, MOST_PERMUTATIONS), seed=seed
                ),
                higher_is_better=spec.higher_is_better,
            )
        )
        permuted = PermutedPairing(
            mean=test.chance,
            p_value=test.p_value,
            n_permutations=len(test.null),
            rule="true captions exchanged",
        )
    scores, details = outcome.scores, outcome.details
    interval = (details["low"], details["high"]) if "low" in details else None  # of all together
    if scores is not None and np.isfinite(scores).sum() > 1:
        interval = bootstrap_interval(scores)
    return EvaluatedMetric(
        id=spec.id,
        spec=spec.model_dump(mode="json"),
        value=float(outcome.value or 0),
        interval=interval,
        chance=permuted.mean if outcome.chance is None else outcome.chance,
        permuted=permuted,
        controls={"grey_picture": scored.outcome([GREY] * n).value},
        within_category=within,
        per_subject={},
        per_item=[]
        if scores is None
        else [float(score) if np.isfinite(score) else None for score in scores],
        n_items=n,
        n_pictures=n,
        higher_is_better=spec.higher_is_better,
        collapsed=outcome.collapsed,
        note=outcome.note,
    )


def _test_by_pairs(scored: _Scored, n_permutations: int, seed: int) -> PermutationResult:
    """Exchange captions within random blocks, all of whose pairs are scored at once."""
    n = len(scored.truth)
    blocks = blocks_of(n, int(np.clip(MOST_PAIRS // n, 2, n)), seed=seed)
    pairs = [(row, column) for block in blocks for row in block for column in block]
    scored.metric.update(
        [scored.predicted[column] for _, column in pairs],
        [scored.truth[row] for row, _ in pairs],
        [f"{number:09d}" for number in range(len(pairs))],
    )
    outcome = scored.metric.compute()
    scored.metric.reset()
    matrix, groups = np.full((n, n), np.nan), np.zeros(n, dtype=int)
    for (row, column), score in zip(pairs, outcome.scores, strict=True):
        matrix[row, column] = score
    for code, block in enumerate(blocks):
        groups[block] = code
    drawn = exchange_labels(n, within=groups, n_permutations=n_permutations, seed=seed)
    return permutation_test(matrix, drawn, higher_is_better=scored.metric.spec.higher_is_better)


def _within(
    scored: _Scored,
    kinds: Sequence[str] | Sequence[None] | None,
    encoder: KnownSentences | None,
    n_permutations: int,
    seed: int,
) -> WithinCategory | None:
    """Tell captions apart among pictures of one category, by metrics that identify."""
    if scored.metric.spec.ways != 2 or kinds is None or None in kinds or encoder is None:
        return None
    groups = np.asarray(kinds)
    found = caption_identification(scored.predicted, scored.truth, groups=groups, encoder=encoder)
    several = np.isfinite(found.scores).sum() > 1
    truth = np.stack([encoder.encode(few).mean(axis=0) for few in scored.truth])
    return within_category(
        found.scores,
        win_scores(correlation_matrix(encoder.encode(scored.predicted), truth)),
        groups,
        interval=lambda scores: bootstrap_interval(scores) if several else None,
        collapsed=found.collapsed,
        n_permutations=n_permutations,
        seed=seed,
    )
