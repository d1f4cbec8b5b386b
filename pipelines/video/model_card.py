"""README.md of a video model folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phosphene.pipelines.video.model import VideoModel

__all__ = ["model_card"]


def model_card(name: str, model: VideoModel) -> str:
    """Return the card as Markdown: what the model decodes, learned from, and was found to do."""
    protocol, timing = model.protocol, model.timing
    counts = ", ".join(f"sub-{s}: {n} clips" for s, n in protocol.n_train_trials.items())
    numbers = "\n".join(f"| {key} | {value:.4f} |" for key, value in model.metrics.items())
    return f"""---
library_name: phosphene
tags: [brain-decoding, fmri, video]
---
# {name}

Decodes clips of {timing.seconds:g} s from the volumes that begin {timing.delay:g} s after them, for
{timing.window:g} s (TR {timing.tr:g} s): `{model.encoder.name}`, keyframes by
`{model.picture_model}`, moved by `{model.generator.name}`.

| | |
|---|---|
| dataset | {protocol.dataset} ({protocol.dataset_hash}) |
| trained on | {counts} |
| normalisation | {protocol.normalisation}, fitted on {protocol.normalisation_fitted_on} |
| chosen by | {protocol.selection_rule} |

Found on movies left out of training, never test ones:

| | |
|---|---|
{numbers}

```
reconstruct --subject {protocol.subjects[0]} --input RUN --video --model {name} --output OUT
```
"""
