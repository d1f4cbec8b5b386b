"""All samples of all channels in a row, one hidden layer: what recent work starts from.

After the encoder of Wu et al. 2025 (Uncertainty-aware Blur Prior): within a subject it beats
convolutions; across subjects it overfits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)

__all__ = ["FlatMLPEncoder"]


class FlatMLPEncoder(ElectricEncoder):
    """Linear, residual block, layer norm.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    dropout : float
    """

    name = "flat_mlp"

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
        dropout: float = 0.3,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        self.projector = residual_projector(words.n_chans * words.n_times, n_outputs, dropout)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        embedded: Tensor = self.projector(x.flatten(1))
        return embedded
