"""Convolution in time followed by an average pool, as one strided convolution: exactly.

A mean of 51 outputs of a kernel of 25 is one output of a kernel of 75, the kernel smeared over
the pool. Strided, it does a twentieth of the multiplications and never makes the long map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["FoldedConvPool"]


class FoldedConvPool(nn.Module):
    """``Conv2d(1, filters, (1, kernel))`` then ``AvgPool2d((1, pool), (1, stride))`` in one.

    Parameters
    ----------
    filters, kernel, pool, stride : int

    Attributes
    ----------
    weight : (filters, 1, 1, kernel)
        The same as that of the convolution, so checkpoints fit.
    bias : (filters,)
    """

    def __init__(
        self, filters: int = 40, kernel: int = 25, pool: int = 51, stride: int = 5
    ) -> None:
        super().__init__()
        plain = nn.Conv2d(1, filters, (1, kernel))
        self.weight, self.bias = plain.weight, plain.bias
        self.kernel, self.pool, self.stride = kernel, pool, stride

    def frames(self, n_times: int) -> int:
        """Return how many samples come out; below 1 the input is too short."""
        return (n_times - self.kernel + 1 - self.pool) // self.stride + 1

    @property
    def folded(self) -> Tensor:
        """The kernel of both steps (filters, 1, 1, kernel + pool - 1)."""
        sums = torch.cumsum(self.weight, dim=-1)
        before = torch.zeros_like(sums[..., :1])
        longest = self.kernel + self.pool - 1
        # Entry j of the smeared kernel sums entries j - pool + 1 to j of the kernel.
        place = torch.arange(longest, device=self.weight.device)
        padded = torch.cat([before, sums], dim=-1)
        upper = padded[..., torch.clamp(place + 1, max=self.kernel)]
        lower = padded[..., torch.clamp(place + 1 - self.pool, min=0)]
        return (upper - lower) / self.pool

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, filters, C, frames) for (n, 1, C, n_times)."""
        return nn.functional.conv2d(x, self.folded, self.bias, stride=(1, self.stride))
