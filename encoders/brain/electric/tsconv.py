"""Convolution in time, pooling, convolution over channels: TSConv of NICE (Song et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.folded import FoldedConvPool
from phosphene.errors import UsageError, check_option

__all__ = ["ChannelAttention", "ChannelGraph", "TSConv", "TSConvEncoder"]

VARIANTS = ("graph", "plain", "self")


class TSConv(nn.Module):
    """(n, channels, samples) to (n, frames * filters): 1,440 for 250 samples.

    Parameters
    ----------
    n_chans, n_times : int
    filters, kernel, pool, stride : int
    dropout : float
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        stride: int = 5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.temporal = FoldedConvPool(filters, kernel, pool, stride)
        frames = self.temporal.frames(n_times)
        if frames < 1:
            raise UsageError(
                f"{n_times} samples for a kernel of {kernel} and a pool of {pool}",
                expected=f"at least {kernel + pool - 1} samples",
                remedy="use a longer window, a higher rate or a shorter pool",
            )
        self.width = frames * filters
        self.first_norm = nn.BatchNorm2d(filters)
        self.spatial = nn.Conv2d(filters, filters, (n_chans, 1))
        self.second_norm = nn.BatchNorm2d(filters)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv2d(filters, filters, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, width), frames outside and filters inside."""
        x = nn.functional.elu(self.first_norm(self.temporal(x.unsqueeze(1))))
        x = self.dropout(nn.functional.elu(self.second_norm(self.spatial(x))))
        features: Tensor = self.mix(x).squeeze(2).transpose(1, 2).flatten(1)
        return features


class ChannelAttention(nn.Module):
    """Self-attention between channels, each a token of its time course, added to the signal.

    Parameters
    ----------
    n_times : int
    """

    def __init__(self, n_times: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_times, n_times) for _ in range(3))
        self.scale = 1 / math.sqrt(n_times)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, samples)."""
        attended: Tensor = x + nn.functional.scaled_dot_product_attention(
            self.query(x), self.key(x), self.value(x), scale=self.scale
        )
        return attended


class ChannelGraph(nn.Module):
    """Graph attention on the complete graph of channels (Velickovic et al. 2018), added.

    Parameters
    ----------
    n_times : int
    slope : float
        Of the rectifier below zero.
    """

    def __init__(self, n_times: int, slope: float = 0.2) -> None:
        super().__init__()
        self.transform = nn.Linear(n_times, n_times, bias=False)
        self.source, self.target = (
            nn.Parameter(torch.randn(n_times) / math.sqrt(n_times)) for _ in range(2)
        )
        self.bias = nn.Parameter(torch.zeros(n_times))
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, samples)."""
        h = self.transform(x)
        scores = (h @ self.target).unsqueeze(2) + (h @ self.source).unsqueeze(1)
        weights = nn.functional.leaky_relu(scores, self.slope).softmax(dim=2)
        attended: Tensor = x + weights @ h + self.bias
        return attended


class TSConvEncoder(ElectricEncoder):
    """NICE: TSConv and a residual projector, with attention between channels before it or not.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    variant : {"plain", "self", "graph"}
        NICE, NICE-SA or NICE-GA.
    filters, kernel, pool, stride : int
    dropout : float
    """

    name = "tsconv"

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
        variant: str = "plain",
        filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        stride: int = 5,
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        check_option("variant", variant, VARIANTS)
        self.between: nn.Module = nn.Identity()
        if variant != "plain":
            kind = ChannelAttention if variant == "self" else ChannelGraph
            self.between = kind(words.n_times)
        self.tsconv = TSConv(words.n_chans, words.n_times, filters, kernel, pool, stride, dropout)
        self.projector = residual_projector(self.tsconv.width, n_outputs, dropout)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        embedded: Tensor = self.projector(self.tsconv(self.between(x)))
        return embedded
