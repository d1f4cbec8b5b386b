"""What the encoders of a model predict of a prepared recording, part by part."""

from __future__ import annotations

from dataclasses import replace

from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import BrainEmbedding, Recording

__all__ = ["predict"]


def predict(parts: ModelParts, prepared: Recording) -> BrainEmbedding:
    """Return the embedding of each trial, with every part that the model decodes.

    Parameters
    ----------
    parts : ModelParts
    prepared : Recording
        As the model's preprocessor leaves it.
    """
    embedding: BrainEmbedding = parts.encoder.encode(prepared)
    if parts.structure is not None:
        found = parts.structure.encode(prepared)
        lowlevel = found.main if found.lowlevel is None else found.lowlevel
        embedding = replace(embedding, lowlevel=lowlevel)
    if parts.features is not None:
        embedding = replace(embedding, features=parts.features.encode(prepared).main)
    if parts.control is not None and parts.control_target is not None:
        predicted = parts.control.encode(prepared).lowlevel
        embedding = replace(embedding, control=parts.control_target.decode(predicted))
    return embedding
