"""The numbers as a Markdown table, for papers and READMEs."""

from __future__ import annotations

from phosphene.pipelines.report.content import Content, Measure, control_words, ordered_controls
from phosphene.pipelines.report.panels import number, p_words

__all__ = ["markdown_table"]


def markdown_table(content: Content) -> str:
    """Return one row per metric: value with interval, then every control.

    What a reader has to know stands below: virtual data, pictures seen in training, how the
    intervals were made, and metrics that could not be computed.
    """
    known = [measure for measure in content.measures if measure.value is not None]
    used = {
        name: value
        for measure in known
        for name, value in measure.controls.items()
        if value is not None
    }
    controls = [name for name, _ in ordered_controls(used)]
    tested = any(measure.p_value is not None for measure in known)
    inside = any(measure.within is not None for measure in known)
    head = ["Metric", "Score [95 % interval]", *(["p"] if tested else [])]
    head += ["Within category"] if inside else []
    head += [control_words(name) for name in controls] + ["Items"]
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    for measure in known:
        cells = [
            _name(measure),
            _score(measure),
            *([_p_value(measure)] if tested else []),
            *([_within(measure)] if inside else []),
        ]
        cells += [number(measure.controls.get(name)) for name in controls]
        lines.append(_line([*cells, str(measure.n_items)]))
    return "\n".join([*lines, "", *_notes(content)]) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _name(measure: Measure) -> str:
    arrow = "↑" if measure.higher_is_better else "↓"
    words = measure.name if measure.name == measure.id else f"{measure.name}, `{measure.id}`"
    return f"{words} {arrow}"


def _score(measure: Measure) -> str:
    if measure.interval is None:
        return number(measure.value)
    low, high = measure.interval
    return f"{number(measure.value)} [{number(low)}, {number(high)}]"


def _within(measure: Measure) -> str:
    return number(None if measure.within is None else measure.within.value)


def _p_value(measure: Measure) -> str:
    return p_words(measure.p_value).removeprefix("= ") or "–"


def _notes(content: Content) -> list[str]:
    notes = [f"{content.heading}. {content.lead}"]
    if content.virtual:
        notes.append("**Virtual data**: the recordings are simulated.")
    notes += [f"**{warning}**" for warning in content.warnings]
    if content.interval_rule:
        notes.append(f"Intervals: {content.interval_rule}.")
    notes += [
        f"{measure.name}: {measure.note}."
        for measure in content.measures
        if measure.note and measure.value is None
    ]
    return notes
