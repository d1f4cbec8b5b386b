"""EEGNet: few filters in time, few per filter over channels, a separable convolution.

Lawhern et al. (2018). Small on purpose; on pictures it stays far behind, and is here as what
others compare with.
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

__all__ = ["EEGNetEncoder"]

HEADS = ("projector", "published")
POOLS = (4, 8)
SECOND_KERNEL = 16
LARGEST_NORM = 1.0  # of a filter over channels, as published


class EEGNetEncoder(ElectricEncoder):
    """EEGNet with a projector, or with the single linear layer it was published with.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
        At least 32 samples.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    filters, depth : int
        Filters in time, and filters over channels for each of them: 8 and 2 in ``EEGNet-8,2``.
    kernel : int
        In samples; the authors take half a second.
    head : {"projector", "published"}
    dropout : float
    """

    name = "eegnet"

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
        filters: int = 8,
        depth: int = 2,
        kernel: int = 64,
        head: str = "projector",
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        check_option("head", head, HEADS)
        frames = words.n_times // POOLS[0] // POOLS[1]
        if frames < 1:
            raise UsageError(
                f"{words.n_times} samples",
                expected=f"at least {POOLS[0] * POOLS[1]}, which EEGNet pools into one",
            )
        width = filters * depth
        self.temporal = nn.Conv2d(1, filters, (1, kernel), bias=False, padding="same")
        self.spatial = nn.Conv2d(filters, width, (words.n_chans, 1), groups=filters, bias=False)
        self.depthwise = nn.Conv2d(
            width, width, (1, SECOND_KERNEL), groups=width, bias=False, padding="same"
        )
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(count) for count in (filters, width, width))
        self.dropout = nn.Dropout(dropout)
        features = frames * width
        self.head: nn.Module = (
            nn.Linear(features, n_outputs)
            if head == "published"
            else residual_projector(features, n_outputs, dropout)
        )

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        x = self.norms[0](self.temporal(x.unsqueeze(1)))
        limited = torch.renorm(self.spatial.weight, 2, 0, LARGEST_NORM)
        x = F.conv2d(x, limited, groups=self.spatial.groups)
        x = self.dropout(F.avg_pool2d(F.elu(self.norms[1](x)), (1, POOLS[0])))
        x = self.norms[2](self.pointwise(self.depthwise(x)))
        x = self.dropout(F.avg_pool2d(F.elu(x), (1, POOLS[1])))
        embedded: Tensor = self.head(x.flatten(1))
        return embedded
