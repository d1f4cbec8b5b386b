"""The search space: whitened errors, and better retrieval where errors are unequal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError
from phosphene.pipelines.metrics import brain_to_image_retrieval
from phosphene.priors.retrieval import RetrievalProjector


def pairs(n: int = 600, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predictions whose errors grow with the variance of the target's directions."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([20.0, 10.0, 1, 1, 1, 1, 1, 1])
    truth = torch.randn(n, 2, 4, generator=generator).flatten(1) * spread
    error = torch.randn(n, 8, generator=generator) * torch.tensor([20.0, 10.0, *[0.3] * 6])
    return (truth + error).view(n, 2, 4), truth.view(n, 2, 4)


def test_errors_are_white_in_the_search_space() -> None:
    predicted, truth = pairs()
    projector = RetrievalProjector(8, 8).fit(predicted, truth)
    error = projector.project(predicted) - projector.project(truth)
    covariance = error.T @ error / len(error)
    assert torch.allclose(covariance, torch.eye(8), atol=1e-3)


def test_retrieval_of_new_pictures_is_better_than_by_plain_cosine() -> None:
    projector = RetrievalProjector(8, 8).fit(*pairs())
    predicted, truth = pairs(100, seed=1)

    def top1(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(brain_to_image_retrieval(a.numpy(), b.numpy()).top_k(1).mean())

    plain = top1(predicted.flatten(1), truth.flatten(1))
    assert top1(projector.project(predicted), projector.project(truth)) > plain + 0.3


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    predicted, truth = pairs()
    projector = RetrievalProjector(8, 3).fit(predicted, truth)
    projector.save_pretrained(tmp_path)
    again = RetrievalProjector.from_pretrained(tmp_path)
    assert torch.equal(again.project(truth), projector.project(truth))


def test_wrong_shapes_and_too_few_pictures_are_one_message() -> None:
    predicted, truth = pairs(5)
    with pytest.raises(InputError, match="5 pictures for 8 components"):
        RetrievalProjector(8, 8).fit(predicted, truth)
    with pytest.raises(InputError, match="both with 9 numbers"):
        RetrievalProjector(9, 2).fit(predicted, truth)
    with pytest.raises(InputError, match="components"):
        RetrievalProjector(4, 5)
