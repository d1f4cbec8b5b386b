"""TBEn: from pictures to responses, by queries of regions over DINOv2 (Adeli et al. 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    filled,
    published_protocol,
    tensors_of,
)
from phosphene.checkpoints.converters.inert import InertRecord
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap, Matched
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.encoders.brain.published.given import GivenEmbedding
from phosphene.encoders.stimulus.responses import ResponseTarget, picture_places
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.storage import load_array
from phosphene.types import VoxelSpace

__all__ = ["TBEn"]

L = "transformer.decoder.layers.{l}."
D = "blocks.{b}."
INSIDE = ("backbone_model.0.backbone.", "backbone_model.backbone.")
PIXELS, PATCH = 425, 14  # of a picture and of a patch
SIDE, OFFSET = 31, 0.1  # patches along a side; what DINOv2's release adds before it resizes
REGIONS = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")


def _layer() -> list[Key]:
    shapes: dict[str, tuple[str, tuple[str, ...]]] = {
        "multihead_attn.in_proj_weight": ("look.in_proj_weight", ("3*n", "n")),
        "multihead_attn.in_proj_bias": ("look.in_proj_bias", ("3*n",)),
        "multihead_attn.out_proj.weight": ("look.out_proj.weight", ("n", "n")),
        "multihead_attn.out_proj.bias": ("look.out_proj.bias", ("n",)),
        "linear1.weight": ("first.weight", ("u", "n")), "linear1.bias": ("first.bias", ("u",)),
        "linear2.weight": ("second.weight", ("n", "u")), "linear2.bias": ("second.bias", ("n",)),
    }  # fmt: skip
    for number, own in (("1", "first"), ("2", "middle"), ("3", "last")):
        for kind in ("weight", "bias"):
            shapes[f"norm{number}.{kind}"] = (f"{own}_norm.{kind}", ("n",))
    return [Key(L + name, f"layers.{{l}}.{own}", shape) for name, (own, shape) in shapes.items()]


TBEN = KeyMap(
    "TBEn",
    (
        Key("query_embed.weight", "queries", ("q", "n")),
        *_layer(),
        Key("transformer.decoder.norm.weight", "norm.weight", ("n",)),
        Key("transformer.decoder.norm.bias", "norm.bias", ("n",)),
        Key("lh_embed.0.weight", "read_left.weight", ("left", "n")),
        Key("lh_embed.0.bias", "read_left.bias", ("left",)),
        Key("rh_embed.0.weight", "read_right.weight", ("right", "n")),
        Key("rh_embed.0.bias", "read_right.bias", ("right",)),
    ),
    (
        Drop(f"{L}self_attn.*", "made and never called: queries do not look at one another"),
        Drop("transformer.memory_proj.*", "made and never called"),
    ),
)


def _block() -> list[Key]:
    shapes: dict[str, tuple[str, ...]] = {
        "attn.qkv.weight": ("3*n", "n"), "attn.qkv.bias": ("3*n",),
        "attn.proj.weight": ("n", "n"), "attn.proj.bias": ("n",),
        "ls1.gamma": ("n",), "ls2.gamma": ("n",),
        "mlp.fc1.weight": ("m", "n"), "mlp.fc1.bias": ("m",),
        "mlp.fc2.weight": ("n", "m"), "mlp.fc2.bias": ("n",),
    }  # fmt: skip
    for name in ("norm1", "norm2"):
        shapes |= {f"{name}.weight": ("n",), f"{name}.bias": ("n",)}
    return [Key(D + name, D + name, shape) for name, shape in shapes.items()]


DINO = KeyMap(
    "DINOv2",
    (
        Key("cls_token", "cls_token", (1, 1, "n")),
        Key("pos_embed", "pos_embed", (1, "places", "n")),
        Key("patch_embed.proj.weight", "patch_embed.proj.weight", ("n", 3, "p", "p")),
        Key("patch_embed.proj.bias", "patch_embed.proj.bias", ("n",)),
        *_block(),
    ),
    (
        Drop("mask_token", "stands for masked patches, and none is masked"),
        Drop("norm.*", "of what comes after the queries that are taken"),
    ),
)
QUIRKS = (
    "vertices in several regions are predicted by the sum over these regions",
    "pictures are filled up with zeros at the right and below, after colours were normalised, "
    "and the network is told of no border",
)


class TBEn(Family):
    """``checkpoint.pth`` of a training, with DINOv2 in it or beside it."""

    name: ClassVar[str] = "tben"
    title: ClassVar[str] = "TBEn (transformer brain encoder)"
    paper: ClassVar[str] = (
        "Adeli, Sun and Kriegeskorte 2025, Transformer brain encoders explain human high-level "
        "visual responses (NeurIPS 2025, arXiv 2505.17329)"
    )
    source: ClassVar[str] = (
        "Hosseinadeli/transformer_brain_encoder: checkpoint.pth of a training; none are published"
    )
    licence: ClassVar[str] = "GPL-3.0 (programs); NSD's terms apply to its data"
    marks: ClassVar[tuple[str, ...]] = (
        "query_embed.weight", "lh_embed.0.weight", "rh_embed.0.weight",
    )  # fmt: skip
    settings: ClassVar[dict[str, Any]] = {"heads": None, "pre_norm": None, "layer": None}
    files: ClassVar[dict[str, str]] = {
        "rois": "the folder roi_masks of the subject, of Algonauts 2023",
        "backbone": "dinov2_vitb14_pretrain.pth, where the checkpoint is without it",
    }

    def convert(self, state: State, request: Request) -> Converted:
        own, network = _parted(state.tensors)
        matched, subject = TBEN.match(own), request.subject
        sizes, told = matched.sizes, _told(state)
        heads = int(_chosen(request, "heads", told, "nheads", 16))
        before = bool(_chosen(request, "pre_norm", told, "pre_norm", True))
        layer = int(_chosen(request, "layer", told, "enc_output_layer", 1))
        if heads < 1 or sizes["n"] % heads:
            raise InputError(
                f"{heads} heads over {sizes['n']} numbers",
                expected="a number that divides them",
                remedy="--set heads=NUMBER, as it was trained",
            )
        arch = str(told.get("backbone_arch", "dinov2_q"))
        if arch != "dinov2_q":
            raise InputError(
                f"a network that looks through {arch}",
                expected="dinov2_q: the queries of DINOv2's attention",
                remedy="train it with the default backbone",
            )
        path = request.file("backbone")
        if path is not None and not network:
            network = tensors_of(Path(path)).tensors
        tensors = _without_dead_norms(matched, before)
        more, backbone = _backbone(network, layer) if network else ({}, None)
        readout, regions = self._regions(sizes, request)
        patch = int(more["backbone.patch_embed.proj.weight"].shape[2]) if more else PATCH
        config: dict[str, Any] = {
            "left": sizes["left"], "right": sizes["right"], "queries": sizes["q"],
            "readout": readout, "width": sizes["n"], "heads": heads, "hidden": sizes["u"],
            "layers": sizes["#l"], "norm_before": before, "side": SIDE, "patch": patch,
            "size": PIXELS * patch // PATCH, "backbone": backbone,
        }  # fmt: skip
        target = filled(
            ResponseTarget,
            config,
            {**tensors, **regions, **more, "places": picture_places(SIDE, sizes["n"])},
        )
        found = {
            "vertices": f"{sizes['left']} left, {sizes['right']} right",
            "queries": f"{sizes['q']}, one per {readout.removesuffix('s')}",
            "network": f"{sizes['#l']} layers, {heads} heads of {sizes['n'] // heads}",
            "DINOv2": "no (--with backbone=FILE)" if backbone is None else f"to block -{layer}",
        }
        notes = [
            "it predicts responses of pictures: a measured response is compared with them, and "
            "the picture whose response is most alike is found (phosphene index build, retrieve)"
        ]
        if network:
            matched.dropped |= {
                name: "of what comes after the queries that are taken"
                for name in network
                if name.startswith("norm.")
            }
        parts = _model(target, subject, self._protocol(subject))
        return Converted(parts, found, matched.dropped, list(QUIRKS), notes)

    def _regions(self, sizes: Mapping[str, int], request: Request) -> tuple[str, dict[str, Tensor]]:
        """Return how responses are read of queries, and the masks of regions."""
        left, right, queries = sizes["left"], sizes["right"], sizes["q"]
        none = {
            "left_regions": torch.zeros(0, left), "right_regions": torch.zeros(0, right),
        }  # fmt: skip
        if queries == left + right:
            return "vertices", none
        if queries == 2:
            return "hemispheres", none
        path = request.file("rois")
        if path is None:
            raise UsageError(
                f"{queries} queries of regions, and nothing that says which vertices they have",
                expected="the folder roi_masks of the subject, of Algonauts 2023",
                remedy="--with rois=FOLDER",
            )
        masks = {}
        for side, count in (("left", left), ("right", right)):
            found = _masks(path, "lh" if side == "left" else "rh")
            if tuple(found.shape) != (queries // 2, count) or queries % 2:
                raise InputError(
                    f"{found.shape[0]} regions of {found.shape[1]} vertices ({side}) in {path}",
                    expected=f"{queries / 2:g} regions of {count} vertices, as in the weights",
                    remedy="name the folder of the same subject, of the same mask",
                )
            masks[f"{side}_regions"] = found
        return "regions", masks

    def _protocol(self, subject: str) -> Any:
        return published_protocol(
            dataset="Natural Scenes Dataset, Algonauts 2023",
            subjects=[subject],
            mask="vertices of Algonauts 2023 on fsaverage, left hemisphere first",
            normalisation="as released: z-score per session",
            fitted_on="all trials",
            averaging=("mean of three repetitions", "mean of three repetitions"),
            selection="the epoch with the best correlation on the validation pictures",
            validation="a tenth of the pictures, drawn without a seed",
        )


def _told(state: State) -> Mapping[str, Any]:
    """Return the arguments of the training, where the file has them."""
    found = state.values.get("args")
    inner = found.state if isinstance(found, InertRecord) else found
    return inner if isinstance(inner, dict) else {}


def _chosen(
    request: Request, name: str, told: Mapping[str, Any], published: str, default: Any
) -> Any:
    """Return a setting: what is asked for, what the file tells, or the published default."""
    asked = request.settings.get(name)
    if asked is not None:
        return asked
    found = told.get(published, default)
    return found if isinstance(found, int | float | bool) else default


def _parted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of TBEn, and those of the network that it looks through."""
    own, network = {}, {}
    for name, value in tensors.items():
        prefix = next((one for one in INSIDE if name.startswith(one)), "")
        if prefix:
            network[name.removeprefix(prefix)] = value
        else:
            own[name] = value
    return own, network


def _without_dead_norms(matched: Matched, before: bool) -> dict[str, Tensor]:
    """Return the tensors; with norms before each part the second one is never called."""
    kept = {}
    for name, value in matched.tensors.items():
        if before and ".middle_norm." in name:
            published = name.replace("layers.", "transformer.decoder.layers.")
            matched.dropped[published.replace("middle_norm", "norm2")] = "made and never called"
        else:
            kept[name] = value
    return kept


def _backbone(network: Mapping[str, Tensor], layer: int) -> tuple[dict[str, Tensor], list[int]]:
    """Return DINOv2 up to a block, its places resized as its release does, and its sizes."""
    matched = DINO.match(network)
    blocks, width = matched.sizes["#b"] - layer + 1, matched.sizes["n"]
    if not 1 <= blocks <= matched.sizes["#b"]:
        raise InputError(
            f"block -{layer} of a network of {matched.sizes['#b']}",
            expected=f"1 to {matched.sizes['#b']}",
            remedy="--set layer=NUMBER, as it was trained",
        )
    tensors = {
        f"backbone.{name}": value
        for name, value in matched.tensors.items()
        if not name.startswith("blocks.") or int(name.split(".")[1]) < blocks
    }
    places = tensors["backbone.pos_embed"].float()
    tensors["backbone.pos_embed"] = torch.cat([places[:, :1], _resized(places[:, 1:])], dim=1)
    return tensors, [width, blocks, max(1, width // 64)]


def _resized(places: Tensor) -> Tensor:
    """Return places (1, n, d) of a square grid for a grid of 31 x 31."""
    side = math.isqrt(places.shape[1])
    if side * side != places.shape[1]:
        raise InputError(
            f"{places.shape[1]} places of patches",
            expected="a square grid, such as 37 x 37",
            remedy="get the file from its source",
        )
    if side == SIDE:
        return places
    grid = places.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    ratio = (SIDE + OFFSET) / side
    found = F.interpolate(grid, scale_factor=(ratio, ratio), mode="bicubic")
    return found.permute(0, 2, 3, 1).flatten(1, 2)


def _masks(folder: Path, side: str) -> Tensor:
    """Return one mask per region (n_regions + 1, n_vertices); the last is of all other vertices."""
    rows = []
    for name in REGIONS:
        labels = np.asarray(load_array(folder / f"{side}.{name}_challenge_space.npy"))
        names = load_plain_pickle(folder / f"mapping_{name}.npy")
        if not isinstance(names, dict) or labels.ndim != 1:
            raise InputError(
                f"mapping_{name}.npy or {side}.{name}_challenge_space.npy in {folder}",
                expected="names of regions by number, and a number per vertex",
                remedy="name the folder roi_masks as it is published",
            )
        rows += [labels == number for number in range(1, len(names))]
    masks = np.stack(rows)
    masks = np.concatenate([masks, ~masks.any(axis=0, keepdims=True)])
    return torch.from_numpy(masks.astype(np.float32))


def _model(target: ResponseTarget, subject: str, protocol: Any) -> ModelParts:
    """Return a model whose embedding is the response itself."""
    count = target.left + target.right
    config: dict[str, Any] = {"voxels": {subject: count}, "targets": {"pooled": [count]}}
    unused = {"unused": GivenEmbedding(**config).state_dict()["unused"]}
    return ModelParts(
        encoder=filled(GivenEmbedding, config, unused),
        target=target,
        preprocessor=Preprocessor("fmri").accept(subject, VoxelSpace.columns(count)),
        protocol=protocol,
        generator=OnDemand("", target),
        baselines={},
    )
