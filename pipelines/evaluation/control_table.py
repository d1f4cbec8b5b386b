"""Rows of numbers beside a score, each with interval and p-value or the reason for its absence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from phosphene.errors import UsageError

__all__ = ["Control", "Controls"]


@dataclass(frozen=True)
class Control:
    """One number beside a score, or why it is not there.

    Attributes
    ----------
    name : str
    value : float or None
        ``None`` where the control is absent.
    interval : (float, float) or None
        95 % bootstrap over pictures.
    p_value : float or None
        ``decoded``: against permuted pairings. Rivals: paired sign flips against ``decoded``,
        two-sided. Within categories: against pairings permuted within categories.
    n_pictures : int
    note : str
        What it is, or the reason for its absence.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    n_pictures: int = 0
    note: str = ""


@dataclass(frozen=True)
class Controls:
    """A metric's rows; the first is ``decoded``."""

    metric: str
    rows: tuple[Control, ...]

    def __getitem__(self, name: str) -> Control:
        for row in self.rows:
            if row.name == name:
                return row
        raise UsageError(
            f"no control {name!r}", f"one of {', '.join(row.name for row in self.rows)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the table ready for JSON."""
        return {"metric": self.metric, "rows": [asdict(row) for row in self.rows]}

    def lines(self) -> list[str]:
        """Return the lines of a Markdown table."""
        lines = [f"| {self.metric} | value | 95 % interval | p | |", "|---|---|---|---|---|"]
        for row in self.rows:
            value = "absent" if row.value is None else f"{row.value:.3f}"
            span = "" if row.interval is None else f"{row.interval[0]:.3f} to {row.interval[1]:.3f}"
            p = "" if row.p_value is None else f"{row.p_value:.2g}"
            lines.append(f"| {row.name.replace('_', ' ')} | {value} | {span} | {p} | {row.note} |")
        return lines
