"""Linear maps from voxels to tokens, one fit per token: what Brain-Diffuser publishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder, subject_key

__all__ = ["TokenRidge"]


class TokenRidge(NetworkEncoder):
    """``token_t = W_t x + b_t``; weights are (n_tokens, d, voxels), as they are published.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`.
    """

    name = "token-ridge"

    @record_config
    def __init__(self, voxels: Mapping[str, int], targets: Mapping[str, Any]) -> None:
        super().__init__(voxels, targets)
        self.maps = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.maps[subject_key(subject)] = _Maps(*self.main_shape, n_voxels)

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        found: Tensor = self.maps[subject_key(subject)](voxels)
        return found

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        part = self.main_part
        return {part: shared.reshape(-1, *self.targets[part])}


class _Maps(nn.Module):
    def __init__(self, n_tokens: int, dim: int, n_voxels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_tokens, dim, n_voxels))
        self.bias = nn.Parameter(torch.zeros(n_tokens, dim))

    def forward(self, voxels: Tensor) -> Tensor:
        return voxels @ self.weight.flatten(0, 1).T + self.bias.flatten()
