"""What a decoder could have said: best guesses, as wrong as they are shrunken."""

from __future__ import annotations

import torch

from phosphene.pipelines.training.imitated_decoding import (
    imitate_embedding,
    imitate_flow,
    imitate_lowlevel,
    some,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(9)


def each_correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))


def test_a_guess_is_the_best_guess() -> None:
    # Of lasting flow: what it is regressed on the guess has a slope of 1 for every clip.
    flow = normal(64, 1, 2, 40, 40).expand(-1, 3, -1, -1, -1)
    told = imitate_flow(flow, stream())
    assert torch.equal(told[:, 0], told[:, 2])
    slope = (flow * told).flatten(1).sum(1) / told.flatten(1).square().sum(1)
    assert torch.allclose(slope, torch.ones(64), atol=0.2)
    explained = each_correlation(flow, told).square()
    assert 0.05 < explained.min() < 0.3
    assert 0.8 < explained.max() <= 1


def test_errors_are_those_of_another_clip() -> None:
    flow = normal(6, 1, 2, 40, 40)
    told = imitate_flow(flow, stream())
    beside = each_correlation(told - flow, flow.roll(1, 0))
    assert (beside > 0.1).all()


def test_tokens_are_as_long_as_true_ones() -> None:
    token, feature = normal(200, 16, 40), normal(200, 30, seed=1)
    told, told_feature = imitate_embedding(token, feature, stream())
    length = told.flatten(1).norm(dim=1) / token.flatten(1).norm(dim=1)
    assert torch.allclose(length, torch.ones(200), atol=0.25)
    alike = each_correlation(token, told)
    assert alike.min() > 0.15
    assert alike.max() > 0.95
    unknown = (told_feature == 0).all(1).float().mean()
    assert 0.35 < unknown < 0.65


def test_what_is_quick_and_fine_is_lost_first() -> None:
    lasting = normal(128, 1, 2, 12, 12).expand(-1, 9, -1, -1, -1)
    quick = normal(128, 9, 2, 12, 12, seed=1)
    smooth = (
        torch.linspace(-1.7, 1.7, 12).expand(128, 9, 2, 12, 12) * normal(128, 1, 1, 1, 1).sign()
    )
    kept = {
        name: float(each_correlation(clips, imitate_lowlevel(clips, stream())).mean())
        for name, clips in (("quick", quick), ("lasting", lasting), ("smooth", smooth))
    }
    assert kept["quick"] < kept["lasting"] < kept["smooth"]


def test_some_are_known_and_the_others_are_zeros() -> None:
    found = some(torch.ones(500, 2, 3), 0.8, stream())
    known = found.flatten(1).mean(1)
    assert set(known.tolist()) == {0.0, 1.0}
    assert 0.72 < known.mean() < 0.88
