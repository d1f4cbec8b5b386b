"""NICE-SA and NICE-GA as their programs compute them: a linear map, added, before TSConv.

Song et al. 2024 (arXiv 2308.13234). Neither attends. The weights of NICE-SA are summed over the
axis on which they sum to one; the edges of NICE-GA join the channels of a batch's first trial
alone, so that every other trial only goes through the layer's linear map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.tsconv import TSConv
from phosphene.errors import check_option

__all__ = ["NICEVariant"]


class _OverChannels(nn.Module):
    """A layer norm over samples; a linear map and a layer norm over channels."""

    def __init__(self, n_chans: int, n_times: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(n_times)
        self.map, self.after = nn.Linear(n_chans, n_chans), nn.LayerNorm(n_chans)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.after(self.map(self.before(x).transpose(1, 2)))
        return mapped.transpose(1, 2)


class NICEVariant(ElectricEncoder):
    """TSConv and a residual projector after one added map.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    over : {"channels", "samples"}
        What the map is over: NICE-SA or NICE-GA.
    filters, kernel, pool, stride : int
    dropout : float
    """

    name = "nice-variant"

    @record_config
    def __init__(
        self,
        n_outputs: int = 768,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        ch_names: Sequence[str] | None = None,
        subjects: Sequence[str] = (),
        over: str = "channels",
        filters: int = 40,
        kernel: int = 25,
        pool: int = 51,
        stride: int = 5,
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names)
        super().__init__(words, subjects)
        check_option("over", over, ("channels", "samples"))
        self.between: nn.Module = nn.Linear(words.n_times, words.n_times)
        if over == "channels":
            self.between = _OverChannels(words.n_chans, words.n_times)
        self.tsconv = TSConv(words.n_chans, words.n_times, filters, kernel, pool, stride, dropout)
        self.projector = residual_projector(self.tsconv.width, n_outputs, dropout)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        embedded: Tensor = self.projector(self.tsconv(x + self.between(x)))
        return embedded
