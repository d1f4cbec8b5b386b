"""A result in a few lines of text."""

from __future__ import annotations

from phosphene.data.confounds import confound_lines
from phosphene.schemas import EvaluatedMetric, EvaluationFile

__all__ = ["statistics_words", "summary_lines"]


def summary_lines(result: EvaluationFile) -> list[str]:
    """Return one line per metric, then what has to be known before any of them is read."""
    lines = [_metric_line(metric) for metric in result.metrics]
    lines += [f"absent: {absent.id} ({absent.reason})" for absent in result.absent]
    lacking = [one.name.replace("_", " ") for one in result.controls if one.reason_absent]
    if lacking:
        lines.append(f"not beside these: {', '.join(lacking)} (evaluation.json says why)")
    collapsed = [metric.id for metric in result.metrics if metric.collapsed]
    if collapsed:
        lines.append(f"careful: most predictions are the same to {', '.join(collapsed)}")
    training = result.protocol.training
    lines += confound_lines(
        f"{result.protocol.truth} {'' if training is None else training.dataset}"
    )
    if result.n_seen_in_training:
        lines.append(
            f"careful: {result.n_seen_in_training} of {len(result.items)} items show pictures "
            "that the model was trained on"
        )
    if result.protocol.n_missing:
        lines.append(
            f"careful: {result.protocol.n_missing} shown pictures have no prediction and count "
            "for nothing"
        )
    if result.audit is not None and result.audit.get("line"):
        lines.append(str(result.audit["line"]))
    return lines


def _metric_line(metric: EvaluatedMetric) -> str:
    parts = [f"{metric.id} {metric.value:.3f}"]
    if metric.interval is not None:
        parts[0] += f" [{metric.interval[0]:.3f}, {metric.interval[1]:.3f}]"
    if metric.permuted.mean is not None:
        parts.append(f"wrong pairing {metric.permuted.mean:.3f}")
    if metric.permuted.p_value is not None:
        corrected = metric.permuted.p_holm
        more = "" if corrected is None else f", Holm {corrected:.2g}"
        parts.append(f"p {metric.permuted.p_value:.2g}{more}")
    rivals = {name: value for name, value in metric.controls.items() if value is not None}
    parts += [f"{name.replace('_', ' ')} {value:.3f}" for name, value in rivals.items()]
    if metric.within_category is not None:
        parts.append(f"within category {metric.within_category.value:.3f}")
    parts += statistics_words(metric)
    return f"{parts[0]} ({', '.join(parts[1:])})" if parts[1:] else parts[0]


def statistics_words(metric: EvaluatedMetric) -> list[str]:
    """Return what subjects as the random factor and the ideal observer say, where they do."""
    words = []
    if (others := metric.across_subjects) is not None:
        low, high = others.interval
        tested = "" if others.p_value is None else f", p {others.p_value:.2g}"
        words.append(f"over {others.n_subjects} subjects [{low:.3f}, {high:.3f}]{tested}")
    if (best := metric.share_of_ideal) is not None:
        words.append(f"{best.share:.2f} of the way from chance to the ideal {best.ideal:.3f}")
    return words
