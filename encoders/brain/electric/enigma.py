"""ENIGMA: time mixed by a layer per subject, a small convolution, a projector (tiny).

After the published description of 2025 (Alljoined): a subject adds one matrix over time, shared by
all channels, everything else is common. The names and shapes of the tensors are those of the
published weights.
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
    drop_subjects,
    signal_words,
)
from phosphene.encoders.brain.electric.folded import FoldedConvPool
from phosphene.errors import UsageError, check_option

__all__ = ["EnigmaEncoder"]

UNKNOWN = ("learned", "mean")


class _TimeSpace(nn.Module):
    """Convolution in time, pooling, convolution over channels, few maps: (n, C, T) to (n, width).

    Parameters
    ----------
    n_chans, n_times : int
    filters, kernel, pool, stride, maps : int
    dropout : float
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        filters: int,
        kernel: int,
        pool: int,
        stride: int,
        maps: int,
        dropout: float,
    ) -> None:
        super().__init__()
        folded = FoldedConvPool(filters, kernel, pool, stride)
        frames = folded.frames(n_times)
        if frames < 1:
            raise UsageError(
                f"{n_times} samples for a kernel of {kernel} and a pool of {pool}",
                expected=f"at least {kernel + pool - 1} samples",
                remedy="use a longer window, a higher rate or a shorter pool",
            )
        self.width = frames * maps
        # Number 1 is the pool of the published network, which the folded kernel has in it.
        self.tsconv = nn.Sequential(
            folded, nn.Identity(), nn.BatchNorm2d(filters), nn.ELU(),
            nn.Conv2d(filters, filters, (n_chans, 1)), nn.BatchNorm2d(filters), nn.ELU(),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.projection = nn.Sequential(nn.Conv2d(filters, maps, (1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.projection(self.tsconv(x.unsqueeze(1)))
        features: Tensor = maps.squeeze(2).transpose(1, 2).flatten(1)  # frames outside
        return features


class _Added(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.fn(x)
        return added


class EnigmaEncoder(ElectricEncoder):
    """A matrix over time per subject, then one small network for everybody.

    A layer of a subject begins as the identity, so that subjects start alike, their mean means
    something and a new one starts from where the common network is.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Labels with a layer of their own.
    unknown : {"learned", "mean"}
        An unknown subject's layer: its own, learned by subject dropout, or the mean of the
        subjects' layers, which adds no tensor to the published ones.
    filters, kernel, pool, stride, maps : int
    dropout, subject_dropout : float
        The last one: how often training makes a row's subject unknown.
    """

    name = "enigma"

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
        unknown: str = "learned",
        filters: int = 40,
        kernel: int = 5,
        pool: int = 17,
        stride: int = 5,
        maps: int = 4,
        dropout: float = 0.5,
        subject_dropout: float = 0.15,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        check_option("unknown", unknown, UNKNOWN)
        if unknown == "mean" and not self.subjects:
            raise UsageError(
                "`unknown` is 'mean' without subjects to take the mean of",
                expected="labels in `subjects`, or unknown='learned'",
            )
        self.subject_dropout, width = subject_dropout, words.n_times
        self.subject_wise_linear = nn.ModuleDict(
            {f"sub-{label}": _identity(width) for label in self.subjects}
        )
        self.unknown_linear = _identity(width) if unknown == "learned" else None
        self.tsencoder = _TimeSpace(
            words.n_chans, width, filters, kernel, pool, stride, maps, dropout
        )
        self.mlp_proj = nn.Sequential(
            nn.Linear(self.tsencoder.width, n_outputs),
            _Added(nn.Sequential(nn.GELU(), nn.Linear(n_outputs, n_outputs), nn.Dropout(dropout))),
            nn.LayerNorm(n_outputs),
        )

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        if subject is None:
            subject = torch.zeros(len(x), dtype=torch.long, device=x.device)
        known = drop_subjects(subject, self.subject_dropout, training=self.training)
        embedded: Tensor = self.mlp_proj(self.tsencoder(self._mix(x, known)))
        return embedded

    def _mix(self, x: Tensor, subject: Tensor) -> Tensor:
        """Mix the samples of every trial by the matrix of its subject."""
        order = subject.argsort(stable=True)
        counts = torch.bincount(subject, minlength=len(self.subjects) + 1).tolist()
        parts = [
            self._of_subject(number, part)
            for number, part in enumerate(x[order].split(counts))
            if len(part)
        ]
        return torch.cat(parts)[order.argsort()]

    def _of_subject(self, number: int, x: Tensor) -> Tensor:
        if number:
            mixed: Tensor = self.subject_wise_linear[f"sub-{self.subjects[number - 1]}"](x)
            return mixed
        if self.unknown_linear is not None:
            mixed = self.unknown_linear(x)
            return mixed
        layers: list[Any] = list(self.subject_wise_linear.values())
        weight = torch.stack([layer.weight for layer in layers]).mean(dim=0)
        bias = torch.stack([layer.bias for layer in layers]).mean(dim=0)
        return F.linear(x, weight, bias)


def _identity(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
