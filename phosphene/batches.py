"""Rows that come out the same in any company.

Matrix products round differently with the number of rows, not with what the other rows hold nor,
from four rows on, with a row's place. Computed in blocks of one size, the last one filled up, a
row's result depends on that row alone, to the last bit: a subset, another order or another batch
size gives the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["in_equal_blocks"]


def in_equal_blocks(function: Callable[..., Tensor], *tensors: Tensor, size: int) -> Tensor:
    """Return ``function(*tensors)``, computed for ``size`` rows at a time.

    Parameters
    ----------
    function : callable
        Maps tensors (size, ...) to a tensor (size, ...), each row from the same row alone.
    tensors : Tensor of shape (n, ...)
        Equally many rows, at least one. A last block with too few is filled with copies of its
        last row, whose results are dropped.
    size : int
        Four or more.

    Returns
    -------
    Tensor of shape (n, ...)
    """
    import torch

    n = len(tensors[0])
    parts = []
    for first in range(0, n, size):
        rows = torch.arange(first, first + size).clamp(max=n - 1)
        block = function(*(tensor[rows.to(tensor.device)] for tensor in tensors))
        parts.append(block[: n - first])
    return torch.cat(parts)
