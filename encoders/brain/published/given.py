"""Embeddings that another program predicted, as a recording: a prior alone is a model with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder

__all__ = ["GivenEmbedding"]


class GivenEmbedding(NetworkEncoder):
    """Hands on what it is given: trials of ``(n, d)`` are pooled embeddings of d numbers.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`; a recording has as many
        columns as the target has numbers.
    """

    name = "given"

    @record_config
    def __init__(self, voxels: Mapping[str, int], targets: Mapping[str, Any]) -> None:
        super().__init__(voxels, targets)
        # What computes beside it looks here for device and precision.
        self.unused = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        """Make nothing: all subjects are alike."""

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        return voxels

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        part = self.main_part
        return {part: shared.reshape(-1, *self.targets[part])}
