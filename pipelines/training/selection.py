"""Choose prior and strength on validation pictures, by rendering them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

__all__ = ["Candidate", "Score", "Validation", "choose", "judge", "score_of"]


def _lowlevel(embedding: BrainEmbedding) -> Tensor:
    assert embedding.lowlevel is not None
    return embedding.lowlevel


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way to render: a prior, or none, a strength, and what is started from below 1."""

    prior: Prior | None
    strength: float
    start: Callable[[BrainEmbedding], Tensor] = _lowlevel

    def rendering(self, generator: Generator) -> Rendering:
        """Return it with a generator; nothing is borrowed."""
        return Rendering(generator, self.prior, self.strength, self.start)


@dataclass(frozen=True)
class Score:
    """How a way to render did on validation pictures.

    Attributes
    ----------
    prior, strength, guidance_scale, blur
        The way; ``blur`` is the pixels below which detail was borrowed.
    identification : float
        Two-way identification of rendered pictures by the target's own features; chance .5.
    pixel_correlation : float
        Mean over pictures.
    by_features : float, optional
        Two-way identification by the features of the second network.
    """

    prior: str
    strength: float
    identification: float
    pixel_correlation: float
    by_features: float | None = None
    guidance_scale: float = 1.0
    blur: float = 0.0

    @property
    def total(self) -> float:
        """What is compared: content, layout and, where features are decoded, detail alike."""
        return self.identification + self.pixel_correlation + (self.by_features or 0.0)


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

    def seeds(self, seed: int) -> list[int]:
        """Return the seed of each picture."""
        return [item_seed(seed, "validation", key, 0) for key in self.keys]


def choose(
    candidates: Sequence[Candidate],
    validation: Validation,
    generator: Generator,
    judges: Sequence[StimulusEncoder],
    *,
    seed: int = 0,
) -> tuple[Candidate, list[Score]]:
    """Render the validation pictures in every way; return the best way and all scores."""
    scores = [
        judge(candidate.rendering(generator), validation, judges, seed)
        for candidate in progress(candidates, label="choosing prior and strength")
    ]
    best = int(np.argmax([score.total for score in scores]))
    return candidates[best], scores


def judge(
    rendering: Rendering,
    validation: Validation,
    judges: Sequence[StimulusEncoder],
    seed: int,
    coarse: np.ndarray[Any, Any] | None = None,
) -> Score:
    """Render the validation pictures in one way and score them.

    ``judges`` are the target and, where features are decoded, the network they are of. ``coarse``
    is what detail is put on, where it was rendered already.
    """
    pictures = (
        rendering.pictures(validation.embedding, validation.seeds(seed))
        if coarse is None
        else rendering.lend(coarse, validation.embedding)
    )
    identified = [
        two_way_identification(_flat(network, pictures), _flat(network, validation.pictures)).mean
        for network in judges
    ]
    return Score(
        identification=identified[0],
        pixel_correlation=float(pixel_correlation(pictures, validation.pictures).mean()),
        by_features=identified[1] if len(identified) > 1 else None,
        **_way(rendering),
    )


def score_of(rendering: Rendering, scores: Sequence[Score]) -> Score:
    """Return how one way to render did; others may have done better before it was settled."""
    way = _way(rendering)
    return next(
        score
        for score in reversed(scores)
        if all(getattr(score, name) == value for name, value in way.items())
    )


def _way(rendering: Rendering) -> dict[str, Any]:
    return {
        "prior": "none" if rendering.prior is None else rendering.prior.name,
        "strength": rendering.strength,
        "guidance_scale": float(getattr(rendering.generator, "guidance_scale", 1.0)),
        "blur": 0.0 if rendering.detail is None else rendering.detail.blur,
    }


def _flat(target: StimulusEncoder, pictures: Pictures) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = target.encode(pictures).flatten(1).numpy()
    return found
