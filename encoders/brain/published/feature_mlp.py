"""Features in a row to tokens by a plain perceptron: the semantic predictor of EEG2Video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder

__all__ = ["FeatureMLP"]


class FeatureMLP(NetworkEncoder):
    """Linear layers with rectifiers between them, shared by all subjects.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`; all subjects have as many
        features.
    hidden : sequence of int
    """

    name = "feature-mlp"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        hidden: Sequence[int] = (10_000, 10_000, 10_000, 10_000),
    ) -> None:
        super().__init__(voxels, targets)
        n_tokens, dim = self.main_shape
        widths = [next(iter(self.voxels.values())), *hidden, n_tokens * dim]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def make_subject(self, subject: str, n_voxels: int) -> None:
        """Make nothing: all subjects are alike."""

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        return voxels

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        part = self.main_part
        return {part: self.mlp(shared).reshape(-1, *self.targets[part])}
