"""The perception reconstructor of NeuroClips: one volume to latents of six frames (Gong 2024).

A volume is spread over pseudo-volumes, one per frame; each goes through a linear map, mixers on a
sequence of one (whose first halves have no effect, as in MindEye2) and a decoder with attention
over places and over the frames of the clip. The published programs let attention over frames run
over clips that stood in one batch; here it runs over the frames of one clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.encoders.brain.base import NetworkEncoder, subject_key

__all__ = ["NeuroClipsPerception"]

HIDDEN, GROUPS, EPS = 64, 32, 1e-6


class NeuroClipsPerception(NetworkEncoder):
    """Predicts ``lowlevel`` of (frames x 4, 28, 28): the latents of one frame after another.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`; one subject.
    frames : int
    width, spread : int
        Of the shared space, and of what a volume is spread from.
    depth, spread_depth : int
        Mixers of each.
    latent_channels : sequence of 3 int
    """

    name = "neuroclips-perception"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        frames: int = 6,
        width: int = 4096,
        spread: int = 256,
        depth: int = 4,
        spread_depth: int = 1,
        latent_channels: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__(voxels, targets)
        channels, height, across = self.targets["lowlevel"]
        self.frames, self.width = frames, width
        self.grid = (HIDDEN, height // 4, across // 4)
        self.fmri, self.ridge1 = nn.ModuleDict(), nn.ModuleDict()
        self.spread, self.spread_depth = spread, spread_depth
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.mixer_blocks1 = nn.ModuleList(_mixer(width, 2) for _ in range(depth))
        self.mixer_blocks2 = nn.ModuleList(_mixer(1, 2) for _ in range(depth))
        self.blin1 = nn.Linear(width, math.prod(self.grid))
        self.bnorm = nn.GroupNorm(1, HIDDEN)
        self.bupsampler = _Decoder(channels // frames, tuple(latent_channels), frames)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        key = subject_key(subject)
        self.fmri[key] = _Spread(n_voxels, self.spread, self.frames, self.spread_depth)
        self.ridge1[key] = nn.Linear(n_voxels, self.width)

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        key = subject_key(subject)
        found: Tensor = self.ridge1[key](self.fmri[key](voxels))
        return found

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        flat = shared.flatten(0, 1)
        mixed = _mix(flat, self.mixer_blocks1, self.mixer_blocks2)
        small = self.bnorm(self.blin1(mixed).unflatten(1, self.grid))
        latents: Tensor = self.bupsampler(small)
        return {"lowlevel": latents.unflatten(0, (-1, self.frames)).flatten(1, 2)}


class _Spread(nn.Module):
    """Volumes (n, v) to pseudo-volumes (n, frames, v)."""

    def __init__(self, n_voxels: int, width: int, frames: int, depth: int) -> None:
        super().__init__()
        self.frames = frames
        self.lin0 = nn.Sequential(nn.Linear(n_voxels, width), nn.GELU())
        self.lin1 = nn.Sequential(nn.Linear(width, n_voxels * frames), nn.GELU())
        self.mixer_blocks1 = nn.ModuleList(_mixer(width, 1) for _ in range(depth))
        self.mixer_blocks2 = nn.ModuleList(_mixer(1, 1) for _ in range(depth))

    def forward(self, voxels: Tensor) -> Tensor:
        mixed = _mix(self.lin0(voxels), self.mixer_blocks1, self.mixer_blocks2)
        spread: Tensor = self.lin1(mixed)
        return spread.view(len(spread), self.frames, -1)


def _mixer(size: int, layers: int) -> nn.Sequential:
    """Return a norm and a perceptron, which ends with its activation where it has one layer."""
    inner: list[nn.Module] = [nn.Linear(size, size), nn.GELU()]
    if layers == 2:
        inner += [nn.Identity(), nn.Linear(size, size)]
    return nn.Sequential(nn.LayerNorm(size), nn.Sequential(*inner))


def _mix(values: Tensor, first: nn.ModuleList, second: nn.ModuleList) -> Tensor:
    """Mix along the width, then along a sequence of one, each with its own residual."""
    along_width = values[:, None]
    along_sequence = along_width.transpose(1, 2)
    current = along_width
    for one, other in zip(first, second, strict=True):
        along_width = one(current) + along_width
        along_sequence = other(along_width.transpose(1, 2)) + along_sequence
        current = along_sequence.transpose(1, 2)
    return current[:, 0]


class _Resnet(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (
            nn.GroupNorm(math.gcd(GROUPS, before), before, eps=EPS),
            nn.GroupNorm(math.gcd(GROUPS, after), after, eps=EPS),
        )
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.conv_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        found: Tensor = h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)
        return found


class _Attention(nn.Module):
    """One head over (n, places, c), group norm before it, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        normed = self.group_norm(x.transpose(1, 2)).transpose(1, 2)
        found: Tensor = x + self.to_out[0](
            F.scaled_dot_product_attention(self.to_q(normed), self.to_k(normed), self.to_v(normed))
        )
        return found


class _Block(nn.Module):
    """Residual layers, each followed by attention over places and over frames."""

    def __init__(
        self, before: int, after: int, frames: int, *, middle: bool, doubles: bool
    ) -> None:
        super().__init__()
        self.frames, self.middle = frames, middle
        count = 1 if middle else 2
        inputs = [before] + [after] * (count if middle else count - 1)
        self.resnets = nn.ModuleList(_Resnet(size, after) for size in inputs)
        self.attentions = nn.ModuleList(_Attention(after) for _ in range(count))
        self.temp_attentions = nn.ModuleList(_Attention(after) for _ in range(count))
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(count))
        if doubles:
            self.upsamplers = nn.ModuleList([_Doubling(after)])

    def forward(self, x: Tensor) -> Tensor:
        resnets = list(self.resnets)
        if self.middle:
            x = resnets.pop(0)(x)
        for number, resnet in enumerate(resnets):
            x = self._attend(x, number) if self.middle else self._attend(resnet(x), number)
            x = resnet(x) if self.middle else x
        found: Tensor = self.upsamplers[0](x) if hasattr(self, "upsamplers") else x
        return found

    def _attend(self, x: Tensor, number: int) -> Tensor:
        n, c, height, across = x.shape
        places = x.flatten(2).transpose(1, 2)
        places = self.attentions[number](places)
        clips = places.unflatten(0, (-1, self.frames)).transpose(1, 2)  # (clips, places, t, c)
        over_time = self.temp_attentions[number](clips.flatten(0, 1))
        over_time = over_time.unflatten(0, clips.shape[:2]).transpose(1, 2).flatten(0, 1)
        weight = self.weights[number]
        mixed = weight * places + (1 - weight) * over_time
        found: Tensor = mixed.transpose(1, 2).reshape(n, c, height, across)
        return found


class _Doubling(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return found


class _Decoder(nn.Module):
    def __init__(self, channels: int, levels: Sequence[int], frames: int) -> None:
        super().__init__()
        c1, c2, c3 = levels
        self.conv_in = nn.Conv2d(HIDDEN, c3, 3, padding=1)
        self.mid_block = _Block(c3, c3, frames, middle=True, doubles=False)
        self.up_blocks = nn.ModuleList(
            _Block(before, after, frames, middle=False, doubles=doubles)
            for before, after, doubles in ((c3, c3, True), (c3, c2, True), (c2, c1, False))
        )
        self.conv_norm_out = nn.GroupNorm(math.gcd(GROUPS, c1), c1, eps=EPS)
        self.conv_out = nn.Conv2d(c1, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        found: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return found
