"""TBEn: published names, and what it computes of a picture, from plain functions."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.encoders.stimulus.responses import ResponseTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.model_folder import load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}
LEFT, RIGHT, N, HEADS = 6, 5, 64, 4
REGIONS = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words")
COUNTS = (2, 1, 1, 1, 1)  # regions of each kind, as the mapping files name them


def shapes_of(queries: int, n: int = N, u: int = 10, left: int = LEFT, right: int = RIGHT) -> Any:
    layer = "transformer.decoder.layers.0."
    shapes: dict[str, tuple[int, ...]] = {
        "query_embed.weight": (queries, n), "transformer.memory_proj.weight": (64, n, 1, 1),
        "transformer.memory_proj.bias": (64,), f"{layer}linear1.weight": (u, n),
        f"{layer}linear1.bias": (u,), f"{layer}linear2.weight": (n, u),
        f"{layer}linear2.bias": (n,), "lh_embed.0.weight": (left, n), "lh_embed.0.bias": (left,),
        "rh_embed.0.weight": (right, n), "rh_embed.0.bias": (right,),
    }  # fmt: skip
    for name in ("self_attn", "multihead_attn"):
        shapes |= {
            f"{layer}{name}.in_proj_weight": (3 * n, n), f"{layer}{name}.in_proj_bias": (3 * n,),
            f"{layer}{name}.out_proj.weight": (n, n), f"{layer}{name}.out_proj.bias": (n,),
        }  # fmt: skip
    for name in (f"{layer}norm1", f"{layer}norm2", f"{layer}norm3", "transformer.decoder.norm"):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)
    return shapes


def dino_shapes(blocks: int = 3, n: int = N, side: int = 37, patch: int = 2) -> Any:
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, n), "pos_embed": (1, side**2 + 1, n), "mask_token": (1, n),
        "patch_embed.proj.weight": (n, 3, patch, patch), "patch_embed.proj.bias": (n,),
        "norm.weight": (n,), "norm.bias": (n,),
    }  # fmt: skip
    for block in range(blocks):
        name = f"blocks.{block}."
        shapes |= {
            f"{name}attn.qkv.weight": (3 * n, n), f"{name}attn.qkv.bias": (3 * n,),
            f"{name}attn.proj.weight": (n, n), f"{name}attn.proj.bias": (n,),
            f"{name}ls1.gamma": (n,), f"{name}ls2.gamma": (n,),
            f"{name}mlp.fc1.weight": (4 * n, n), f"{name}mlp.fc1.bias": (4 * n,),
            f"{name}mlp.fc2.weight": (n, 4 * n), f"{name}mlp.fc2.bias": (n,),
        }  # fmt: skip
        for norm in ("norm1", "norm2"):
            shapes[f"{name}{norm}.weight"] = shapes[f"{name}{norm}.bias"] = (n,)
    return shapes


def places(side: int, width: int) -> Tensor:
    """Positions, number by number: rows first, each sine beside its cosine."""
    found, half = torch.zeros(side, side, width), width // 2
    for row in range(side):
        for column in range(side):
            for axis, place in enumerate((row, column)):
                angle = (place + 1) / (side + 1e-6) * 2 * math.pi
                for i in range(half):
                    turned = angle / 10000 ** (2 * (i // 2) / half)
                    value = math.sin(turned) if i % 2 == 0 else math.cos(turned)
                    found[row, column, axis * half + i] = value
    return found.flatten(0, 1)


def looked(maths: Any, w: Any, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    size = q.shape[-1]
    parts = [
        F.linear(
            one, w[f"{name}.in_proj_weight"][at * size : (at + 1) * size],
            w[f"{name}.in_proj_bias"][at * size : (at + 1) * size],
        )
        for at, one in enumerate((q, k, v))
    ]  # fmt: skip
    wide, heads = size // HEADS, []
    for head in range(HEADS):
        a, b, c = (one[..., head * wide : (head + 1) * wide] for one in parts)
        heads.append(maths.softmax_attention(a, b, c, 1 / math.sqrt(wide)))
    return maths.linear(w, f"{name}.out_proj", torch.cat(heads, -1))


def queried(maths: Any, w: Any, features: Tensor, before: bool) -> Tensor:
    layer = "transformer.decoder.layers.0."
    queries = w["query_embed.weight"].expand(len(features), -1, -1)
    keys = features + places(31, N)
    normed = maths.layer_norm(w, f"{layer}norm1", torch.zeros_like(queries))
    found = looked(maths, w, f"{layer}multihead_attn", normed + queries, keys, features)

    def forward_part(x: Tensor) -> Tensor:
        hidden = maths.linear(w, f"{layer}linear1", x).clamp_min(0)
        inner: Tensor = maths.linear(w, f"{layer}linear2", hidden)
        return inner

    if before:
        state = found + forward_part(maths.layer_norm(w, f"{layer}norm3", found))
    else:
        state = maths.layer_norm(w, f"{layer}norm2", normed + found)
        state = maths.layer_norm(w, f"{layer}norm3", state + forward_part(state))
    out: Tensor = maths.layer_norm(w, "transformer.decoder.norm", state)
    return out


def dino_queries(maths: Any, w: Any, pictures: Tensor, block: int) -> Tensor:
    """Queries of a block for pictures (n, 3, 62, 62), patch by patch; heads are of 64."""
    x = F.conv2d(pictures, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=2)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1)
    grid = w["pos_embed"][:, 1:].reshape(1, 37, 37, N).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(31.1 / 37, 31.1 / 37), mode="bicubic")
    x = x + torch.cat([w["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], 1)
    for number in range(block):
        name = f"blocks.{number}."
        q, k, v = maths.linear(
            w, f"{name}attn.qkv", maths.layer_norm(w, f"{name}norm1", x, 1e-6)
        ).chunk(3, -1)
        mixed = maths.linear(w, f"{name}attn.proj", maths.softmax_attention(q, k, v, 1 / 8))
        x = x + w[f"{name}ls1.gamma"] * mixed
        hidden = maths.layer_norm(w, f"{name}norm2", x, 1e-6)
        hidden = maths.gelu(maths.linear(w, f"{name}mlp.fc1", hidden))
        x = x + w[f"{name}ls2.gamma"] * maths.linear(w, f"{name}mlp.fc2", hidden)
    name = f"blocks.{block}."
    normed = maths.layer_norm(w, f"{name}norm1", x, 1e-6)
    found: Tensor = maths.linear(w, f"{name}attn.qkv", normed)[:, 1:, :N]
    return found


def region_folder(root: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Write ``roi_masks`` as it is published, and return the masks."""
    stream, masks = np.random.default_rng(1), {}
    root.mkdir()
    for side, vertices in (("lh", LEFT), ("rh", RIGHT)):
        rows = []
        for name, count in zip(REGIONS, COUNTS, strict=True):
            labels = stream.integers(0, count + 1, vertices)
            np.save(root / f"{side}.{name}_challenge_space.npy", labels)
            named: Any = {0: "Unknown", **{one: f"r{one}" for one in range(1, count + 1)}}
            np.save(root / f"mapping_{name}.npy", named)
            rows += [labels == one for one in range(1, count + 1)]
        masks[side] = np.stack([*rows, ~np.any(rows, axis=0)]).astype(np.float32)
    return masks


def saved(made: Any, path: Path, queries: int, *, inside: bool = True, **told: Any) -> Any:
    weights = made.random_weights(shapes_of(queries), seed=50)
    network = made.random_weights(dino_shapes(), seed=51)
    more = {f"backbone_model.0.backbone.{name}": one for name, one in network.items()}
    args = argparse.Namespace(nheads=HEADS, pre_norm=1, enc_output_layer=1, **told)
    content = {
        "model": {**weights, **(more if inside else {})}, "optimizer": {"state": {}},
        "lr_scheduler": {}, "epoch": 3, "args": args, "val_perf": 0.4,
    }  # fmt: skip
    torch.save(content, path)
    return weights, network


def pictures(n: int = 2) -> np.ndarray[Any, Any]:
    return np.random.default_rng(4).integers(0, 256, (n, 60, 60, 3), dtype=np.uint8)


def filled_up(shown: np.ndarray[Any, Any]) -> Tensor:
    values = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    values = (values - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    found = torch.zeros(len(shown), 3, 62, 62)
    found[:, :, :60, :60] = values
    return found


def test_regions_of_a_picture(made: Any, maths: Any, tmp_path: Path) -> None:
    weights, network = saved(made, tmp_path / "checkpoint.pth", queries=14)
    masks = region_folder(tmp_path / "roi_masks")
    report = convert_file(
        tmp_path / "checkpoint.pth", tmp_path / "model", subjects=["01"],
        beside={"rois": str(tmp_path / "roi_masks")},
    )  # fmt: skip
    assert report.family == "tben"
    assert any("argparse.Namespace" in line for line in report.lines)
    model = load_model(str(tmp_path / "model"))
    found = model.target.encode(pictures())
    tokens = queried(maths, weights, dino_queries(maths, network, filled_up(pictures()), 2), True)
    left = maths.linear(weights, "lh_embed.0", tokens[:, :7]) * torch.from_numpy(masks["lh"])
    right = maths.linear(weights, "rh_embed.0", tokens[:, 7:]) * torch.from_numpy(masks["rh"])
    torch.testing.assert_close(found, torch.cat([left.sum(1), right.sum(1)], 1), **CLOSE)
    torch.testing.assert_close(model.target.encode(pictures()[1:]), found[1:], **CLOSE)


@pytest.mark.parametrize(("queries", "before"), [(LEFT + RIGHT, True), (2, False)])
def test_other_readouts(queries: int, before: bool, made: Any, maths: Any, tmp_path: Path) -> None:
    weights, network = saved(made, tmp_path / "checkpoint.pth", queries=queries, inside=False)
    torch.save(network, tmp_path / "dinov2_vitb14_pretrain.pth")
    convert_file(
        tmp_path / "checkpoint.pth", tmp_path / "model", subjects=["01"], family="tben",
        beside={"backbone": str(tmp_path / "dinov2_vitb14_pretrain.pth")},
        settings={"pre_norm": before, "layer": 2},
    )  # fmt: skip
    target: Any = load_model(str(tmp_path / "model")).target
    features = dino_queries(maths, network, filled_up(pictures(1)), 1)
    tokens = queried(maths, weights, features, before)
    left, right = (maths.linear(weights, f"{side}_embed.0", tokens) for side in ("lh", "rh"))
    if queries == 2:
        wanted = torch.cat([left[:, 0], right[:, 1]], 1)
    else:
        pairs = (left[:, :LEFT], right[:, LEFT:])
        wanted = torch.cat([one.diagonal(dim1=1, dim2=2) for one in pairs], 1)
    torch.testing.assert_close(target.encode(pictures(1)), wanted, **CLOSE)


def test_pictures_are_found_by_measured_responses(
    made: Any, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """Kay et al. 2008: the picture whose predicted response is most like the measured one."""
    saved(made, tmp_path / "checkpoint.pth", queries=LEFT + RIGHT)
    cli(
        "convert", tmp_path / "checkpoint.pth", "--subject", "01", "--output", tmp_path / "model"
    ).succeeds()
    (tmp_path / "shown").mkdir()
    for number, one in enumerate(pictures(3)):
        Image.fromarray(one).save(tmp_path / "shown" / f"p{number}.png")
    responses = load_model(str(tmp_path / "model")).target.encode(pictures(3)).numpy()
    np.save(tmp_path / "betas.npy", responses[[2, 0]])
    cli(
        "index", "build", "--pictures", tmp_path / "shown", "--target",
        f"local-dir:{tmp_path / 'model' / 'target'}", "--output", tmp_path / "index",
    ).succeeds()  # fmt: skip
    cli(
        "retrieve", "--subject", "01", "--input", tmp_path / "betas.npy", "--model",
        tmp_path / "model", "--index", tmp_path / "index", "--top", "1", "--output",
        tmp_path / "out",
    ).succeeds()  # fmt: skip
    text = (tmp_path / "out" / "results.tsv").read_text()
    assert ["p2" in text.splitlines()[1], "p0" in text.splitlines()[2]] == [True, True]


def test_what_does_not_fit(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    region_folder(tmp_path / "roi_masks")

    def attempt(**how: Any) -> None:
        convert_file(path, tmp_path / "model", subjects=["01"], **how)

    saved(made, path, queries=14)
    with pytest.raises(UsageError, match="--with rois=FOLDER"):
        attempt()
    with pytest.raises(InputError, match="7 heads over 64"):
        attempt(settings={"heads": 7})
    with pytest.raises(InputError, match="block -9 of a network of 3"):
        attempt(settings={"layer": 9}, beside={"rois": str(tmp_path / "roi_masks")})
    saved(made, path, queries=16)
    with pytest.raises(InputError, match=r"7 regions of 6 vertices \(left\)"):
        attempt(beside={"rois": str(tmp_path / "roi_masks")})
    saved(made, path, queries=2, backbone_arch="resnet50")
    with pytest.raises(InputError, match="looks through resnet50"):
        attempt()
    saved(made, path, queries=2, inside=False)
    attempt()
    with pytest.raises(AssetError, match="backbone=dinov2"):
        load_model(str(tmp_path / "model")).target.encode(pictures(1))


def test_published_sizes() -> None:
    """Of the published configuration: what is called of it, without DINOv2."""
    shapes = shapes_of(50, n=768, u=1024, left=19_004, right=20_544)
    left_out = ("self_attn", "memory_proj", "norm2")
    wanted = sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if not any(one in name for one in left_out)
    )
    with torch.device("meta"):
        made = ResponseTarget(19_004, 20_544, 50)
    assert sum(one.numel() for one in made.parameters()) == wanted == 34_392_444
