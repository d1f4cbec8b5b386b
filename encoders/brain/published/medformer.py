"""The encoders of BrainFLORA: patches of several lengths, TSConv over tokens, a mixture of experts.

Li et al. 2025, *BrainFLORA* (arXiv 2507.09747). The front is Medformer (Wang et al. 2024, arXiv
2405.19363): all channels of a patch are one token, patches of each length attend to one another,
and the last token of each length speaks for it to the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.electric.base import (
    ElectricEncoder,
    residual_projector,
    signal_words,
)
from phosphene.encoders.brain.electric.tsconv import TSConv

__all__ = ["MedformerEncoder", "MedformerVoxels", "count_tokens"]

PATCHES = (2, 4, 8)


def count_tokens(n_times: int, patches: Sequence[int] = PATCHES) -> int:
    """Return how many tokens a signal becomes: each length repeats the end for one patch more."""
    return sum(n_times // length + 1 for length in patches)


class _Attention(nn.Module):
    """Attention whose heads together may be narrower than the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = width // heads * heads
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scale = 1 / math.sqrt(q.shape[-1])
        mixed = F.scaled_dot_product_attention(q, k, v, scale=scale)
        found: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return found


class _Layer(nn.Module):
    """Attention within each length and between their last tokens; then a feed-forward part."""

    def __init__(self, lengths: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.within = nn.ModuleList(_Attention(width, heads) for _ in range(lengths))
        self.between = _Attention(width, heads)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, groups: list[Tensor]) -> list[Tensor]:
        mixed = [attend(tokens) for attend, tokens in zip(self.within, groups, strict=True)]
        last = self.between(torch.stack([tokens[:, -1] for tokens in mixed], dim=1))
        found = []
        for number, (tokens, own) in enumerate(zip(groups, mixed, strict=True)):
            heard = torch.cat([own[:, :-1], last[:, number : number + 1]], dim=1)
            x = self.first_norm(tokens + heard)
            found.append(self.second_norm(x + self.second(F.gelu(self.first(x)))))
        return found


class _Network(nn.Module):
    """(n, channels, samples) to (n, n_outputs).

    Parameters
    ----------
    n_chans, n_times, n_outputs : int
    patches : sequence of int
        Samples of a patch, one number per length.
    width, heads, layers, hidden : int
        Of the front.
    filters, kernel : int
        Of TSConv, for which tokens are channels and their numbers samples.
    experts, router : int
        Linear maps that a network of ``router`` numbers weighs; none without experts.
    dropout : float
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        patches: Sequence[int],
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        filters: int,
        kernel: int,
        experts: int,
        router: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patches, self.n_outputs = tuple(patches), n_outputs
        self.embed = nn.ModuleList(
            nn.Conv1d(n_chans, width, length, stride=length, bias=False) for length in patches
        )
        # Published weights bring their positions along.
        self.register_buffer("places", torch.zeros(n_times // min(patches) + 1, width))
        self.places: Tensor
        self.lengths = nn.Parameter(torch.randn(len(patches), width))
        self.layers = nn.ModuleList(
            _Layer(len(patches), width, heads, hidden) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        tokens = count_tokens(n_times, patches)
        self.tsconv = TSConv(tokens, width, filters, kernel, dropout=dropout)
        self.projector = residual_projector(self.tsconv.width, n_outputs, dropout)
        self.experts: nn.Linear | None = None
        if experts:
            self.experts = nn.Linear(n_outputs, experts * n_outputs)
            self.router = nn.Sequential(
                nn.Linear(n_outputs, router), nn.ReLU(), nn.Linear(router, experts)
            )

    def forward(self, x: Tensor) -> Tensor:
        groups = []
        for number, (length, embed) in enumerate(zip(self.patches, self.embed, strict=True)):
            tokens = embed(F.pad(x, (0, length), mode="replicate")).transpose(1, 2)
            groups.append(tokens + self.lengths[number] + self.places[: tokens.shape[1]])
        for layer in self.layers:
            groups = layer(groups)
        found: Tensor = self.projector(self.tsconv(F.gelu(self.norm(torch.cat(groups, dim=1)))))
        if self.experts is None:
            return found
        shares = torch.sigmoid(self.router(found))
        shares = shares / shares.sum(1, keepdim=True)
        told = self.experts(found).unflatten(1, (-1, self.n_outputs))
        return torch.einsum("ne,ned->nd", shares, told)


class MedformerEncoder(ElectricEncoder):
    """BrainFLORA for EEG and MEG, all subjects alike.

    Parameters
    ----------
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`.
    subjects : sequence of str
        Kept for the record; the network has no part of a subject that is ever called.
    patches, width, heads, layers, hidden, filters, kernel, experts, router, dropout
        Samples of a patch; numbers per token, heads, layers and inner numbers of the front; maps
        and taps of TSConv; linear maps of the mixture and inner numbers of what weighs them.
    """

    name = "medformer"

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
        patches: Sequence[int] = PATCHES,
        width: int = 250,
        heads: int = 4,
        layers: int = 1,
        hidden: int = 256,
        filters: int = 40,
        kernel: int = 25,
        experts: int = 0,
        router: int = 2048,
        dropout: float = 0.5,
    ) -> None:
        words = signal_words(n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names)
        super().__init__(words, subjects)
        self.network = _Network(
            words.n_chans, words.n_times, n_outputs, patches, width, heads, layers, hidden,
            filters, kernel, experts, router, dropout,
        )  # fmt: skip

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        found: Tensor = self.network(x)
        return found


class MedformerVoxels(NetworkEncoder):
    """BrainFLORA for fMRI: voxels, filled up with zeros, become a few rows of samples.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`; one pooled target.
    padded : int
        Voxels that all subjects are filled up to.
    rows, samples : int
    patches, width, heads, layers, hidden, filters, kernel, experts, router, dropout
        As for :class:`MedformerEncoder`.
    """

    name = "medformer-voxels"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        padded: int = 7000,
        rows: int = 8,
        samples: int = 1024,
        patches: Sequence[int] = PATCHES,
        width: int = 250,
        heads: int = 4,
        layers: int = 1,
        hidden: int = 256,
        filters: int = 40,
        kernel: int = 25,
        experts: int = 0,
        router: int = 2048,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(voxels, targets)
        self.padded, self.rows = padded, rows
        self.spread = nn.Linear(padded, rows * samples)
        self.network = _Network(
            rows, samples, self.main_shape[1], patches, width, heads, layers, hidden, filters,
            kernel, experts, router, dropout,
        )  # fmt: skip

    def make_subject(self, subject: str, n_voxels: int) -> None:
        """Make nothing: all subjects are alike."""

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        filled = F.pad(voxels, (0, self.padded - voxels.shape[1]))
        found: Tensor = self.spread(filled).unflatten(1, (self.rows, -1))
        return found

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        return {self.main_part: self.network(shared)}
