"""Scores of an encoder per picture, what they cost, and their table."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.pipelines.metrics import bootstrap_interval, paired_bootstrap

Array = np.ndarray[Any, Any]
COLUMNS = ("r2", "identification", "brain to image", "image to brain")


@dataclasses.dataclass
class Scores:
    """Scores per picture of one encoder and one subject, and what they cost."""

    what: str
    subject: str
    sessions: str
    seed: int
    pictures: list[str]
    r2: float
    identification: list[float]
    brain_to_image: list[float]
    image_to_brain: list[float]
    parameters: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0


class Cost:
    """Processor seconds and peak memory of a block."""

    def __enter__(self) -> Cost:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget earlier peaks
        self.before, self.start = _memory("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.start
        self.megabytes = (_memory("VmHWM") - self.before) / 1024

    def note(self, found: Sequence[Scores], parameters: int) -> list[Scores]:
        """Return the scores with the cost beside them."""
        return [
            dataclasses.replace(
                one, parameters=parameters, seconds=self.seconds, megabytes=self.megabytes
            )
            for one in found
        ]


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def summarise(path: str) -> str:
    """Return a table of all scores in a file, one line per encoder and number of sessions."""
    rows = [
        Scores(**json.loads(line)) for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]
    lines = ["| encoder | sessions | " + " | ".join(COLUMNS) + " | parameters | seconds | MB |"]
    lines.append("|" + "---|" * 9)
    groups: dict[tuple[str, str], list[Scores]] = {}
    for one in rows:
        groups.setdefault((one.what, one.sessions), []).append(one)
    for (what, sessions), some in groups.items():
        cells = [f"{np.mean([one.r2 for one in some]):.3f}"]
        for column in ("identification", "brain_to_image", "image_to_brain"):
            scores, pictures = _joined(some, column)
            low, high = bootstrap_interval(scores, pictures=pictures)
            cells.append(f"{scores.mean():.3f} ({low:.3f} to {high:.3f})")
        last = some[-1]
        lines.append(
            f"| {what} | {sessions} | " + " | ".join(cells)
            + f" | {last.parameters:,} | {last.seconds:.0f} | {last.megabytes:.0f} |"
        )  # fmt: skip
    for (what, sessions), some in groups.items():
        if "adapted" in what:
            for other in (what.replace("adapted", "from nothing"), "ridge"):
                lines += _difference(what, some, other, groups.get((other, sessions), []))
    return "\n".join(lines)


def _joined(some: Sequence[Scores], column: str) -> tuple[Array, Array]:
    scores = np.concatenate([np.array(getattr(one, column)) for one in some])
    return scores, np.concatenate([np.array(one.pictures) for one in some])


def _difference(
    what: str, ours: Sequence[Scores], other: str, theirs: Sequence[Scores]
) -> list[str]:
    """Compare two ways subject by subject and seed by seed, with pictures as the unit."""
    known = {(one.subject, one.seed): one for one in theirs}
    pairs = [(one, known.get((one.subject, one.seed), known.get((one.subject, 0)))) for one in ours]
    pairs = [pair for pair in pairs if pair[1] is not None]
    lines = []
    for column in ("identification", "brain_to_image", "image_to_brain") if pairs else ():
        first, pictures = _joined([pair[0] for pair in pairs], column)
        second, _ = _joined([pair[1] for pair in pairs if pair[1] is not None], column)
        value, (low, high), _ = paired_bootstrap(first, second, pictures=pictures)
        lines.append(f"\n{what} less {other}, {column}: {value:+.3f} ({low:+.3f} to {high:+.3f})")
    return lines
