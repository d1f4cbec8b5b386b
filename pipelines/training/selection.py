"""Choose prior and strength on validation pictures, by rendering them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.metrics import pixel_correlation, two_way_identification
from phosphene.priors.base import Prior
from phosphene.progress import progress
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding

__all__ = ["Candidate", "Score", "Validation", "choose"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to render: a prior, or none, and a strength."""

    prior: Prior | None
    strength: float

    @property
    def prior_name(self) -> str:
        """Name of the prior, or ``none``."""
        return "none" if self.prior is None else self.prior.name


@dataclass(frozen=True)
class Score:
    """How a candidate did on validation pictures.

    Attributes
    ----------
    identification : float
        Two-way identification of rendered pictures by the target's own features; chance .5.
    pixel_correlation : float
        Mean over pictures.
    """

    prior: str
    strength: float
    identification: float
    pixel_correlation: float

    @property
    def total(self) -> float:
        """What is compared: content and layout count alike."""
        return self.identification + self.pixel_correlation


@dataclass(frozen=True, eq=False)
class Validation:
    """Predictions of held-out pictures and what was shown.

    Attributes
    ----------
    embedding : BrainEmbedding
        n predictions, with their low-level part.
    pictures : ndarray of shape (n, H, W, 3)
    keys : sequence of n str
        Names that the random streams hang on.
    """

    embedding: BrainEmbedding
    pictures: Pictures
    keys: Sequence[str]


def choose(
    candidates: Sequence[Candidate],
    validation: Validation,
    generator: Generator,
    target: StimulusEncoder,
    *,
    seed: int = 0,
) -> tuple[Candidate, list[Score]]:
    """Render the validation pictures in every way; return the best way and all scores."""
    truth = _flat(target, validation.pictures)
    scores = []
    for candidate in progress(candidates, label="choosing prior and strength"):
        pictures = _render(candidate, validation, generator, seed)
        scores.append(
            Score(
                candidate.prior_name,
                candidate.strength,
                two_way_identification(_flat(target, pictures), truth).mean,
                float(pixel_correlation(pictures, validation.pictures).mean()),
            )
        )
    best = int(np.argmax([score.total for score in scores]))
    return candidates[best], scores


def _flat(target: StimulusEncoder, pictures: Pictures) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = target.encode(pictures).flatten(1).numpy()
    return found


def _render(
    candidate: Candidate, validation: Validation, generator: Generator, seed: int
) -> Pictures:
    generators = [
        torch.Generator().manual_seed(item_seed(seed, "validation", key, 0))
        for key in validation.keys
    ]
    embedding = validation.embedding
    if candidate.prior is not None:
        embedding = candidate.prior.sample(embedding, generators=generators)
    pictures = generator.generate(
        embedding,
        init=None if candidate.strength == 1 else embedding.lowlevel,
        strength=candidate.strength,
        generators=generators,
    )
    return np.asarray(pictures)
