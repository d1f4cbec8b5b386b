"""Where dots, intervals and ticks of the small plots stand, in per cent of their width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phosphene.names import require
from phosphene.pipelines.report.content import (
    WRONG_PAIRING,
    Curve,
    Measure,
    control_words,
    ordered_controls,
)

__all__ = ["CurvePlot", "Panel", "Row", "curve_plot", "number", "p_words", "panel", "verdict"]

SIGNIFICANT = 0.05
SIMPLE_RIVALS = ("grey_picture", "mean_picture", "nearest_training")


@dataclass(frozen=True)
class Row:
    """One line of a panel: a label, a dot, perhaps an interval, and the number in words."""

    label: str
    value: str
    x: float | None
    low: float | None = None
    high: float | None = None
    ours: bool = False


@dataclass(frozen=True)
class Panel:
    """One metric as a small plot."""

    measure: Measure
    value: str
    interval: str
    verdict: str
    p_value: str
    rows: list[Row]
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class CurvePlot:
    """A repetition curve in a field of 320 x 160 units."""

    curve: Curve
    points: list[dict[str, float | str]]
    line: str
    ticks: list[tuple[float, str]]
    chance: float | None


def number(value: float | None) -> str:
    """Return a number with three decimals, four where it is small; a dash where there is none.

    Examples
    --------
    >>> number(0.5), number(0.0042), number(-2.8e-5), number(23.456), number(None)
    ('0.500', '0.0042', '0.000', '23.46', '–')
    """
    if value is None:
        return "–"
    if abs(value) < 0.00005:
        return "0.000"
    if abs(value) < 0.0095:
        return f"{value:.4f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def panel(measure: Measure) -> Panel:
    """Lay out a metric and its controls on one axis."""
    known = [value for value in measure.controls.values() if value is not None]
    if measure.value is not None:
        known += [measure.value, *(measure.interval or ())]
    if measure.within is not None:
        known += [measure.within.value, *(measure.within.interval or ())]
    ticks = _ticks(known, bounded=measure.identifies) if known else []
    span = (ticks[0], ticks[-1]) if ticks else (0.0, 1.0)

    def place(value: float | None) -> float | None:
        return None if value is None else _percent(value, span)

    low, high = measure.interval or (None, None)
    ours = Row(
        "This decoder", number(measure.value), place(measure.value), place(low), place(high), True
    )
    own = [ours] if measure.value is not None else []
    if measure.within is not None:
        low_within, high_within = measure.within.interval or (None, None)
        value = measure.within.value
        own.append(
            Row(
                "Within category", number(value), place(value), place(low_within),
                place(high_within), ours=True,
            )
        )  # fmt: skip
    rows = [
        Row(control_words(name), number(value), place(value))
        for name, value in ordered_controls(measure.controls)
        if value is not None
    ]
    return Panel(
        measure=measure,
        value=number(measure.value),
        interval="" if low is None or high is None else f"{number(low)} to {number(high)}",
        verdict=verdict(measure),
        p_value=p_words(measure.p_value),
        rows=[*own, *rows],
        ticks=[(_percent(tick, span), f"{tick:g}") for tick in ticks],
    )


def p_words(value: float | None) -> str:
    """Return a p-value as papers print it, without the zero before the point.

    Examples
    --------
    >>> p_words(0.0421), p_words(0.0004)
    ('= .042', '< .001')
    """
    if value is None:
        return ""
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("0.", ".", 1)


def verdict(measure: Measure) -> str:
    """Say whether the score is beyond chance and simple rivals, as far as can be said.

    Chance goes by the permutation test where there is one, and else by the interval; a rival is
    left behind where the whole interval lies beyond it.
    """
    chance = measure.controls.get(WRONG_PAIRING)
    if measure.value is None or measure.interval is None or chance is None:
        return ""
    low, high = measure.interval
    better = measure.higher_is_better

    def beyond(value: float) -> bool:
        return low > value if better else high < value

    told_apart = beyond(chance) if measure.p_value is None else measure.p_value < SIGNIFICANT
    if not told_apart:
        worse = high < chance if better else low > chance
        return "worse than wrong pairing" if worse else "not told apart from wrong pairing"
    known = {name: measure.controls.get(name) for name in SIMPLE_RIVALS}
    rivals = {name: value for name, value in known.items() if value is not None}
    ahead = {name: value for name, value in rivals.items() if not beyond(value)}
    if not ahead:
        return "better than wrong pairing" + (" and simple rivals" if rivals else "")
    best = (max if better else min)(ahead, key=lambda name: ahead[name])
    behind = ahead[best] >= measure.value if better else ahead[best] <= measure.value
    words = control_words(best)
    how = "no better than" if behind else "not clearly than"
    return f"better than wrong pairing, {how} {words[0].lower() + words[1:]}"


def _ticks(values: Sequence[float], *, bounded: bool) -> list[float]:
    """Return three to six round numbers that enclose the values."""
    locator = require("matplotlib.ticker", "report").MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    low, high = min(values), max(values)
    if bounded:  # a share: the whole range is the honest one
        low, high = min(low, 0.0), max(high, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return [float(tick) for tick in locator.tick_values(low, high)]


def _percent(value: float, span: tuple[float, float]) -> float:
    return round(100 * (value - span[0]) / (span[1] - span[0]), 2)


def curve_plot(curve: Curve) -> CurvePlot:
    """Lay out a repetition curve; repetitions stand on a logarithmic axis."""
    import math

    values = [p.value for p in curve.points] + [v for p in curve.points for v in p.interval or ()]
    ticks = _ticks(values + ([] if curve.chance is None else [curve.chance]), bounded=False)
    span = (ticks[0], ticks[-1])
    logs = [math.log(point.repetitions) for point in curve.points]
    width = (logs[-1] - logs[0]) or 1.0

    def y(value: float) -> float:
        return round(130 - 120 * (value - span[0]) / (span[1] - span[0]), 1)

    points: list[dict[str, float | str]] = []
    for point, log in zip(curve.points, logs, strict=True):
        low, high = point.interval or (point.value, point.value)
        x = round(48 + 252 * (log - logs[0]) / width, 1)
        points.append(
            {
                "x": x, "y": y(point.value), "low": y(low), "high": y(high),
                "repetitions": str(point.repetitions), "value": number(point.value),
            }
        )  # fmt: skip
    return CurvePlot(
        curve=curve,
        points=points,
        line=" ".join(f"{point['x']},{point['y']}" for point in points),
        ticks=[(y(tick), f"{tick:g}") for tick in ticks],
        chance=None if curve.chance is None else y(curve.chance),
    )
