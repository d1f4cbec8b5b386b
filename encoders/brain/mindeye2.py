"""The brain encoder of MindEye2: a linear map per subject, a shared head, retrieval, latents.

Scotti et al. 2024, *MindEye2: shared-subject models enable fMRI-to-image with 1 hour of data*.

The published trunk has no effect: its second mixer normalises over an axis of length one, which
gives a constant, so that what survives is the subject's linear map plus a learned number, and the
way to the tokens is affine. ``faithful`` keeps all of it, so that published weights can be
loaded. The default leaves the dead parts out and factorises the head, whose 1.7 billion numbers
are most of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder, subject_key
from phosphene.encoders.brain.latent_head import LatentHead
from phosphene.encoders.brain.linear_reader import LinearReader
from phosphene.encoders.brain.mindeye1 import make_projector
from phosphene.errors import InputError, UsageError

__all__ = ["FactorisedHead", "MindEye2Encoder"]


class FactorisedHead(nn.Module):
    """Vectors to tokens: a code of ``rank`` numbers per token, then one map that tokens share.

    ``width x n_tokens x rank + rank x dim`` numbers in place of ``width x n_tokens x dim``.
    """

    def __init__(self, width: int, n_tokens: int, dim: int, rank: int) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.codes = nn.Linear(width, n_tokens * rank)
        self.shared = nn.Linear(rank, dim, bias=False)
        self.offset = nn.Parameter(torch.zeros(n_tokens, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        codes = self.codes(vectors).unflatten(1, (self.n_tokens, -1))
        found: Tensor = self.shared(codes) + self.offset
        return found


class MindEye2Encoder(LinearReader):
    """A linear map per subject (``ridge``) and what they share (``backbone``).

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`. In the original, tokens are
        (256, 1664) and latents (4, 28, 28).
    width : int
        Of the shared space: 4096 in the paper, 1024 in its light form.
    faithful : bool
        Keep every module of the original.
    rank : int
        Numbers per token in the factorised head; not of the faithful form.
    depth : int
        Residual layers of the trunk. In the faithful form these are the published mixers, four of
        them, which do nothing; otherwise they work, and none is the default.
    latent_channels : sequence of 3 int
        Of the low-level head.
    dropout : float
        Of the trunk.
    projected : bool
        Whether the tokens that are predicted are those of the retrieval head, as later work with
        this network has them.
    profile_size : int
        Numbers in the kept response profile of a voxel, which new subjects start by; 0 keeps none.
    """

    name = "mindeye2"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        width: int = 1024,
        faithful: bool = False,
        rank: int = 128,
        depth: int | None = None,
        latent_channels: tuple[int, int, int] = (32, 64, 128),
        dropout: float = 0.15,
        projected: bool = False,
        profile_size: int = 0,
    ) -> None:
        super().__init__(voxels, targets)
        if faithful and ("tokens" not in self.targets or "pooled" in self.targets):
            raise UsageError(
                f"the faithful form of mindeye2 for {', '.join(self.targets)}",
                expected="tokens, with or without latents (lowlevel), as in the original",
                remedy="choose a target of tokens, or leave `faithful` out",
            )
        self.width = width
        self.ridge = nn.ModuleDict({"linears": nn.ModuleDict()})
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.backbone = _Backbone(
            self, width, faithful=faithful, rank=rank, latent_channels=latent_channels,
            depth=(4 if faithful else 0) if depth is None else depth, dropout=dropout,
            projected=projected,
        )  # fmt: skip
        self.keep_profiles(profile_size)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.readers[subject_key(subject)] = nn.Linear(n_voxels, self.width)

    @property
    def readers(self) -> nn.ModuleDict:
        found = self.ridge["linears"]
        assert isinstance(found, nn.ModuleDict)
        return found

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.backbone(shared)
        return found

    def load_published(self, weights: Mapping[str, Tensor], subjects: Sequence[str]) -> None:
        """Take over published weights into the faithful form.

        Parameters
        ----------
        weights : mapping of str to Tensor
            ``model_state_dict`` of a published checkpoint; tensors of its prior are passed over,
            and so are linear maps of subjects that are not named.
        subjects : sequence of str
            Label of each linear map, in the checkpoint's order.
        """
        if sorted(subjects) != self.subjects:
            raise InputError(
                f"published weights for the subjects {', '.join(subjects)}",
                expected=f"the encoder's own: {', '.join(self.subjects)}",
            )
        keys = {str(place): subject_key(label) for place, label in enumerate(subjects)}
        found = {}
        for name, value in weights.items():
            part, *rest = name.split(".")
            if part == "ridge" and rest[1] in keys:
                found[".".join([part, "linears", keys[rest[1]], *rest[2:]])] = value.float()
            elif part == "backbone":
                inside = "lowlevel." if rest[0] in LATENT_PARTS else ""
                found[f"backbone.{inside}{'.'.join(rest)}"] = value.float()
        self.load_tensors(found)


LATENT_PARTS = ("blin1", "bnorm", "bupsampler", "b_maps_projector")


class _Backbone(nn.Module):
    """All that is shared, under the published names."""

    def __init__(
        self,
        encoder: NetworkEncoder,
        width: int,
        *,
        faithful: bool,
        rank: int,
        depth: int,
        latent_channels: Sequence[int],
        dropout: float,
        projected: bool,
    ) -> None:
        super().__init__()
        self.projected = projected
        self.targets, self.main = dict(encoder.targets), encoder.main_part
        self.faithful, self.main_shape = faithful, encoder.main_shape
        n_tokens, dim = self.main_shape
        self.mixer_blocks1 = nn.ModuleList(_mixer(width, dropout) for _ in range(depth))
        if faithful:
            self.mixer_blocks2 = nn.ModuleList(_mixer(1, dropout) for _ in range(depth))
        if self.main != "lowlevel":
            self.backbone_linear: nn.Module = (
                nn.Linear(width, n_tokens * dim)
                if faithful
                else FactorisedHead(width, n_tokens, dim, rank)
            )
            self.clip_proj = make_projector(dim, dim)
        if "tokens" in self.targets and "pooled" in self.targets:
            self.pooled = nn.Linear(width, self.targets["pooled"][0])
        if "lowlevel" in self.targets:
            self.lowlevel = LatentHead(
                width,
                self.targets["lowlevel"],
                latent_channels,
                groups=32 if faithful else 8,
                projector=faithful,
            )

    def forward(self, shared: Tensor) -> dict[str, Tensor]:
        shared = self._published_trunk(shared) if self.faithful else self._trunk(shared)
        found: dict[str, Tensor] = {}
        if self.main != "lowlevel":
            tokens = self.backbone_linear(shared).reshape(-1, *self.main_shape)
            shape = self.targets[self.main]
            keys = self.clip_proj(tokens)
            found[self.main] = (keys if self.projected else tokens).reshape(-1, *shape)
            found["retrieval"] = keys.reshape(-1, *shape)
        if "pooled" not in found and "pooled" in self.targets:
            found["pooled"] = self.pooled(shared)
        if "lowlevel" in self.targets:
            found["lowlevel"] = self.lowlevel(shared)
        return found

    def _trunk(self, shared: Tensor) -> Tensor:
        for layer in self.mixer_blocks1:
            shared = shared + layer(shared)
        return shared

    def _published_trunk(self, shared: Tensor) -> Tensor:
        """Mix along the width, then along a sequence of one, each with its own residual."""
        along_width = shared[:, None]
        along_sequence = along_width.transpose(1, 2)
        current = along_width
        for first, second in zip(self.mixer_blocks1, self.mixer_blocks2, strict=True):
            along_width = first(current) + along_width
            along_sequence = second(along_width.transpose(1, 2)) + along_sequence
            current = along_sequence.transpose(1, 2)
        return current[:, 0]


def _mixer(size: int, dropout: float) -> nn.Sequential:
    inner = nn.Sequential(
        nn.Linear(size, size), nn.GELU(), nn.Dropout(dropout), nn.Linear(size, size)
    )
    return nn.Sequential(nn.LayerNorm(size), inner)
