"""The brain encoder of MindEye: a residual perceptron and a projector for retrieval.

Scotti et al. 2023, *Reconstructing the mind's eye: fMRI-to-image with contrastive learning and
diffusion priors*. The tokens go to the prior; what the projector makes of each token is trained
contrastively and serves retrieval.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import subject_key
from phosphene.encoders.brain.latent_head import LatentHead
from phosphene.encoders.brain.linear_reader import LinearReader
from phosphene.errors import InputError

__all__ = ["MindEye1Encoder", "make_projector"]

PREFIX = "voxel2clip."


class MindEye1Encoder(LinearReader):
    """Modules have the published names: ``lin0``, ``mlp``, ``lin1``, ``projector``.

    The original knows one subject; here each has a ``lin0`` of its own and the rest is shared.
    It predicts latents by a second model; here they are a head of the same trunk.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`. Tokens are (257, 768) in the
        original, a pooled vector 768.
    width, depth : int
        Of the residual layers.
    projector_width : int
    latent_channels : sequence of 3 int
        Of the low-level head.
    dropout : sequence of 2 float
        After the first layer, and in the residual ones.
    profile_size : int
        Numbers in the kept response profile of a voxel, which new subjects start by; 0 keeps none.
    """

    name = "mindeye1"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        width: int = 4096,
        depth: int = 4,
        projector_width: int = 2048,
        latent_channels: tuple[int, int, int] = (64, 128, 256),
        dropout: tuple[float, float] = (0.5, 0.15),
        profile_size: int = 0,
    ) -> None:
        super().__init__(voxels, targets)
        self.width, self.first_dropout = width, dropout[0]
        self.lin0 = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.mlp = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout[1])
            )
            for _ in range(depth)
        )
        n_tokens, dim = self.main_shape
        if self.main_part != "lowlevel":
            self.lin1 = nn.Linear(width, n_tokens * dim)
            self.projector = make_projector(dim, projector_width)
        if "tokens" in self.targets and "pooled" in self.targets:
            self.pooled = nn.Linear(width, self.targets["pooled"][0])
        if "lowlevel" in self.targets:
            self.lowlevel = LatentHead(width, self.targets["lowlevel"], latent_channels)
        self.keep_profiles(profile_size)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.lin0[subject_key(subject)] = nn.Sequential(
            nn.Linear(n_voxels, self.width), nn.LayerNorm(self.width), nn.GELU(),
            nn.Dropout(self.first_dropout),
        )  # fmt: skip

    @property
    def readers(self) -> nn.ModuleDict:
        return self.lin0

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        for layer in self.mlp:
            shared = shared + layer(shared)
        found: dict[str, Tensor] = {}
        if self.main_part != "lowlevel":
            tokens = self.lin1(shared).unflatten(1, self.main_shape)
            shape = self.targets[self.main_part]
            found[self.main_part] = tokens.reshape(-1, *shape)
            found["retrieval"] = self.projector(tokens).reshape(-1, *shape)
        if "pooled" not in found and "pooled" in self.targets:
            found["pooled"] = self.pooled(shared)
        if "lowlevel" in self.targets:
            found["lowlevel"] = self.lowlevel(shared)
        return found

    def load_published(self, weights: Mapping[str, Tensor]) -> None:
        """Take over published weights, all of the brain encoder and nothing else.

        Parameters
        ----------
        weights : mapping of str to Tensor
            ``model_state_dict`` of a published checkpoint; tensors of its prior are passed over.
        """
        if len(self.subjects) != 1:
            raise InputError(
                f"an encoder of {len(self.subjects)} subjects for published weights",
                expected="one subject, as they were trained on",
            )
        own = f"lin0.{subject_key(self.subjects[0])}."
        self.load_tensors(
            {
                name.removeprefix(PREFIX).replace("lin0.", own, 1): value.float()
                for name, value in weights.items()
                if name.startswith(PREFIX)
            }
        )


def make_projector(dim: int, width: int) -> nn.Sequential:
    """Return three times norm, GELU and linear map, applied to each token by itself."""
    sizes = (dim, width, width, dim)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.LayerNorm(before), nn.GELU(), nn.Linear(before, after)]
    return nn.Sequential(*layers)
