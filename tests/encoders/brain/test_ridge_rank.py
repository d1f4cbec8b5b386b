"""Reduced rank: the best approximation of fitted values, by whichever matrix is smallest."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from phosphene.encoders.brain.ridge_rank import reduce_rank
from phosphene.encoders.brain.ridge_solver import RidgeSolution, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose


def solved(n: int, p: int, t: int) -> tuple[RidgeSolution, torch.Tensor]:
    noise = torch.Generator().manual_seed(n + p + t)
    X, Y = torch.randn(n, p, generator=noise), torch.randn(n, t, generator=noise)
    spectrum = decompose(X)
    return solve_ridge(spectrum, Y, (1.0,)), spectrum.inputs


@pytest.mark.parametrize("sizes", [(40, 12, 8), (9, 30, 50), (40, 12, 50)])
def test_fitted_values_are_those_of_the_singular_vectors(sizes: tuple[int, int, int]) -> None:
    """Over targets, items and inputs: Eckart and Young's best approximation of rank 3."""
    solution, inputs = solved(*sizes)
    reduced = reduce_rank(solution, inputs, 3)
    assert reduced.basis is not None
    assert reduced.basis.shape == (3, sizes[2])
    torch.testing.assert_close(reduced.basis @ reduced.basis.T, torch.eye(3), atol=1e-5, rtol=0)
    fitted = (inputs @ solution.coefficients()).double()
    u, s, v = torch.linalg.svd(fitted, full_matrices=False)
    best = (u[:, :3] * s[:3]) @ v[:3]
    found = (inputs @ reduced.coefficients()).double()
    torch.testing.assert_close(found, best, atol=1e-4, rtol=1e-4)


def test_no_more_directions_than_there_are() -> None:
    solution, inputs = solved(9, 30, 50)
    flat = solution.coefficients()[:, :1].expand(-1, 50).contiguous()
    alike = dataclasses.replace(solution, weights=flat, inputs=None)
    reduced = reduce_rank(alike, inputs, 3)
    assert reduced.basis is not None
    assert torch.isfinite(reduced.basis).all()
    torch.testing.assert_close(inputs @ reduced.coefficients(), inputs @ flat, atol=1e-4, rtol=1e-4)
