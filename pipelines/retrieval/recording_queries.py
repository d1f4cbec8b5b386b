"""Recordings become what is searched for: predicted embeddings and a name for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from phosphene.schemas import IndexFile, SearchSpace
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    from phosphene.pipelines.reconstructor import Reconstructor

__all__ = ["Decoded", "decode_recording"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a model predicted of a recording.

    Attributes
    ----------
    model : Reconstructor
    embedding : Tensor of shape (n, ...)
        Predicted target embeddings.
    stimuli, names : list of str
        Of the n items: what was seen, and how the item is called.
    """

    model: Reconstructor
    embedding: Any
    stimuli: list[str]
    names: list[str]


class _Indexed(Protocol):
    file: IndexFile

    @property
    def space(self) -> SearchSpace: ...


def decode_recording(
    index: _Indexed,
    recording: str,
    *,
    subject: str,
    trials: str | None,
    model: str | None,
    average: str,
    device: str,
) -> Decoded:
    """Decode a recording; if no model is given, by that of the index or the default."""
    from phosphene.checkpoints.registry import default_model, known_models
    from phosphene.pipelines.items import items_of
    from phosphene.pipelines.reconstructor import Reconstructor

    name = index.file.target_name
    own = name if index.space.projector or name in known_models() else None
    decoder = Reconstructor.from_pretrained(model or own or default_model("fmri"), device=device)
    items, table = items_of(decoder.read(recording, subject=subject, trials=trials), average)
    stimuli = [str(stimulus) for stimulus in table["stimulus_id"]]
    names = [
        f"item {row}" if stimulus == UNKNOWN else stimulus for row, stimulus in enumerate(stimuli)
    ]
    if average == "none":
        names = [f"{name} {trial}" for name, trial in zip(names, table["source_trials"],
                                                          strict=True)]  # fmt: skip
    return Decoded(decoder, decoder.embed(items).main, stimuli, names)
