"""Pictures to the responses they evoke: the transformer brain encoder of Adeli et al. 2025.

*Transformer brain encoders explain human high-level visual responses* (arXiv 2505.17329). One
learned query per region (or vertex) looks over DINOv2's patches of a picture, whose queries of the
last layer are the features; a linear map per hemisphere reads out what each query found. As a
target of decoding it is Kay et al. 2008: the picture is the one whose predicted response is most
like the measured one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder, network_hash
from phosphene.errors import AssetError, InputError, UsageError, check_option
from phosphene.schemas import TargetSpec

__all__ = ["ResponseTarget", "picture_places"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16
TEMPERATURE = 10_000.0
READOUTS = ("regions", "vertices", "hemispheres")


def picture_places(side: int, width: int) -> Tensor:
    """Return sinusoidal positions (side * side, width): rows in the first half, then columns."""
    half = width // 2
    place = torch.arange(1, side + 1, dtype=torch.float32) / (side + 1e-6) * 2 * math.pi
    pace = TEMPERATURE ** (2 * (torch.arange(half) // 2).float() / half)
    angles = place[:, None] / pace
    code = torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)
    rows = code[:, None].expand(side, side, half)
    return torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)


class _Layer(nn.Module):
    """Queries look over features; they never look at one another."""

    def __init__(self, width: int, heads: int, hidden: int, before: bool) -> None:
        super().__init__()
        self.look = nn.MultiheadAttention(width, heads, batch_first=True)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.first_norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Norms come before each part, or after.
        self.middle_norm = None if before else nn.LayerNorm(width)

    def forward(self, state: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        normed = self.first_norm(state)
        found = self.look(normed + queries, keys, values, need_weights=False)[0]
        if self.middle_norm is None:
            state = state + found
            out: Tensor = state + self.second(F.relu(self.first(self.last_norm(state))))
            return out
        state = self.middle_norm(normed + found)
        out = self.last_norm(state + self.second(F.relu(self.first(state))))
        return out


class ResponseTarget(nn.Module, StimulusEncoder):
    """Responses of the vertices of both hemispheres, left ones first.

    Parameters
    ----------
    left, right : int
        Vertices.
    queries : int
        One per region of each hemisphere, the left ones first; one per vertex; or two.
    readout : {"regions", "vertices", "hemispheres"}
    width, heads, hidden, layers : int
        Of the network.
    norm_before : bool
        Whether norms come before each part.
    side : int
        Patches along a side of the picture.
    patch, size : int
        Pixels of a patch, and of the picture, which is filled up with zeros to whole patches.
    backbone : sequence of 3 int, optional
        Width, blocks and heads of the DINOv2 that is part of it; none where features are given.
    """

    name = "responses"

    @record_config
    def __init__(
        self,
        left: int,
        right: int,
        queries: int,
        readout: Literal["regions", "vertices", "hemispheres"] = "regions",
        width: int = 768,
        heads: int = 16,
        hidden: int = 1024,
        layers: int = 1,
        norm_before: bool = True,
        side: int = 31,
        patch: int = 14,
        size: int = 425,
        backbone: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_option("readout", readout, READOUTS)
        wanted = {"regions": queries, "vertices": left + right, "hemispheres": 2}[readout]
        if queries != wanted or (queries % 2 and readout == "regions"):
            raise UsageError(
                f"{queries} queries for the readout of {readout}",
                expected="as many for both hemispheres" if readout == "regions" else f"{wanted}",
            )
        self.left, self.right, self.readout = left, right, readout
        self.side, self.size, self.patch, self.width = side, size, patch, width
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList(
            _Layer(width, heads, hidden, norm_before) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.read_left, self.read_right = nn.Linear(width, left), nn.Linear(width, right)
        self.register_buffer("places", picture_places(side, width))
        self.places: Tensor
        half = queries // 2 if readout == "regions" else 0
        self.register_buffer("left_regions", torch.zeros(half, left))
        self.register_buffer("right_regions", torch.zeros(half, right))
        self.left_regions: Tensor
        self.right_regions: Tensor
        self.backbone = None if backbone is None else _backbone(side * patch, patch, *backbone)

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer="predicted responses, left hemisphere first",
            output="pooled",
            shape=(self.left + self.right,),
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": f"0..1, {list(MEAN)}, {list(STD)}, zeros up to {self.side * self.patch}",
            },
            weights_hash=network_hash(self, self.config),
        )

    def respond(self, features: Tensor) -> Tensor:
        """Return responses (n, left + right) of features (n, side * side, width).

        Raises
        ------
        InputError
            If there are other patches or numbers.
        """
        if features.shape[1:] != (self.side**2, self.width):
            raise InputError(
                f"features of shape {tuple(features.shape[1:])}",
                expected=f"({self.side**2}, {self.width}): one row per patch, row by row",
                remedy="take the queries of DINOv2's last layer, without its class token",
            )
        queries = self.queries.expand(len(features), -1, -1)
        state, keys = torch.zeros_like(queries), features + self.places
        for layer in self.layers:
            state = layer(state, queries, keys, features)
        found = self.norm(state)
        if self.readout == "vertices":
            return torch.cat(
                [
                    _own(found[:, : self.left], self.read_left),
                    _own(found[:, self.left :], self.read_right),
                ],
                dim=1,
            )
        if self.readout == "hemispheres":
            return torch.cat([self.read_left(found[:, 0]), self.read_right(found[:, 1])], dim=1)
        half = found.shape[1] // 2
        left = (self.read_left(found[:, :half]) * self.left_regions).sum(1)
        right = (self.read_right(found[:, half:]) * self.right_regions).sum(1)
        return torch.cat([left, right], dim=1)

    def features(self, pictures: Tensor) -> Tensor:
        """Return features (n, side * side, width) of pictures (n, 3, size, size) in 0..1."""
        if self.backbone is None:
            raise AssetError(
                "responses to pictures without the network DINOv2 (ViT-B/14)",
                expected="a model that has it",
                remedy="convert again with --with backbone=dinov2_vitb14_pretrain.pth",
            )
        mean, std = (pictures.new_tensor(one).view(3, 1, 1) for one in (MEAN, STD))
        more = self.side * self.patch - self.size
        filled = F.pad((pictures - mean) / std, (0, more, 0, more))
        network: Any = self.backbone
        tokens = network.patch_embed(filled)
        tokens = torch.cat([network.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + network.pos_embed
        for block in network.blocks[:-1]:
            tokens = block(tokens)
        last = network.blocks[-1]
        found: Tensor = last.attn.qkv(last.norm1(tokens))[:, 1:, : tokens.shape[-1]]
        return found

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        self.eval()
        fitted = fit_pictures(pictures, size=self.size, channels=3)
        parts = []
        for start in range(0, len(fitted), BATCH):
            rows = torch.from_numpy(fitted[start : start + BATCH]).permute(0, 3, 1, 2)
            rows = rows.to(self.places.device).float() / 255
            parts.append(self.respond(self.features(rows)).cpu())
        return torch.cat(parts)


def _own(found: Tensor, readout: nn.Linear) -> Tensor:
    """Return what each vertex reads of its own query: the diagonal of all by all."""
    return torch.einsum("nvd,vd->nv", found, readout.weight) + readout.bias


def _backbone(size: int, patch: int, width: int, blocks: int, heads: int) -> nn.Module:
    """Return DINOv2 up to a block: its last one is asked for queries alone."""
    timm: Any = import_module("timm.models.vision_transformer")
    network: nn.Module = timm.VisionTransformer(
        img_size=size, patch_size=patch, embed_dim=width, depth=blocks, num_heads=heads,
        init_values=1e-5, num_classes=0,
    )  # fmt: skip
    network.norm = nn.Identity()
    return network
