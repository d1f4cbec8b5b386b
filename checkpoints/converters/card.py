"""The model card of converted weights: where they come from, what is known, what is odd."""

from __future__ import annotations

from phosphene.checkpoints.converters.family import Converted, Family, Request
from phosphene.checkpoints.converters.published import known_weights

__all__ = ["model_card"]


def model_card(kind: Family, converted: Converted, request: Request, name: str) -> str:
    """Return the text of ``README.md``."""
    parts, protocol = converted.parts, converted.parts.protocol
    shape = " x ".join(map(str, parts.target.spec.shape))
    sizes = "\n".join(f"| {key} | {value} |" for key, value in converted.sizes.items())
    subject = parts.preprocessor.subjects[0]
    return f"""---
library_name: phosphene
tags: [brain-decoding, {parts.preprocessor.modality}, converted]
---
# {name}

Weights of {kind.title}, trained and published by others, turned into a model folder. Nothing was
trained or changed{" but the form" if request.corrected else ""}; what they decode is people's brain
activity, under the terms of the data they come from.

| | |
|---|---|
| paper | {kind.paper} |
| source | {kind.source} |
| licence of the weights | {kind.licence} |
| file | {request.path.name} |
| encoder | `{parts.encoder.name}` to {shape} |
| prior | {"none" if parts.prior is None else f"`{parts.prior.name}`"} |
{sizes}

## Protocol, as far as it is known

| | |
|---|---|
| dataset | {protocol.dataset} |
| mask | {protocol.mask} |
| normalisation | {protocol.normalisation}, fitted on {protocol.normalisation_fitted_on} |
| repetitions in training, at test | {protocol.averaging_train}; {protocol.averaging_test} |
| chosen by | {protocol.selection_rule} |

Recordings have to come normalised like this: the model takes them as they are.
{_figures(kind.name)}
## Kept as published

{_listed(converted.quirks)}

## Left out of the file

{_listed(_reasons(converted))}
{_notes(converted)}
```
reconstruct --subject {subject} --input RECORDING --model {name} --output OUT
```
"""


def _figures(name: str) -> str:
    rows = [
        f"| {key} | {value} |"
        for entry in known_weights().values()
        if entry.family == name
        for key, value in entry.numbers.items()
    ]
    if not rows:
        return "\n"
    return "\n## Numbers of the paper\n\n| | |\n|---|---|\n" + "\n".join(rows) + "\n\n"


def _listed(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "Nothing."


def _reasons(converted: Converted) -> list[str]:
    reasons: dict[str, int] = {}
    for reason in converted.dropped.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    return [f"{reason} ({number} tensors)" for reason, number in reasons.items()]


def _notes(converted: Converted) -> str:
    if not converted.notes:
        return ""
    return "\n## Careful\n\n" + _listed(converted.notes) + "\n"
