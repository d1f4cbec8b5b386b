"""Choose prior and strength on validation pictures, by rendering them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.metrics import pixel_correlation, two_way_identification
from phosphene.pipelines.rendering import Rendering
from phosphene.priors.base import Prior
from phosphene.progress import progress
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding

__all__ = ["Candidate", "Score", "Validation", "choose", "judge"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to render: a prior, or none, and a strength."""

    prior: Prior | None
    strength: float

    @property
    def prior_name(self) -> str:
        """Name of the prior, or ``none``."""
        return "none" if self.prior is None else self.prior.name

    def rendering(self, generator: Generator) -> Rendering:
        """Return it with a generator, without a choice among pictures."""
        return Rendering(generator, self.prior, self.strength, _lowlevel)


@dataclass(frozen=True)
class Score:
    """How a candidate did on validation pictures.

    Attributes
    ----------
    identification : float
        Two-way identification of rendered pictures by the target's own features; chance .5.
    pixel_correlation : float
        Mean over pictures.
    candidates : int
        Pictures among which the one shown was chosen by decoded features.
    """

    prior: str
    strength: float
    identification: float
    pixel_correlation: float
    candidates: int = 1

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
        n predictions, with their low-level part and features, if any.
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
    renderings = [candidate.rendering(generator) for candidate in candidates]
    scores = [
        Score(candidate.prior_name, candidate.strength, *judge(rendering, validation, target, seed))
        for candidate, rendering in zip(
            candidates, progress(renderings, label="choosing prior and strength"), strict=True
        )
    ]
    best = int(np.argmax([score.total for score in scores]))
    return candidates[best], scores


def judge(
    rendering: Rendering, validation: Validation, target: StimulusEncoder, seed: int
) -> tuple[float, float]:
    """Return two-way identification by the target's features, and the correlation of pixels."""
    seeds = [item_seed(seed, "validation", key, 0) for key in validation.keys]
    pictures = rendering.pictures(validation.embedding, seeds)
    truth, found = (_flat(target, each) for each in (validation.pictures, pictures))
    return (
        two_way_identification(found, truth).mean,
        float(pixel_correlation(pictures, validation.pictures).mean()),
    )


def _flat(target: StimulusEncoder, pictures: Pictures) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = target.encode(pictures).flatten(1).numpy()
    return found


def _lowlevel(embedding: BrainEmbedding) -> Tensor:
    assert embedding.lowlevel is not None
    return embedding.lowlevel
