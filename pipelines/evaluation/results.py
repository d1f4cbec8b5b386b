"""Results on disk: ``evaluation.json`` for programs, two tables for people."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from phosphene.errors import InputError
from phosphene.schemas import EvaluatedMetric, EvaluationFile
from phosphene.storage import write_text
from phosphene.trials import UNKNOWN

__all__ = [
    "EVALUATION_NAME",
    "item_table",
    "load_evaluation",
    "metric_table",
    "overlap_words",
    "write_evaluation",
]

EVALUATION_NAME = "evaluation.json"
FIRST_COLUMNS = ("metric", "value", "low", "high", "chance", "mean_picture", "n_items")
MORE_COLUMNS = (
    "n_pictures",
    "better",
    "grey_picture",
    "permuted",
    "p_value",
    "within_category",
    "p_holm",
    "subjects_low",
    "subjects_high",
    "subjects_p",
    "share_of_ideal",
)


def write_evaluation(folder: Path, evaluation: EvaluationFile) -> Path:
    """Write ``metrics.tsv``, ``items.tsv`` and, last, ``evaluation.json`` into a folder."""
    write_text(folder / "metrics.tsv", metric_table(evaluation))
    write_text(folder / "items.tsv", item_table(evaluation))
    evaluation.save(folder / EVALUATION_NAME)
    return folder / EVALUATION_NAME


def load_evaluation(path: str | os.PathLike[str]) -> EvaluationFile:
    """Read the result in a folder of ``phosphene evaluate``, or the file itself."""
    source = Path(path)
    if source.is_dir():
        if not (source / EVALUATION_NAME).is_file():
            raise InputError(
                f"the folder {source} holds no {EVALUATION_NAME}",
                expected="an output of `phosphene evaluate`",
                remedy="check the path, or run `phosphene evaluate` first",
            )
        source = source / EVALUATION_NAME
    return EvaluationFile.load(source)


def metric_table(evaluation: EvaluationFile) -> str:
    """Return one line per metric, tab-separated; metrics that are absent come last.

    The first columns are those of ``metrics.tsv`` of `reconstruct`; controls that not every
    result has stand at the end.
    """
    known = {"grey_picture", "mean_picture"}
    others = sorted({n for m in evaluation.metrics for n in m.controls} - known)
    lines = ["\t".join([*FIRST_COLUMNS, *MORE_COLUMNS, *others, "note"])]
    facts = overlap_words(evaluation)
    for metric in evaluation.metrics:
        lines.append("\t".join(_metric_cells(metric, others, facts)))
    width = len(FIRST_COLUMNS) + len(MORE_COLUMNS) + len(others)
    for absent in evaluation.absent:
        cells = [absent.id, *[UNKNOWN] * (width - 1), f"absent: {absent.reason}"]
        lines.append("\t".join(map(_one_line, cells)))
    return "\n".join(lines) + "\n"


def overlap_words(evaluation: EvaluationFile) -> str:
    """Return what every table has to say where test pictures were trained on, or nothing."""
    words = []
    if evaluation.n_seen_in_training:
        words.append(
            f"{evaluation.n_seen_in_training} of {len(evaluation.items)} items show pictures that "
            "the model was trained on"
        )
    if evaluation.audit is not None and evaluation.audit.get("n_shared_stimuli"):
        words.append(str(evaluation.audit["line"]))
    return "; ".join(words)


def _metric_cells(metric: EvaluatedMetric, others: Iterable[str], facts: str) -> list[str]:
    low, high = metric.interval or (None, None)
    within = None if metric.within_category is None else metric.within_category.value
    controls = metric.controls
    collapsed = "collapsed: most predictions are the same" if metric.collapsed else ""
    return [
        metric.id,
        *map(number, (metric.value, low, high, metric.chance, controls.get("mean_picture"))),
        str(metric.n_items),
        str(metric.n_pictures),
        "higher" if metric.higher_is_better else "lower",
        *map(number, (controls.get("grey_picture"), metric.permuted.mean, metric.permuted.p_value)),
        number(within),
        *map(number, (metric.permuted.p_holm, *_random_factor(metric))),
        number(None if metric.share_of_ideal is None else metric.share_of_ideal.share),
        *(number(controls.get(name)) for name in others),
        _one_line("; ".join(part for part in (facts, collapsed, metric.note) if part)) or UNKNOWN,
    ]


def _random_factor(metric: EvaluatedMetric) -> tuple[float | None, float | None, float | None]:
    """Return interval and p-value over subjects."""
    found = metric.across_subjects
    return (None, None, None) if found is None else (*found.interval, found.p_value)


def item_table(evaluation: EvaluationFile) -> str:
    """Return one line per item: what it is of, and its score in every metric that has one."""
    metrics = [metric for metric in evaluation.metrics if metric.per_item]
    lines = ["\t".join(["item", "picture", "subject", "category", *(m.id for m in metrics)])]
    for row, item in enumerate(evaluation.items):
        words = [item.key, item.picture, item.subject or UNKNOWN, item.category or UNKNOWN]
        scores = [number(metric.per_item[row]) for metric in metrics]
        lines.append("\t".join([*map(_one_line, words), *scores]))
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """Return six digits, or ``n/a``."""
    return UNKNOWN if value is None else f"{value:.6g}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
