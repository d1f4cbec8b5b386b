"""Reduced-rank ridge regression: the same predictions in far fewer numbers.

The coefficients are projected on the directions of target space in which fitted values vary
most. Izenman 1975, *Journal of Multivariate Analysis* 5; Mukherjee and Zhu 2011, *Statistical
Analysis and Data Mining* 4 (with a ridge penalty).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phosphene.encoders.brain.ridge_solver import RidgeSolution
from phosphene.encoders.brain.ridge_spectrum import blocks

__all__ = ["reduce_rank"]

BATCH = 2048


def reduce_rank(solution: RidgeSolution, inputs: Tensor, rank: int) -> RidgeSolution:
    """Return a solution of that rank whose fitted values differ least in the squared sense.

    Parameters
    ----------
    solution : RidgeSolution
        Of full rank: p inputs, t targets.
    inputs : Tensor of shape (n, p)
        Centred training inputs.
    rank : int
        Kept where it is smaller than what inputs and targets allow.
    """
    n_targets = len(solution.y_mean)
    if rank >= min(*inputs.shape, n_targets):
        return solution
    basis = _directions(inputs, solution.coefficients(), rank).to(solution.weights)
    # A vector and its negative serve equally: fix the sign, so that results do not hang on it.
    largest = basis.abs().argmax(dim=1, keepdim=True)
    basis = basis * basis.gather(1, largest).sign()
    left_out = solution.left_out
    if left_out is not None:
        left_out = (left_out - solution.y_mean) @ basis.T @ basis + solution.y_mean
    return dataclasses.replace(
        solution, weights=solution.weights @ basis.T, basis=basis.contiguous(), left_out=left_out
    )


def _directions(inputs: Tensor, coefficients: Tensor, rank: int) -> Tensor:
    """Return the directions (rank, t) in which fitted values vary most, longest first.

    The smallest of three matrices is decomposed: over targets, over items or over inputs. With
    items or inputs, fitted values stand for themselves or for a root of the inputs' Gram matrix
    times the coefficients, which varies in the same directions.
    """
    n, p = inputs.shape
    if coefficients.shape[1] <= min(n, p):
        gram = coefficients.new_zeros(coefficients.shape[1], coefficients.shape[1]).double()
        for part in blocks(n, BATCH):
            fitted = inputs[part] @ coefficients
            gram += (fitted.T @ fitted).double()
        longest: Tensor = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1).T
        return longest
    if n <= p:
        factor = inputs.double() @ coefficients.double()
    else:
        squares = inputs.double()
        values, vectors = torch.linalg.eigh(squares.T @ squares)
        factor = (vectors * values.clamp_min(0).sqrt()).T @ coefficients.double()
    values, vectors = torch.linalg.eigh(factor @ factor.T)
    told = min(rank, int((values > values[-1] * 1e-12).sum()))
    values, vectors = values[-told:].flip(0), vectors[:, -told:].flip(1)
    found: Tensor = (vectors.T @ factor) / values.sqrt()[:, None]
    return found
