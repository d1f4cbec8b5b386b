"""Pictures whose regions borrow from different candidates, and what tells how well they fit."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from phosphene.priors.quilt import STRETCH, Likeness, quilt

SIDE, D = 16, 12
COLOURS = np.eye(3) * 200 - 60  # of three candidates, flat


def describe(pictures: np.ndarray) -> torch.Tensor:
    """Return features at 2 x 2 places: a fixed map of the mean colour there."""
    half = SIDE // 2
    means = pictures.reshape(-1, 2, half, 2, half, 3).mean(axis=(2, 4)) / 100
    mixing = np.random.default_rng(0).standard_normal((3, D))
    return torch.from_numpy((means @ mixing).astype(np.float32))


def quilted(wanted: list[int], regions: int) -> np.ndarray:
    """Return what comes out when features of regions from these candidates are asked for."""
    details = np.broadcast_to(COLOURS[:, None, None], (3, SIDE, SIDE, 3)).astype(np.float32)
    whole = describe((details + 100).astype(np.uint8))
    asked = whole[wanted].mean((0, 1, 2))
    return quilt(
        np.full((SIDE, SIDE, 3), 100, dtype=np.float32),
        details,
        regions=regions,
        describe=describe,
        alike=lambda seen: -(seen - asked).norm(dim=-1),
    )


def test_regions_take_what_is_asked_for_from_different_candidates() -> None:
    found = quilted([0, 0, 1, 2], regions=2)
    corners = found[[1, 1, -2, -2], [1, -2, 1, -2]].astype(float) - 100
    nearest = [int(np.abs(COLOURS - corner).sum(axis=1).argmin()) for corner in corners]
    assert sorted(nearest) == [0, 0, 1, 2]


def test_one_region_takes_one_candidate() -> None:
    found = quilted([2, 2, 2, 1], regions=1)
    np.testing.assert_array_equal(found, np.broadcast_to(100 + COLOURS[2], found.shape))


def test_regions_meet_softly() -> None:
    found = quilted([0, 0, 1, 2], regions=2).astype(float)
    steps = max(np.abs(np.diff(found, axis=axis)).max() for axis in (0, 1))
    assert 0 < steps < 150  # colours differ by 200


def test_likeness_is_a_correlation_measured_against_the_usual_one() -> None:
    rng = np.random.default_rng(1)
    mean, scale = rng.uniform(0, 2, D), rng.uniform(0.5, 2, D)
    pictures, seen = rng.standard_normal((300, D)), rng.standard_normal((5, D))
    asked = 0.2 * rng.standard_normal(D)
    alike = Likeness(D, D)
    alike.measure(*(torch.from_numpy(x).float() for x in (pictures, mean, scale)))
    found = alike(torch.from_numpy(seen).float(), torch.from_numpy(asked).float())

    def raw(features: np.ndarray) -> np.ndarray:
        return features * scale + mean

    def correlations(one: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.array([np.corrcoef(one, other)[0, 1] for other in others])

    usual = [correlations(one, raw(pictures)) for one in raw(seen)]
    expected = [
        (np.corrcoef(one, raw(STRETCH * asked))[0, 1] - known.mean()) / known.std()
        for one, known in zip(raw(seen), usual, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_a_picture_like_every_other_fits_nothing() -> None:
    """A correlation alone asks for the mean picture where little was decoded."""
    rng = torch.Generator().manual_seed(2)
    pictures = torch.randn(400, D, generator=rng)
    mean = torch.linspace(0, 3, D)
    alike = Likeness(D, D)
    alike.measure(pictures, mean, torch.ones(D))
    asked = 0.1 * pictures[0]
    seen = torch.stack([torch.zeros(D), pictures[0]])  # the mean picture, and what was shown
    correlation = torch.corrcoef(torch.cat([seen + mean, (asked + mean)[None]]))[2, :2]
    assert correlation.argmax() == 0
    assert partial(alike, decoded=asked)(seen).argmax() == 1
