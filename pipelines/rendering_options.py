"""What a run may choose about rendering, checked against what a model has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.choosing import open_generator
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.base import Prior
from phosphene.priors.detail import BorrowedDetail

__all__ = ["choose_detail", "choose_generator", "choose_prior", "choose_strength"]


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


def choose_strength(parts: ModelParts, strength: float | None) -> float:
    """Return how much of the diffusion is run; 1 for a model without a low-level branch."""
    if strength is not None and not 0 <= strength <= 1:
        raise UsageError(f"`strength` is {strength}", expected="from 0 to 1")
    if parts.branch is None:
        if strength not in (None, 1):
            raise UsageError(
                f"a strength of {strength} for the model {parts.name}",
                expected="no strength: it has no low-level branch to start from",
            )
        return 1.0
    return parts.branch.strength if strength is None else strength


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
