"""An encoder of CognitionCapturer: a transformer over time, a matrix over time, TSConv."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.tsconv import TSConv

__all__ = ["CogCapEncoder"]


class CogCapEncoder(ElectricEncoder):
    """Samples are tokens of as many numbers as there are channels.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record: the published network calls the first subject's matrix for everybody.
    hidden : int
        Of the transformer's feed-forward part.
    filters, kernel : int
    dropout : float
    """

    name = "cogcap"

    @record_config
    def __init__(
        self,
        n_outputs: int = 1024,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        ch_names: Sequence[str] | None = None,
        subjects: Sequence[str] = (),
        hidden: int = 2048,
        filters: int = 40,
        kernel: int = 25,
        dropout: float = 0.1,
    ) -> None:
        words = signal_words(n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names)
        super().__init__(words, subjects)
        # Published weights bring their positions along.
        self.register_buffer("places", torch.zeros(words.n_times, words.n_chans))
        self.places: Tensor
        self.query, self.key, self.value, self.out = (
            nn.Linear(words.n_chans, words.n_chans) for _ in range(4)
        )
        self.first, self.second = (
            nn.Linear(words.n_chans, hidden),
            nn.Linear(hidden, words.n_chans),
        )
        self.first_norm, self.second_norm = (nn.LayerNorm(words.n_chans) for _ in range(2))
        self.matrix = nn.Linear(words.n_times, words.n_times)
        self.tsconv = TSConv(words.n_chans, words.n_times, filters, kernel, dropout=dropout)
        self.projector = residual_projector(self.tsconv.width, n_outputs, dropout)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        tokens = x.transpose(1, 2) + self.places
        mixed = nn.functional.scaled_dot_product_attention(
            self.query(tokens), self.key(tokens), self.value(tokens),
            scale=1 / math.sqrt(tokens.shape[-1]),
        )  # fmt: skip
        tokens = self.first_norm(tokens + self.out(mixed))
        hidden = self.second(nn.functional.relu(self.first(tokens)))
        signal = self.matrix(self.second_norm(tokens + hidden).transpose(1, 2))
        found: Tensor = self.projector(self.tsconv(signal))
        return found
