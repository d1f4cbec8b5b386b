"""Inputs of a ridge regression, decomposed once for every target and every alpha.

The Gram matrix (``Xc Xc'`` or ``Xc' Xc``, whichever is smaller) and its eigenvectors are always
in float64: in float32 the small eigenvalues drown in the rounding of the largest
(``docs/ridge.md`` has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.errors import InputError

__all__ = ["Spectrum", "add_gram", "as_tensor", "blocks", "decompose"]

Array = np.ndarray[Any, Any]
STRIP = 256


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The inputs, centred, and their left singular vectors.

    Parameters
    ----------
    inputs : Tensor of shape (n, p)
        Centred inputs ``Xc``, in the precision of the products with targets.
    mean : Tensor of shape (p,)
    left : Tensor of shape (n, r), float64
        ``U``, orthonormal and orthogonal to the constant; ``r`` is the rank.
    eigenvalues : Tensor of shape (r,), float64
        Squared singular values, increasing.
    """

    inputs: Tensor
    mean: Tensor
    left: Tensor
    eigenvalues: Tensor

    @property
    def complete(self) -> bool:
        """Whether ``U`` and the constant span all trials (as when p is at least n)."""
        return self.left.shape[1] == len(self.left) - 1

    def kept(self, alpha: float) -> Tensor:
        """Return ``alpha / (l + alpha)``, the share of each direction left in the residual."""
        return (alpha / (self.eigenvalues + alpha)).to(self.inputs.dtype)


def decompose(
    X: Tensor | Array,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    memory: int = 2**27,
) -> Spectrum:
    """Centre the inputs and decompose the smaller of their two Gram matrices.

    Parameters
    ----------
    X : Tensor or ndarray of shape (n, p)
        One row per trial. A column that does not vary has no effect.
    dtype : torch.dtype
        Of the centred inputs; the decomposition itself is in float64.
    memory : int
        Bytes for float64 copies of parts of ``X``.

    Raises
    ------
    InputError
        If there are fewer than two rows, or a value is not finite.
    """
    X = as_tensor(X).to(device)
    if X.ndim != 2 or len(X) < 2 or X.shape[1] < 1:
        raise InputError(f"inputs of shape {tuple(X.shape)}", "(n, p) with two rows or more")
    (n, p), dual = X.shape, X.shape[0] <= X.shape[1]
    across = list(blocks(p, memory // (64 * n)))
    mean = torch.cat([X[:, part].double().mean(0) for part in across])
    if not torch.isfinite(mean).all():
        raise InputError(
            f"inputs that are not finite in {int((~torch.isfinite(mean)).sum())} of {p} columns",
            expected="finite numbers",
            remedy="leave out these columns or the damaged trials",
        )
    centred = torch.empty(n, p, dtype=dtype, device=X.device)
    gram = torch.zeros(min(n, p), min(n, p), dtype=torch.float64, device=X.device)
    for part in across if dual else blocks(n, memory // (64 * p)):
        where = (slice(None), part) if dual else (part, slice(None))
        block = X[where].double() - (mean[part] if dual else mean)
        centred[where] = block
        add_gram(gram, block if dual else block.T)
    eigenvalues, vectors = torch.linalg.eigh(gram, UPLO="L")
    floor = eigenvalues[-1].clamp(min=0) * max(n, p) * torch.finfo(torch.float64).eps
    first = len(gram) - min(int((eigenvalues > floor).sum()), n - 1)
    eigenvalues, left = eigenvalues[first:], vectors[:, first:]
    if not dual:
        left, vectors = left.new_empty(n, len(eigenvalues)), left / eigenvalues.sqrt()
        for part in blocks(n, memory // (64 * p)):
            left[part] = (X[part].double() - mean) @ vectors
    return Spectrum(centred, mean.to(dtype), left, eigenvalues)


def as_tensor(values: Tensor | Array) -> Tensor:
    """Return a tensor of the same numbers, without a copy where that is safe."""
    if isinstance(values, Tensor):
        return values
    plain = values.flags.writeable and min(values.strides, default=1) >= 0
    return torch.from_numpy(values if plain else np.array(values))


def add_gram(gram: Tensor, rows: Tensor) -> None:
    """Add ``rows rows'`` to the lower triangle of ``gram``, by strips: half the operations.

    Parameters
    ----------
    gram : Tensor of shape (n, n)
        Changed in place. What stands above the diagonal afterwards has no meaning.
    rows : Tensor of shape (n, k)
    """
    for part in blocks(len(gram), STRIP):
        gram[part.start :, part].addmm_(rows[part.start :], rows[part].T)


def blocks(size: int, width: int) -> Iterator[slice]:
    """Cut ``range(size)`` into slices of at most ``width``."""
    width = max(1, width)
    return (slice(start, min(start + width, size)) for start in range(0, size, width))
