"""DBConformer: one transformer over stretches of time beside one over channels, then both.

Wang et al. (2025), from the paper's table of layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.conformer import transformer
from phosphene.errors import UsageError, check_option

__all__ = ["ChannelPooling", "DualBranchEncoder"]

HEADS = ("projector", "published")


class _TimeBranch(nn.Module):
    """Filters over channels, each smoothed by a kernel of its own, averaged to stretches."""

    def __init__(
        self, signal: tuple[int, int], filters: int, kernel: int, patch: int, heads: int,
        depth: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        n_chans, n_times = signal
        self.across = nn.Conv1d(n_chans, filters, 1, bias=False)
        self.along = nn.Conv1d(filters, filters, kernel, padding="same", groups=filters, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm1d(filters) for _ in range(2))
        self.dropout, self.pool = nn.Dropout(dropout), nn.AvgPool1d(patch)
        self.places = nn.Parameter(0.02 * torch.randn(n_times // patch, filters))
        self.layers = transformer(filters, heads, depth, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[1](self.along(self.norms[0](self.across(x))))
        tokens = self.pool(self.dropout(F.gelu(x))).transpose(1, 2)
        pooled: Tensor = self.layers(tokens + self.places).mean(dim=1)
        return pooled


class _ChannelBranch(nn.Module):
    """Every channel summed up by a few filters, averaged over time, as one token."""

    def __init__(
        self, n_chans: int, filters: int, kernel: int, stride: int, inner: int, heads: int,
        depth: int, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.filter = nn.Conv1d(1, inner, kernel)
        self.embed = nn.Linear(inner, filters)
        self.places = nn.Parameter(0.02 * torch.randn(n_chans, filters))
        self.layers = transformer(filters, heads, depth, dropout)
        self.pool = ChannelPooling(filters)

    def forward(self, x: Tensor) -> Tensor:
        # The mean over time of a strided convolution is its kernel on the mean of the stretches.
        stretches = x.unfold(2, self.kernel, self.stride).mean(dim=2)
        summed = F.linear(stretches, self.filter.weight[:, 0], self.filter.bias)
        pooled: Tensor = self.pool(self.layers(self.embed(summed) + self.places))
        return pooled


class ChannelPooling(nn.Module):
    """The mean of tokens (n, channels, width), weighed by a learned score of each.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (n, width)."""
        weights: Tensor = self.score(torch.tanh(self.inner(tokens))).softmax(dim=1)
        return (weights * tokens).sum(dim=1)


class DualBranchEncoder(ElectricEncoder):
    """Attention over time beside attention over channels.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    filters : int
        Width of a token; ``heads`` divides it.
    kernel : int
        Of the convolution in time, in samples.
    patch : int
        Samples of a stretch of time. The authors take 125 of trials of seconds; evoked responses
        need shorter ones.
    channel_kernel, channel_stride, channel_filters : int
    depth, heads : int
    head : {"projector", "published"}
        The published one ends in 64 and 32 numbers, which suits few classes.
    dropout : float
    """

    name = "dual_branch"

    @record_config
    def __init__(
        self,
        n_outputs: int = 1024,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        ch_names: Sequence[str] | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        subjects: Sequence[str] = (),
        filters: int = 40,
        kernel: int = 63,
        patch: int = 25,
        channel_kernel: int = 25,
        channel_stride: int = 5,
        channel_filters: int = 16,
        depth: int = 2,
        heads: int = 10,
        head: str = "projector",
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        check_option("head", head, HEADS)
        if words.n_times < max(patch, channel_kernel):
            raise UsageError(
                f"{words.n_times} samples for stretches of {patch} and a kernel of "
                f"{channel_kernel}",
                expected=f"at least {max(patch, channel_kernel)} samples",
                remedy="use a longer window, or shorter stretches",
            )
        self.time = _TimeBranch(
            (words.n_chans, words.n_times), filters, kernel, patch, heads, depth, dropout
        )
        self.space = _ChannelBranch(
            words.n_chans, filters, channel_kernel, channel_stride, channel_filters, heads,
            depth, dropout,
        )  # fmt: skip
        width = 2 * filters
        self.head: nn.Module = (
            nn.Sequential(
                nn.Linear(width, 64), nn.ELU(), nn.Dropout(dropout), nn.Linear(64, 32), nn.ELU(),
                nn.Dropout(dropout), nn.Linear(32, n_outputs),
            )
            if head == "published"
            else residual_projector(width, n_outputs, dropout)
        )  # fmt: skip

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        embedded: Tensor = self.head(torch.cat([self.time(x), self.space(x)], dim=1))
        return embedded
