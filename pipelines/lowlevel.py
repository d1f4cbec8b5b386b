"""What a model's low-level branch decodes: where a generator starts, and blurry pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.generators.starts import shares_latents
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["lowlevel_pictures", "start_of"]


def start_of(parts: ModelParts, generator: Generator, embedding: BrainEmbedding) -> torch.Tensor:
    """Return what a generator starts from: latents of its own, or pictures in 0..1.

    Parameters
    ----------
    parts : ModelParts
        With a low-level branch.
    generator : Generator
        The model's own, or another one.
    embedding : BrainEmbedding
        n items.

    Returns
    -------
    Tensor of shape (n, C, H, W)

    Raises
    ------
    UsageError
        If the branch predicts latents of an autoencoder that neither the model nor the generator
        has.
    """
    assert parts.branch is not None
    predicted, start = parts.branch.init(embedding), parts.start
    if isinstance(start, PublishedTarget):
        return _shared_latents(predicted, start, generator)
    latents = parts.structure_target is None and generator is parts.generator
    return predicted if latents or start is None else start.decode(predicted)


def _shared_latents(
    predicted: torch.Tensor, described: PublishedTarget, generator: Generator
) -> torch.Tensor:
    """Return latents as they are, for a generator with the autoencoder that is described."""
    opened = generator.opened() if isinstance(generator, OnDemand) else generator
    if not shares_latents(described.shape, opened.latents):
        raise UsageError(
            f"latents {described.shape} of {described.model} {described.weights} as a start "
            f"of the generator {generator.name}",
            expected="a generator with that autoencoder, at the size it was made for",
            remedy="--strength 1 renders without them; convert again with --with "
            "autoencoder=FOLDER and any generator can start from their pictures",
        )
    return predicted


def lowlevel_pictures(parts: ModelParts, embedding: BrainEmbedding) -> torch.Tensor:
    """Return decoded low-level pictures (n, 3, H, W) in 0..1."""
    assert parts.branch is not None
    assert parts.structure_target is not None
    return parts.structure_target.decode(parts.branch.init(embedding))
