"""One table of several results, in which no column mixes protocols."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.results import number
from phosphene.schemas import EvaluatedMetric, EvaluationFile, EvaluationProtocol
from phosphene.storage import hash_bytes

__all__ = ["Column", "Leaderboard", "leaderboard", "leaderboard_markdown", "leaderboard_tsv"]

# What has to agree before two numbers may stand under each other, and how people call it.
MUST_AGREE = {
    "truth_hash": "the dataset",
    "pictures_hash": "the set of test pictures",
    "split": "the split",
    "averaging": "averaging",
    "n_samples": "the number of samples",
    "size_rule": "the size",
    "transductive": "transductive",
    "subjects": "the list of subjects",
    "n_missing": "the number of missing predictions",
}
MARKS = "abcdefghijklmnopqrstuvwxyz"
Key = tuple[str, str, str]  # id, hash of the definition, hash of the protocol


@dataclass(frozen=True)
class Column:
    """A metric of one definition under one protocol.

    Attributes
    ----------
    title : str
        The id, with a letter where protocols differ.
    cells : tuple of EvaluatedMetric or None
        One per result.
    """

    title: str
    cells: tuple[EvaluatedMetric | None, ...]

    @property
    def best(self) -> float | None:
        """The best value of the column; ``None`` where there is nothing to be better than."""
        known = [cell for cell in self.cells if cell is not None]
        if len(known) < 2:
            return None
        return (max if known[0].higher_is_better else min)(cell.value for cell in known)


@dataclass(frozen=True)
class Leaderboard:
    """Several results side by side.

    Attributes
    ----------
    names : tuple of str
    columns : tuple of Column
    footnotes : tuple of str
        What the letters mean, and what has to be known of a row.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    footnotes: tuple[str, ...]


def leaderboard(results: Sequence[EvaluationFile], *, strict: bool = False) -> Leaderboard:
    """Put results side by side; each protocol and each definition has its own columns.

    Parameters
    ----------
    results : sequence of EvaluationFile
    strict : bool
        Refuse results of different protocols or definitions, and say what differs.

    Raises
    ------
    InputError
        If there is no result, or ``strict`` and protocols or definitions differ.
    """
    if not results:
        raise InputError("no results for a leaderboard", "one or more outputs", "name some")
    protocols = {_protocol_key(one.protocol): one.protocol for one in results}
    if strict and len(protocols) > 1:
        raise InputError(
            f"the results were made by different protocols: {_differences(results)}",
            expected="one protocol in one column",
            remedy="evaluate all of them in the same way, or leave --strict away for a column each",
        )
    several = len(protocols) > 1
    letters = {key: _letter(place) if several else "" for place, key in enumerate(protocols)}
    names = _unique_names(results)
    footnotes = [
        (f"{letters[key]}: " if several else "") + describe(one) for key, one in protocols.items()
    ]
    for name, one in zip(names, results, strict=True):
        footnotes += _row_notes(name, one)
    columns = tuple(_columns(results, letters, strict=strict))
    return Leaderboard(tuple(names), columns, tuple(footnotes))


def _columns(
    results: Sequence[EvaluationFile], letters: dict[str, str], *, strict: bool
) -> list[Column]:
    found: dict[Key, dict[int, EvaluatedMetric]] = {}
    for row, one in enumerate(results):
        for metric in one.metrics:
            text = json.dumps(metric.spec, sort_keys=True)
            key = (metric.id, hash_bytes(text.encode())[:8], _protocol_key(one.protocol))
            found.setdefault(key, {})[row] = metric
    definitions: dict[str, list[str]] = {}
    for name, definition, _ in found:
        definitions.setdefault(name, [])
        if definition not in definitions[name]:
            definitions[name].append(definition)
    differing = [name for name, known in definitions.items() if len(known) > 1]
    if differing and strict:
        raise InputError(
            f"the results define {differing[0]} in different ways",
            expected="one definition under one id",
            remedy="evaluate all of them with the same release",
        )
    order = list(definitions)
    columns = []
    for key in sorted(found, key=lambda key: (order.index(key[0]), letters[key[2]], key[1])):
        name, definition, protocol = key
        marks = [letters[protocol]] if letters[protocol] else []
        marks += [f"definition {definition}"] if name in differing else []
        title = name + (f" ({', '.join(marks)})" if marks else "")
        columns.append(Column(title, tuple(found[key].get(row) for row in range(len(results)))))
    return columns


def _protocol_key(protocol: EvaluationProtocol) -> str:
    text = json.dumps([getattr(protocol, name) for name in MUST_AGREE])
    return hash_bytes(text.encode())[:16]


def _differences(results: Sequence[EvaluationFile]) -> str:
    clauses = []
    for name, words in MUST_AGREE.items():
        values = list(dict.fromkeys(str(getattr(one.protocol, name)) for one in results))
        if len(values) > 1:
            clauses.append(f"{words} is {' and '.join(values)}")
    return "; ".join(clauses)


def describe(protocol: EvaluationProtocol) -> str:
    """Return a protocol in one line, as a footnote has it."""
    parts = [
        f"{protocol.truth} ({protocol.truth_hash})",
        f"split {protocol.split} of {protocol.n_pictures} pictures ({protocol.pictures_hash})",
        f"{protocol.n_items} items x {protocol.n_samples} samples",
        f"averaging: {protocol.averaging}",
        protocol.size_rule,
    ]
    if protocol.subjects:
        parts.append(f"subjects {' '.join(protocol.subjects)}")
    if protocol.n_missing:
        parts.append(f"{protocol.n_missing} pictures without a prediction")
    if protocol.transductive:
        parts.append("transductive")
    return "; ".join(parts)


def _row_notes(name: str, one: EvaluationFile) -> list[str]:
    notes = []
    if one.n_seen_in_training:
        notes.append(
            f"{name}: {one.n_seen_in_training} of {len(one.items)} items show pictures that the "
            "model was trained on"
        )
    if one.audit is not None and one.audit.get("n_shared_stimuli"):
        notes.append(f"{name}: {one.audit['line']}")
    tested = [
        f"{metric.id} {metric.permuted.p_value:.2g}"
        for metric in one.metrics
        if metric.permuted.p_value is not None
    ]
    if tested:
        notes.append(f"{name}: p of the pairing, against wrong ones: {', '.join(tested)}")
    within = [
        f"{metric.id} {metric.within_category.value:.3f}"
        for metric in one.metrics
        if metric.within_category is not None
    ]
    if within:
        notes.append(f"{name}: two-way within categories (chance .5): {', '.join(within)}")
    collapsed = [metric.id for metric in one.metrics if metric.collapsed]
    if collapsed:
        notes.append(f"{name}: most predictions are the same to {', '.join(collapsed)}")
    return notes


def _letter(place: int) -> str:
    return MARKS[place] if place < len(MARKS) else f"p{place + 1}"


def _unique_names(results: Sequence[EvaluationFile]) -> list[str]:
    names = [one.name for one in results]
    return [
        f"{name} ({place + 1})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def leaderboard_markdown(board: Leaderboard) -> str:
    """Return the table in Markdown: values with intervals, the best of each column bold.

    Below the results stand what wrong pairings and the grey picture score.
    """
    heads = []
    for column in board.columns:
        cell = next(cell for cell in column.cells if cell is not None)
        heads.append(f"{column.title} {'↑' if cell.higher_is_better else '↓'}")
    lines = [_line(["result", *heads]), "|---" * (len(heads) + 1) + "|"]
    for row, name in enumerate(board.names):
        cells = [_cell(column, row) for column in board.columns]
        lines.append(_line([name.replace("|", "\\|"), *cells]))
    lines.append(_line(["*wrong pairing*", *map(_permuted, board.columns)]))
    lines.append(_line(["*grey picture*", *map(_grey, board.columns)]))
    return "\n".join([*lines, "", *(f"- {note}" for note in board.footnotes)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(column: Column, row: int) -> str:
    metric = column.cells[row]
    if metric is None:
        return "–"
    value = f"{metric.value:.3f}"
    if metric.value == column.best:
        value = f"**{value}**"
    if metric.interval is not None:
        value += f" [{metric.interval[0]:.3f}, {metric.interval[1]:.3f}]"
    return value


def _permuted(column: Column) -> str:
    return _range([cell.permuted.mean for cell in column.cells if cell is not None])


def _grey(column: Column) -> str:
    return _range([cell.controls["grey_picture"] for cell in column.cells if cell is not None])


def _range(values: Sequence[float | None]) -> str:
    """Return a number, or from where to where where results differ in it."""
    words = sorted({f"{value:.3f}" for value in values if value is not None}, key=float)
    return "–" if not words else words[0] if len(words) == 1 else f"{words[0]} to {words[-1]}"


def leaderboard_tsv(board: Leaderboard) -> str:
    """Return one line per number for programs, then the footnotes behind ``#``."""
    head = "result metric value low high chance permuted grey_picture p_value within_category"
    lines = ["\t".join(head.split())]
    for column in board.columns:
        for name, metric in zip(board.names, column.cells, strict=True):
            if metric is not None:
                low, high = metric.interval or (None, None)
                grey = metric.controls["grey_picture"]
                within = None if metric.within_category is None else metric.within_category.value
                values = (metric.value, low, high, metric.chance, metric.permuted.mean, grey)
                more = (metric.permuted.p_value, within)
                lines.append("\t".join([name, column.title, *map(number, (*values, *more))]))
    return "\n".join([*lines, *(f"# {note}" for note in board.footnotes)]) + "\n"
