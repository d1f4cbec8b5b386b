"""Leaving out groups of trials in closed form, for every alpha of a ridge regression.

A fit with hat matrix ``H`` leaves the residual ``E = (I - H) Y``. Fitting again without the rows
B (all trials of a picture, a session, a run) and predicting them would leave

    (I - H_BB)^-1 E_B,

exactly, the intercept and its centring included as long as ``H`` contains them. For single rows
this is the identity behind generalised cross-validation (Golub, Heath and Wahba, 1979,
*Technometrics* 21); the block form follows in the same way from the normal equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.encoders.brain.ridge_spectrum import STRIP, Spectrum, blocks
from phosphene.errors import UsageError

__all__ = ["LeaveOut"]


class LeaveOut:
    """Residuals of trials predicted without their group, from the residuals of one fit.

    Inside, rows are in :attr:`order`, groups of one size side by side, so that all groups of a
    size are one batch of small matrices.

    Parameters
    ----------
    spectrum : Spectrum
        Of the inputs of ``n`` trials.
    groups : sequence of length n
        Label of the picture, session or run of each trial; each group is left out whole.

    Attributes
    ----------
    order : Tensor of shape (n,)
        Trial of each row.
    """

    def __init__(self, spectrum: Spectrum, groups: Sequence[Any] | np.ndarray[Any, Any]) -> None:
        n = len(spectrum.left)
        _, codes = np.unique(np.asarray(groups), return_inverse=True)
        counts = np.bincount(codes)
        if len(codes) != n or len(counts) < 2:
            raise UsageError(
                f"{len(codes)} group labels with {len(counts)} distinct values for {n} trials",
                expected="one label per trial and at least two groups to leave out in turn",
            )
        order = np.lexsort((codes, counts[codes]))
        sizes, starts = np.unique(counts[codes][order], return_index=True)
        ends = np.append(starts[1:], n)
        self._batches = [
            (slice(a, b), int(size)) for a, b, size in zip(starts, ends, sizes, strict=True)
        ]
        self.order = torch.from_numpy(order).to(spectrum.left.device)
        self._spectrum = spectrum
        self._left = spectrum.left[self.order]
        self._U = self._left.to(spectrum.inputs.dtype)
        self._complete = spectrum.complete

    def _inverses(self, alpha: float) -> list[tuple[slice, Tensor]]:
        """Return ``(I - H_BB)^-1`` as (n_groups, size, size), for each size of group."""
        found, n = [], len(self._left)
        kept = alpha / (self._spectrum.eigenvalues + alpha)
        for rows, size in self._batches:
            U = self._batch(self._left, rows, size)
            # Written as what the fit leaves, not as I minus what it takes: at a small alpha
            # that difference would be lost in rounding.
            left = (U * kept) @ U.mT
            if not self._complete:
                left += torch.eye(size).to(left) - 1 / n - U @ U.mT
            factor, info = torch.linalg.cholesky_ex(left)
            if info.any():
                raise UsageError(
                    f"with alpha {alpha:g} the fit takes up whole trials, so that nothing is left "
                    "to compare them by",
                    expected="an alpha above the rounding errors of the largest eigenvalue, "
                    f"{float(self._spectrum.eigenvalues[-1:].sum()):.3g}",
                    remedy="leave out the smallest alphas",
                )
            found.append((rows, torch.cholesky_inverse(factor).to(self._U.dtype)))
        return found

    @staticmethod
    def _batch(matrix: Tensor, rows: slice, size: int) -> Tensor:
        batch: Tensor = matrix[rows].unflatten(0, (-1, size))
        return batch

    def residuals(self, V: Tensor, alphas: Sequence[float]) -> Iterator[Tensor]:
        """Yield the left-out residuals of centred columns, for each alpha.

        Parameters
        ----------
        V : Tensor of shape (n, k)
        alphas : sequence of float

        Yields
        ------
        Tensor of shape (n, k)
            Rows in :attr:`order`.
        """
        V = V[self.order]
        Z = self._U.T @ V
        rest = None if self._complete else V - self._U @ Z
        for alpha in alphas:
            residual = self._U @ (self._spectrum.kept(alpha)[:, None] * Z)
            if rest is not None:
                residual += rest
            for rows, inverse in self._inverses(alpha):
                residual[rows] = (inverse @ self._batch(residual, rows, len(inverse[0]))).flatten(
                    0, 1
                )
            yield residual

    def gram_errors(self, gram: Tensor, alphas: Sequence[float]) -> list[float]:
        """Return the sum of squared left-out residuals of many targets from ``Yc Yc'`` alone.

        Parameters
        ----------
        gram : Tensor of shape (n, n)
            Of centred targets, each scaled as it shall count; only its lower triangle is read.
        alphas : sequence of float
        """
        U, gram = self._U, (gram.tril() + gram.tril(-1).T)[self.order][:, self.order]
        GU = gram @ U
        inner = U.T @ GU
        cross = None if self._complete else GU - U @ inner
        half = inner.tril(-1) + inner.diagonal().diag() / 2
        product, errors = torch.empty_like(U), []
        for alpha in alphas:
            kept, error = self._spectrum.kept(alpha), 0.0
            # E E' = U kept inner kept U'  (+ what lies outside U, where that is not everything);
            # only its blocks on the diagonal are needed, and only up to their symmetric part, so
            # that half of `inner`, taken twice, will do.
            for part in blocks(len(inner), STRIP):
                below = slice(part.start, None)
                strip = kept[below, None] * half[below, part] * kept[part]
                torch.mm(U[:, below], strip, out=product[:, part])
            if cross is not None:
                product += cross * kept
            for rows, inverse in self._inverses(alpha):
                size = inverse.shape[-1]
                Ub = self._batch(U, rows, size)
                block = 2 * self._batch(product, rows, size) @ Ub.mT
                if cross is not None:
                    Gb = self._batch(gram[rows, rows], slice(None), size)
                    Gb = Gb.unflatten(2, (-1, size)).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
                    block += Gb - self._batch(cross, rows, size) @ Ub.mT
                    block -= Ub @ self._batch(GU, rows, size).mT
                error += float((inverse @ inverse * block).sum(dtype=torch.float64))
            errors.append(error)
        return errors
