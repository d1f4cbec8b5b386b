"""Ridge regression in closed form: one eigendecomposition for every target and every alpha.

With centred inputs ``Xc = U diag(s) V'`` and eigenvalues ``l = s**2``, the coefficients are
``W = Xc' U diag(1 / (l + alpha)) U' Yc`` and the fitted values ``H Y`` with

    H = 11'/n + U diag(l / (l + alpha)) U'.

Two things keep the cost near that of the products nobody can avoid. The error of targets that
share an alpha needs only their Gram matrix ``Yc Yc'``, so that scoring one more alpha costs
``2 n^3`` operations however many targets there are. And a chain of matrices that meets more
targets than it has rows is multiplied out first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.encoders.brain.ridge_leave_out import LeaveOut
from phosphene.encoders.brain.ridge_spectrum import Spectrum, add_gram, as_tensor, blocks
from phosphene.errors import InputError, UsageError, check_option

__all__ = ["RidgeSolution", "leave_out_errors", "solve_ridge"]

Array = np.ndarray[Any, Any]
Form = Literal["auto", "dual", "primal"]


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Weights and how they were chosen.

    Parameters
    ----------
    weights : Tensor of shape (p, t), or (n, t) in dual form; (p, r) or (n, r) with a basis
    inputs : Tensor of shape (n, p) or None
        Centred training inputs, in dual form only.
    x_mean, y_mean : Tensor of shape (p,) and (t,)
    alphas : ndarray of shape (t,)
        Alpha of each target.
    errors : ndarray of shape (n_alphas, n_target_groups) or None
        See :func:`leave_out_errors`; None when nothing was left out.
    left_out : Tensor of shape (n, t) or None
        Prediction of each trial by the fit without its group, at the chosen alpha.
    basis : Tensor of shape (r, t) or None
        Directions of target space that a solution of reduced rank keeps, orthonormal.
    """

    weights: Tensor
    inputs: Tensor | None
    x_mean: Tensor
    y_mean: Tensor
    alphas: Array
    errors: Array | None = None
    left_out: Tensor | None = None
    basis: Tensor | None = None

    def predict(self, X: Tensor) -> Tensor:
        """Return the predictions (m, t) for inputs (m, p)."""
        centred = X.to(self.x_mean) - self.x_mean
        if self.inputs is not None:
            centred = centred @ self.inputs.T
        if self.basis is None:
            return torch.addmm(self.y_mean, centred, self.weights)
        return torch.addmm(self.y_mean, centred @ self.weights, self.basis)

    def coefficients(self) -> Tensor:
        """Return the coefficients (p, t), multiplied out when they are kept dual."""
        found = self.weights if self.inputs is None else self.inputs.T @ self.weights
        return found if self.basis is None else found @ self.basis


class _Targets:
    """Columns of ``Y``, read, checked and centred a block at a time."""

    def __init__(self, Y: Tensor | Array, like: Tensor, memory: int) -> None:
        if Y.ndim != 2 or len(Y) != len(like) or 0 in Y.shape:
            raise InputError(
                f"targets of shape {tuple(Y.shape)} for {len(like)} trials",
                expected="(n_trials, n_targets)",
            )
        self.Y, self.like, self.count = Y, like, Y.shape[1]
        self.width = max(1, memory // (6 * len(like) * like.element_size()))

    def blocks(self, columns: Array) -> Iterator[tuple[Array | slice, Tensor, Tensor]]:
        """Yield column numbers, centred targets (n, w) and their means (w,)."""
        for part in blocks(len(columns), self.width):
            where: Array | slice = columns[part]
            if columns[part][-1] - columns[part][0] + 1 == len(columns[part]):
                where = slice(int(columns[part][0]), int(columns[part][-1]) + 1)
            block = as_tensor(self.Y[:, where]).to(self.like)
            mean = block.mean(0)
            if not torch.isfinite(mean).all():
                bad = columns[part][(~torch.isfinite(mean)).cpu().numpy()]
                raise InputError(f"target {bad[0]} is not finite", "finite numbers in every trial")
            yield where, block - mean, mean

    @staticmethod
    def deviations(centred: Tensor, mean: Tensor) -> Tensor:
        """Return each target's sum of squares; exactly zero where it does not vary."""
        total = centred.square().sum(0)
        rounding = 10 * torch.finfo(centred.dtype).eps * mean
        return torch.where(total > len(centred) * rounding.square(), total, 0.0)


def leave_out_errors(
    spectrum: Spectrum,
    Y: Tensor | Array,
    alphas: Sequence[float],
    groups: Sequence[Any] | Array,
    *,
    target_groups: Array | None = None,
    memory: int = 2**27,
) -> Array:
    """Return the left-out error of each alpha, for each group of targets that shares one.

    Parameters
    ----------
    spectrum : Spectrum
        Of the inputs of ``n`` trials.
    Y : Tensor or ndarray of shape (n, t)
        Read by blocks of columns; may be memory-mapped.
    alphas : sequence of float
        Penalties on the squared coefficients, as in scikit-learn; in any order.
    groups : sequence of length n
        Label of the picture, session or run of each trial; each group is left out whole.
    target_groups : ndarray of int of shape (t,), optional
        Group of each target, from 0. By default all share one alpha.
    memory : int
        Bytes for the working copies of targets.

    Returns
    -------
    ndarray of shape (n_alphas, n_target_groups), float64
        Squared error of the group's targets together over their squared deviation from their
        means; about 1 for a useless fit. NaN where no target varies. Targets count by their
        variance, since those that share an alpha share a unit: a pixel that is nearly always
        black has no say in the penalty of the others.
    """
    n = len(spectrum.left)
    leave_out, targets = LeaveOut(spectrum, groups), _Targets(Y, spectrum.inputs, memory)
    codes = np.zeros(targets.count, int) if target_groups is None else np.asarray(target_groups)
    if codes.shape != (targets.count,) or codes.min() < 0:
        raise UsageError(
            f"target groups of shape {codes.shape} for {targets.count} targets",
            expected="one group number from 0 for each target",
        )
    sizes = np.bincount(codes)
    errors, total = np.zeros((len(alphas), len(sizes))), np.zeros(len(sizes))
    for group in np.flatnonzero(sizes > n):
        gram = spectrum.inputs.new_zeros(n, n)
        for _, centred, mean in targets.blocks(np.flatnonzero(codes == group)):
            total[group] += float(targets.deviations(centred, mean).sum())
            add_gram(gram, centred)
        errors[:, group] = leave_out.gram_errors(gram, alphas)
    for where, centred, mean in targets.blocks(np.flatnonzero((sizes <= n)[codes])):
        deviations = targets.deviations(centred, mean)
        np.add.at(total, codes[where], deviations.double().cpu().numpy())
        for row, residual in enumerate(leave_out.residuals(centred, alphas)):
            error = residual.square().sum(0) * (deviations > 0)
            np.add.at(errors[row], codes[where], error.double().cpu().numpy())
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, errors / total, np.nan)


def solve_ridge(
    spectrum: Spectrum,
    Y: Tensor | Array,
    alphas: Sequence[float],
    *,
    groups: Sequence[Any] | Array | None = None,
    target_groups: Array | None = None,
    form: Form = "auto",
    keep_left_out: bool = False,
    memory: int = 2**27,
) -> RidgeSolution:
    """Fit ridge regression with an intercept, alpha chosen by leaving groups of trials out.

    Minimises ``||Y - 1 b' - X W||^2 + alpha ||W||^2`` for each target.

    Parameters
    ----------
    spectrum, Y, alphas, groups, target_groups, memory
        See :func:`leave_out_errors`. ``groups`` may be left out with a single alpha.
    form : {"auto", "dual", "primal"}
        How the weights are kept. ``auto`` takes dual weights with their inputs,
        ``n (p + t)`` numbers, when these are fewer than the ``p t`` coefficients.
    keep_left_out : bool
        Whether to return the left-out predictions too.

    Raises
    ------
    InputError, UsageError
        If shapes differ, a value is not finite, an alpha is not positive, or there is nothing
        to choose alpha by.
    """
    alphas = [float(alpha) for alpha in alphas]
    if not alphas or not all(0 < alpha < np.inf for alpha in alphas):
        raise UsageError(f"alphas {alphas}", "one or more finite numbers above zero")
    if groups is None and (len(alphas) > 1 or keep_left_out):
        raise UsageError(
            f"{len(alphas)} alphas and no groups of trials to leave out",
            expected="a label for each trial: its picture, session or run",
        )
    check_option("form", form, ("auto", "dual", "primal"))
    targets = _Targets(Y, spectrum.inputs, memory)
    errors, chosen = None, np.full(targets.count, alphas[0])
    if groups is not None:
        errors = leave_out_errors(
            spectrum, Y, alphas, groups, target_groups=target_groups, memory=memory
        )
        best = _largest_of_best(np.asarray(alphas), errors, torch.finfo(spectrum.inputs.dtype).eps)
        chosen = best[np.zeros(targets.count, int) if target_groups is None else target_groups]
    (n, p), t = spectrum.inputs.shape, targets.count
    dual = n * (p + t) < p * t if form == "auto" else form == "dual"
    leave_out = LeaveOut(spectrum, groups) if keep_left_out and groups is not None else None
    weights, y_mean, left_out = _weigh(spectrum, targets, chosen, dual, leave_out)
    inputs = spectrum.inputs if dual else None
    return RidgeSolution(weights, inputs, spectrum.mean, y_mean, chosen, errors, left_out)


def _largest_of_best(alphas: Array, errors: Array, rounding: float) -> Array:
    """Return each column's best alpha; of those that rounding alone sets apart, the largest."""
    falling = np.argsort(alphas)[::-1]
    errors = np.nan_to_num(errors[falling])
    picked: Array = alphas[falling[(errors <= (1 + 10 * rounding) * errors.min(0)).argmax(0)]]
    return picked


def _weigh(
    s: Spectrum, targets: _Targets, chosen: Array, dual: bool, leave_out: LeaveOut | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the weights, the target means and the left-out predictions, at chosen alphas."""
    n, t, U = len(s.left), targets.count, s.left.to(s.inputs.dtype)
    rows = n if dual else s.inputs.shape[1]
    weights, y_mean = U.new_empty(rows, t), U.new_empty(t)
    left_out = None if leave_out is None else U.new_empty(n, t)
    for alpha in np.unique(chosen):
        columns = np.flatnonzero(chosen == alpha)
        # The quickest order of the products depends on the shapes: multi_dot finds it.
        chain = [U / (s.eigenvalues + alpha).to(U.dtype), U.T]
        chain = chain if dual else [s.inputs.T, *chain]
        to_weights = torch.linalg.multi_dot(chain) if len(columns) > rows else None
        to_residuals = None
        if leave_out is not None and len(columns) > n:
            to_residuals = next(leave_out.residuals(torch.eye(n).to(U) - 1 / n, [alpha]))
        for where, centred, mean in targets.blocks(columns):
            y_mean[where] = mean
            weights[:, where] = (
                torch.linalg.multi_dot([*chain, centred])
                if to_weights is None
                else to_weights @ centred
            )
            if leave_out is not None and left_out is not None:
                residual = (
                    next(leave_out.residuals(centred, [alpha]))
                    if to_residuals is None
                    else to_residuals @ centred
                )
                centred[leave_out.order] -= residual
                left_out[:, where] = centred + mean
    return weights, y_mean, left_out
