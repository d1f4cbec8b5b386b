"""Attention over sensor positions, a layer per subject, dilated convolutions, time aggregation.

After the module of Defossez et al. 2023 and Benchetrit et al. 2024. Sensors are known by where
they are: recordings with other sensors go through one network.
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
    positions_of,
    signal_words,
)
from phosphene.errors import UsageError, check_option
from phosphene.types import Recording

__all__ = ["ConvAttentionEncoder", "flat_positions"]

AGGREGATIONS = ("attention", "linear", "mean")
MARGIN = 0.2


def flat_positions(positions: Tensor) -> Tensor:
    """Return sensors seen from above, (n_chans, 2) in 0..1, distances from the vertex kept.

    Parameters
    ----------
    positions : Tensor of shape (n_chans, 3)
        Metres in head coordinates. Only directions from the middle of the head count, so caps
        and helmets of any size lie on one disc; its border is 120 degrees from the vertex.
    """
    unit = positions / positions.norm(dim=1, keepdim=True).clamp_min(1e-9)
    angle = torch.acos(unit[:, 2].clamp(-1, 1)) / math.radians(120)
    flat = unit[:, :2] / unit[:, :2].norm(dim=1, keepdim=True).clamp_min(1e-9)
    places: Tensor = (0.5 + 0.5 * flat * angle.clamp(max=1)[:, None]).clamp(0, 1)
    return places


class SensorAttention(nn.Module):
    """Virtual channels, each a mean of the sensors weighed by a learned function of position.

    Parameters
    ----------
    n_virtual : int
    n_features : int
        Fourier features of a position, twice a square number.
    dropout_radius : float
        In training, sensors this near to a random place are left out (in units of the disc).
    """

    def __init__(self, n_virtual: int, n_features: int, dropout_radius: float) -> None:
        super().__init__()
        self.grid = math.isqrt(n_features // 2)
        if 2 * self.grid**2 != n_features:
            raise UsageError(f"`n_features` is {n_features}", "twice a square, such as 2048")
        self.heads = nn.Parameter(torch.randn(n_virtual, n_features) / math.sqrt(n_features))
        self.dropout_radius = dropout_radius

    def features(self, places: Tensor) -> Tensor:
        """Return Fourier features (n_chans, n_features) of places in 0..1."""
        steps = torch.arange(self.grid, device=places.device, dtype=places.dtype)
        scaled = 2 * math.pi * (places + MARGIN) / (1 + 2 * MARGIN)
        phase = scaled[:, 0, None, None] * steps[:, None] + scaled[:, 1, None, None] * steps
        phase = phase.flatten(1)
        return torch.cat([phase.cos(), phase.sin()], dim=1)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Return (n, n_virtual, samples) for (n, channels, samples)."""
        scores = self.heads @ self.features(places).T
        if self.training and self.dropout_radius > 0:
            centre = torch.rand(2, device=places.device, dtype=places.dtype)
            near = (places - centre).norm(dim=1) <= self.dropout_radius
            if not bool(near.all()):
                scores = scores.masked_fill(near, float("-inf"))
        merged: Tensor = scores.softmax(dim=1) @ x
        return merged


class _Block(nn.Module):
    """Two dilated convolutions, each added to its input, then a gated one."""

    def __init__(self, width: int, first: int, period: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for step in (first, first + 1):
            dilation = 2 ** (step % period)
            padding = dilation * (kernel // 2)
            self.convolutions.append(
                nn.Conv1d(width, width, kernel, padding=padding, dilation=dilation)
            )
            self.norms.append(nn.BatchNorm1d(width))
        self.gate = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x + self.dropout(nn.functional.gelu(norm(convolution(x))))
        return nn.functional.glu(self.gate(x), dim=1)


class _Aggregation(nn.Module):
    """One vector of a sequence: its mean, a learned weighted mean, or attention over time."""

    def __init__(self, kind: str, width: int, n_times: int) -> None:
        super().__init__()
        self.kind = check_option("aggregation", kind, AGGREGATIONS)
        if kind == "linear":
            self.weights = nn.Linear(n_times, 1)
        if kind == "attention":
            self.score = nn.Sequential(
                nn.Conv1d(width, width // 4, 1), nn.Tanh(), nn.Conv1d(width // 4, 1, 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "mean":
            return x.mean(dim=2)
        if self.kind == "linear":
            weighed: Tensor = self.weights(x).squeeze(2)
            return weighed
        attended: Tensor = (self.score(x).softmax(dim=2) * x).sum(dim=2)
        return attended


class ConvAttentionEncoder(ElectricEncoder):
    """Sensors of any number and place to an embedding.

    Parameters
    ----------
    n_outputs, n_times, sfreq, input_window_seconds, n_chans, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
        Numbers of channels are of no account: a recording may have any.
    positions : sequence of (float, float, float), optional
        Of the sensors, where a recording does not bring its own; those of ``chs_info`` otherwise.
    subjects : sequence of str
        Labels with a layer of their own. An unknown subject goes through a layer of the unknown
        one, learned by subject dropout.
    n_virtual, n_features, hidden, depth, period, kernel : int
        ``depth`` counts blocks of two convolutions.
    aggregation : {"attention", "linear", "mean"}
    dropout, sensor_dropout, subject_dropout : float
    """

    name = "conv_attention"

    @record_config
    def __init__(
        self,
        n_outputs: int = 1024,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        positions: Sequence[Sequence[float]] | None = None,
        n_chans: int | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        subjects: Sequence[str] = (),
        n_virtual: int = 270,
        n_features: int = 2048,
        hidden: int = 320,
        depth: int = 2,
        period: int = 5,
        kernel: int = 3,
        aggregation: str = "attention",
        dropout: float = 0.0,
        sensor_dropout: float = 0.2,
        subject_dropout: float = 0.15,
    ) -> None:
        positions = positions or positions_of(chs_info)
        if positions and n_chans not in (None, len(positions)):
            raise UsageError(f"{len(positions)} positions for {n_chans} channels", "one for each")
        words = signal_words(
            n_outputs, len(positions) if positions else n_chans or 1, n_times, sfreq,
            input_window_seconds, None,
        )  # fmt: skip
        super().__init__(words, subjects)
        self.subject_dropout = subject_dropout
        places = None if positions is None else torch.tensor(positions, dtype=torch.float32)
        self.register_buffer("places", places, persistent=False)
        self.places: Tensor | None
        self.merge = SensorAttention(n_virtual, n_features, sensor_dropout)
        self.enter = nn.Conv1d(n_virtual, n_virtual, 1)
        matrices = torch.randn(len(self.subjects) + 1, n_virtual, n_virtual)
        self.subject_layers = nn.Parameter(matrices / math.sqrt(n_virtual))
        self.widen = nn.Conv1d(n_virtual, hidden, 1)
        self.blocks = nn.Sequential(
            *(_Block(hidden, 2 * step, period, kernel, dropout) for step in range(depth))
        )
        self.aggregate = _Aggregation(aggregation, hidden, words.n_times)
        self.head = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, 2 * hidden), nn.GELU(),
            nn.Linear(2 * hidden, n_outputs),
        )  # fmt: skip

    def check(self, recording: Recording) -> None:
        """Refuse another length or rate; sensors may be any that say where they are."""
        signal = self.signal
        known = recording.info is not None and recording.info.positions is not None
        n_chans = recording.data.shape[1]
        if not known and (self.places is None or len(self.places) != n_chans):
            raise UsageError(
                f"a recording of {n_chans} channels that does not say where they are",
                expected="sensor positions, in the recording or in the encoder",
                remedy="set a montage in MNE (epochs.set_montage('standard_1005'))",
            )
        # Everything else is as in other encoders, whatever the number of channels.
        self.signal = type(signal)(signal.n_outputs, n_chans, signal.n_times, signal.sfreq, ())
        try:
            super().check(recording)
        finally:
            self.signal = signal

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        places = positions if positions is not None else self.places
        if places is None or len(places) != x.shape[1]:
            raise UsageError(
                f"{x.shape[1]} channels and {0 if places is None else len(places)} positions",
                expected="one position per channel",
            )
        if subject is None:
            subject = torch.zeros(len(x), dtype=torch.long, device=x.device)
        known = drop_subjects(subject, self.subject_dropout, training=self.training)
        merged = self.enter(self.merge(x, flat_positions(places.to(x))))
        merged = torch.bmm(self.subject_layers[known], merged)
        embedded: Tensor = self.head(self.aggregate(self.blocks(self.widen(merged))))
        return embedded
