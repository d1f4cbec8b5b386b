"""What a run may choose about rendering, checked against what a model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.choosing import open_generator
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.generators.starts import shares_latents
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.base import Prior
from phosphene.priors.detail import BorrowedDetail

__all__ = [
    "choose_blend",
    "choose_detail",
    "choose_generator",
    "choose_prior",
    "choose_strength",
]


def choose_generator(
    parts: ModelParts, name: str | None, options: dict[str, Any] | None
) -> Generator:
    """Return the model's own generator, or the one that is named."""
    own = parts.generator
    if name is None or name == own.name:
        return own.with_options(options) if options else own
    return open_generator(name, (parts.folder or Path()) / "generator", parts.target, options)


def choose_prior(parts: ModelParts, name: str | None) -> Prior | None:
    """Return the model's own prior, or none where that is asked for."""
    if name is None or (parts.prior is not None and name == parts.prior.name):
        return parts.prior
    if name != "none":
        raise UsageError(
            f"the prior {name!r} for the model {parts.name}",
            expected="none" if parts.prior is None else f"none, or its own {parts.prior.name}",
        )
    return None


def choose_strength(parts: ModelParts, strength: float | None, generator: Generator) -> float:
    """Return how much of the diffusion is run; 1 for a model without a low-level branch.

    Latents whose autoencoder is described, and not part of the model, start those generators that
    have the same one; the others render from noise.
    """
    if strength is not None and not 0 <= strength <= 1:
        raise UsageError(f"`strength` is {strength}", expected="from 0 to 1")
    if parts.branch is None:
        if strength not in (None, 1):
            raise UsageError(
                f"a strength of {strength} for the model {parts.name}",
                expected="no strength: it has no low-level branch to start from",
            )
        return 1.0
    chosen = parts.branch.strength if strength is None else strength
    described = parts.structure_target
    if chosen == 1 or not isinstance(described, PublishedTarget):
        return chosen
    # A generator that is not open yet is the one that the model was converted for.
    if isinstance(generator, OnDemand) or shares_latents(described.shape, generator.latents):
        return chosen
    if strength is None:
        return 1.0
    raise UsageError(
        f"a strength of {strength} with the generator {generator.name}",
        expected=f"a generator with the autoencoder of the predicted latents, {described.model} "
        f"{described.weights}, such as {parts.generator.settings.get('published', 'its own')}",
        remedy="convert again with --with autoencoder=FOLDER, whose pictures start any generator",
    )


def choose_blend(parts: ModelParts, blend: float | None) -> float:
    """Return the share of the decoded low-level picture in what is shown."""
    if blend is not None and not 0 <= blend <= 1:
        raise UsageError(f"`blend` is {blend}", expected="from 0 to 1")
    target = parts.structure_target
    if blend and (parts.branch is None or target is None or not target.can_decode):
        raise UsageError(
            f"a blend of {blend} for the model {parts.name}",
            expected="0: it has no low-level pictures of its own",
        )
    own = 0.0 if parts.branch is None else parts.branch.blend
    return own if blend is None else blend


def choose_detail(parts: ModelParts, blur: float | None) -> BorrowedDetail | None:
    """Return what lends detail, at the scale that is asked for."""
    if blur is None or (parts.detail is None and blur == 0):
        return parts.detail
    if parts.detail is None:
        raise UsageError(
            f"detail of {blur} pixels for the model {parts.name}",
            expected="0: it keeps no training pictures to borrow from",
        )
    return parts.detail.with_blur(blur)
