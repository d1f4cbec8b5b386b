"""All samples of all channels in a row, one linear map: fitted in closed form.

Noise that is Gaussian, and a response that is linear in what is decoded, leave nothing to gain for
a deeper network; what is to be found are the directions of the target that a recording tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import ElectricEncoder, signal_words

__all__ = ["CanonicalEncoder"]


class CanonicalEncoder(ElectricEncoder):
    """One linear layer; :func:`phosphene.pipelines.training.canonical.fit_canonical` fits it.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the map has no part of a subject.

    References
    ----------
    Hotelling, 1936, *Biometrika* 28 (canonical correlation).
    """

    name = "canonical"

    @record_config
    def __init__(
        self,
        n_outputs: int = 16,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        ch_names: Sequence[str] | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        subjects: Sequence[str] = (),
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        self.linear = nn.Linear(words.n_chans * words.n_times, n_outputs)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        embedded: Tensor = self.linear(x.flatten(1))
        return embedded
