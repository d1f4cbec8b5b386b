"""EEG-Conformer: convolutions in time and over channels, pooling, a transformer over the frames.

Song et al. (2023).
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
from phosphene.errors import UsageError, check_option

__all__ = ["ConformerEncoder", "TimeSpaceConv", "transformer"]

HEADS = ("projector", "published")


class TimeSpaceConv(nn.Module):
    """A convolution in time and one over all channels, nothing in between, done as one.

    ``Conv2d(1, filters, (1, kernel))`` then ``Conv2d(filters, filters, (n_chans, 1))`` are one
    convolution from channels to filters; the map of every filter on every channel, by far the
    largest of the network, is never made.

    Parameters
    ----------
    n_chans, filters, kernel : int

    Attributes
    ----------
    temporal, spatial : Conv2d
        Weights of the two steps, so that checkpoints fit.
    """

    def __init__(self, n_chans: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.temporal = nn.Conv2d(1, filters, (1, kernel))
        self.spatial = nn.Conv2d(filters, filters, (n_chans, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, filters, n_times - kernel + 1) for (n, n_chans, n_times)."""
        across, along = self.spatial.weight.squeeze(3), self.temporal.weight[:, 0, 0]
        weight = torch.einsum("oic,ik->ock", across, along)
        constant = torch.einsum("oic,i->o", across, _bias(self.temporal)) + _bias(self.spatial)
        return F.conv1d(x, weight, constant)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def transformer(width: int, heads: int, depth: int, dropout: float) -> nn.Sequential:
    """Return layers of attention and a fourfold feed-forward part, normalised before each.

    Parameters
    ----------
    width, heads, depth : int
    dropout : float
    """
    return nn.Sequential(
        *(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
    )  # fmt: skip


class ConformerEncoder(ElectricEncoder):
    """EEG-Conformer with a projector, or with the layers to classes it was published with.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    filters, kernel, pool, stride : int
        ``filters`` is the width of a token too, and ``heads`` divides it.
    depth, heads : int
    head : {"projector", "published"}
        The published one squeezes everything through 32 numbers, which suits few classes.
    dropout : float
    """

    name = "conformer"

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
        kernel: int = 25,
        pool: int = 75,
        stride: int = 15,
        depth: int = 6,
        heads: int = 10,
        head: str = "projector",
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        check_option("head", head, HEADS)
        frames = (words.n_times - kernel + 1 - pool) // stride + 1
        if frames < 1:
            raise UsageError(
                f"{words.n_times} samples for a kernel of {kernel} and a pool of {pool}",
                expected=f"at least {kernel + pool - 1} samples",
                remedy="use a longer window, a higher rate or a shorter pool",
            )
        self.convolve = TimeSpaceConv(words.n_chans, filters, kernel)
        self.norm = nn.BatchNorm1d(filters)
        self.pool = nn.AvgPool1d(pool, stride)
        self.dropout = nn.Dropout(dropout)
        self.mix = nn.Conv1d(filters, filters, 1)
        self.layers = transformer(filters, heads, depth, dropout)
        width = frames * filters
        self.head: nn.Module = (
            nn.Sequential(
                nn.Linear(width, 256), nn.ELU(), nn.Dropout(0.5), nn.Linear(256, 32), nn.ELU(),
                nn.Dropout(0.3), nn.Linear(32, n_outputs),
            )
            if head == "published"
            else residual_projector(width, n_outputs, dropout)
        )  # fmt: skip

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        frames = self.dropout(self.pool(F.elu(self.norm(self.convolve(x)))))
        tokens = self.layers(self.mix(frames).transpose(1, 2))
        embedded: Tensor = self.head(tokens.flatten(1))
        return embedded
