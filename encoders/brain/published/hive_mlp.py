"""The brain encoder of Brain-HIVE: all samples in a row, one residual block without offsets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import ElectricEncoder, signal_words

__all__ = ["HiveMLP"]

EPS = 1e-6


class HiveMLP(ElectricEncoder):
    """Linear, then ``LN(x + W2 gelu(W1 x))`` for each layer.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject.
    layers : int
    hidden : int, optional
        Width inside a layer; as wide as its output by default.
    dropout : float
    """

    name = "hive-mlp"

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
        layers: int = 1,
        hidden: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        words = signal_words(n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names)
        super().__init__(words, subjects)
        self.proj_in = nn.Linear(words.n_chans * words.n_times, n_outputs)
        self.layers = nn.ModuleList(
            _Layer(n_outputs, hidden or n_outputs, dropout) for _ in range(layers)
        )

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        found: Tensor = self.proj_in(x.flatten(1))
        for layer in self.layers:
            found = layer(found)
        return found


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x + self.w2(self.dropout(F.gelu(self.w1(x)))))
        return normed
