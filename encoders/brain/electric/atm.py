"""ATM-S: attention between channels and a subject token, then TSConv (Li et al. 2024).

Two forms. ``faithful`` does what the published weights were trained with: subjects are numbers of
a table of ten, the first token is the subject's, and the first ``n_chans`` of the ``n_chans + 1``
tokens go on, so the subject's token is taken for a channel and the last channel is lost. The
corrected form keeps the channels, knows subjects by label and learns an unknown one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    drop_subjects,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.tsconv import TSConv

__all__ = ["ATMEncoder"]

PUBLISHED_SUBJECTS = 10


def channel_code(n_chans: int, width: int) -> Tensor:
    """Return sinusoidal positions over channels (n_chans, width)."""
    place = torch.arange(n_chans, dtype=torch.float32)[:, None]
    pace = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(1e4) / width))
    code = torch.zeros(n_chans, width)
    code[:, 0::2] = torch.sin(place * pace)
    code[:, 1::2] = torch.cos(place * pace)[:, : width // 2]
    return code


class _Attention(nn.Module):
    """Attention between tokens whose heads together are a little narrower than the tokens."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        inner = width // heads * heads
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.heads, self.dropout = heads, dropout

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = nn.functional.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return out


class _Layer(nn.Module):
    """Attention and a feed-forward part, each added and then normalised."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(width, heads, dropout)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(x + self.dropout(self.attention(x)))
        hidden = self.dropout(nn.functional.gelu(self.first(x)))
        out: Tensor = self.second_norm(x + self.dropout(self.second(hidden)))
        return out


class ATMEncoder(ElectricEncoder):
    """Channels as tokens, one layer of attention, TSConv, projector.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Labels with a token of their own. With ``faithful``, label ``"08"`` is entry 8 of a table
        of ten, which has no entry for ``"10"``.
    faithful : bool
        The published form, with its lost channel.
    heads, hidden : int
    dropout, projector_dropout, subject_dropout : float
        The last one: how often training makes a row's subject unknown (corrected form).
    table : int
        Entries of the published table of subjects (faithful form).
    legacy_slice, positions : bool
        Of the faithful form: whether the subject's token stands for a channel, and whether
        positions are added to channels. Releases differ in both.
    filters, kernel : int
        Of TSConv.
    """

    name = "atm"

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
        faithful: bool = False,
        heads: int = 4,
        hidden: int = 256,
        dropout: float = 0.25,
        projector_dropout: float = 0.5,
        subject_dropout: float = 0.15,
        table: int = PUBLISHED_SUBJECTS,
        legacy_slice: bool = True,
        positions: bool = True,
        filters: int = 40,
        kernel: int = 25,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        width = words.n_times
        self.faithful, self.subject_dropout = faithful, subject_dropout
        self.embed = nn.Linear(width, width)
        self.table, self.legacy_slice, self.positions = table, legacy_slice, positions
        # Published weights bring their positions along.
        self.register_buffer("code", channel_code(words.n_chans, width), persistent=faithful)
        self.code: Tensor
        self.embed_dropout = nn.Dropout(dropout)
        # Entry 0 of the corrected table is the unknown subject's.
        entries = table if faithful else len(self.subjects) + 1
        self.subject_tokens = nn.Embedding(entries, width)
        if faithful:
            self.shared_token = nn.Parameter(torch.randn(width))
        self.layer = _Layer(width, heads, hidden, dropout)
        self.norm = nn.LayerNorm(width)
        self.tsconv = TSConv(
            words.n_chans, words.n_times, filters, kernel, dropout=projector_dropout
        )
        self.projector = residual_projector(self.tsconv.width, n_outputs, projector_dropout)

    def index_of(self, subject: str) -> int:
        """Return the number of a subject: of the published table, or 0 for an unknown one."""
        if not self.faithful:
            return super().index_of(subject)
        digits = "".join(character for character in subject if character.isdigit())
        return int(digits) if digits else self.table

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        if subject is None:
            unknown = self.table if self.faithful else 0
            subject = torch.full((len(x),), unknown, device=x.device)
        embedded = self.embed(x) + self.code if self.positions else self.embed(x)
        tokens = self.embed_dropout(embedded)
        tokens = torch.cat([self._subject_token(subject).unsqueeze(1), tokens], dim=1)
        tokens = self.norm(self.layer(tokens))
        n_chans = self.signal.n_chans
        lossy = self.faithful and self.legacy_slice
        channels = tokens[:, :n_chans] if lossy else tokens[:, 1:]
        found: Tensor = self.projector(self.tsconv(channels))
        return found

    def _subject_token(self, subject: Tensor) -> Tensor:
        if not self.faithful:
            known = drop_subjects(subject, self.subject_dropout, training=self.training)
            own: Tensor = self.subject_tokens(known)
            return own
        inside = (subject >= 0) & (subject < self.table)
        own = self.subject_tokens(subject.clamp(0, self.table - 1))
        return torch.where(inside[:, None], own, self.shared_token)
