"""The perception reconstructor of NeuroClips, which predicts latents of six frames."""

from __future__ import annotations

import math
from typing import Any

from phosphene.checkpoints.converters.family import (
    CC2017_VOXELS,
    Converted,
    Request,
    check_voxels,
    filled,
)
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap
from phosphene.checkpoints.converters.latent_keys import ATTENTION_ALIASES, decoder_keys
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.published.neuroclips_perception import NeuroClipsPerception
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import VoxelSpace

__all__ = ["PERCEPTION", "convert_perception"]

FRAMES = 6
UP = "bupsampler."


def _attention(name: str, size: str) -> list[Key]:
    keys = [Key(f"{name}.group_norm.{one}", f"{name}.group_norm.{one}", (size,))
            for one in ("weight", "bias")]  # fmt: skip
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        keys.append(Key(f"{name}.{part}.weight", f"{name}.{part}.weight", (size, size)))
        keys.append(Key(f"{name}.{part}.bias", f"{name}.{part}.bias", (size,)))
    return keys


def _decoder() -> list[Key]:
    """Return keys of the decoder with attention over places and frames after every layer."""
    keys = decoder_keys()
    keys += _attention("mid_block.temp_attentions.0", "c3")
    keys.append(Key("mid_block.weights.0", "mid_block.weights.0", (1,)))
    for block, size in enumerate(("c3", "c2", "c1")):
        for layer in (0, 1):
            for kind in ("attentions", "temp_attentions"):
                keys += _attention(f"up_blocks.{block}.{kind}.{layer}", size)
            name = f"up_blocks.{block}.weights.{layer}"
            keys.append(Key(name, name, (1,)))
    return keys


def _mixers(prefix: str, own: str, size: str, layers: tuple[int, ...], place: str) -> list[Key]:
    keys = []
    sizes: tuple[tuple[str, str | int], ...] = (("mixer_blocks1", size), ("mixer_blocks2", 1))
    for kind, width in sizes:
        name = f"{kind}.{{{place}}}."
        shapes: dict[str, tuple[str | int, ...]] = {"0.weight": (width,), "0.bias": (width,)}
        for layer in layers:
            shapes[f"1.{layer}.weight"] = (width, width)
            shapes[f"1.{layer}.bias"] = (width,)
        keys += [Key(prefix + name + one, own + name + one, s) for one, s in shapes.items()]
    return keys


PERCEPTION = KeyMap(
    "the perception reconstructor of NeuroClips",
    (
        Key("ridge1.linears.0.weight", "ridge1.weight", ("h", "v")),
        Key("ridge1.linears.0.bias", "ridge1.bias", ("h",)),
        Key("fmri.lin0.0.weight", "fmri.lin0.0.weight", ("s", "v")),
        Key("fmri.lin0.0.bias", "fmri.lin0.0.bias", ("s",)),
        Key("fmri.lin1.0.weight", "fmri.lin1.0.weight", ("frames*v", "s")),
        Key("fmri.lin1.0.bias", "fmri.lin1.0.bias", ("frames*v",)),
        *_mixers("fmri.", "fmri.", "s", (0,), "i"),
        *_mixers("backbone.", "", "h", (0, 3), "b"),
        Key("backbone.blin1.weight", "blin1.weight", ("64*q", "h")),
        Key("backbone.blin1.bias", "blin1.bias", ("64*q",)),
        Key("backbone.bnorm.weight", "bnorm.weight", (64,)),
        Key("backbone.bnorm.bias", "bnorm.bias", (64,)),
        *(Key(f"backbone.{UP}{key.published}", f"{UP}{key.own}", key.shape) for key in _decoder()),
    ),
    (
        Drop(
            "backbone.b_maps_projector.*",
            "compares maps with a teacher's features, in training alone",
        ),
    ),
    ATTENTION_ALIASES,
)


def convert_perception(state: State, request: Request, protocol: Any) -> Converted:
    """Make a model of latents of six frames, one clip per volume."""
    matched = PERCEPTION.match(state.tensors)
    sizes, subject = matched.sizes, request.subject
    check_voxels(subject, sizes["v"], CC2017_VOXELS, "CC2017")
    side = math.isqrt(sizes["q"])
    if side * side != sizes["q"]:
        raise InputError(
            f"a grid of {sizes['q']} places",
            expected="a square one, such as 7 x 7",
            remedy="get the file from its source",
        )
    frames = sizes["frames"]
    shape = [frames * sizes["o"], 4 * side, 4 * side]
    tensors = {}
    for name, value in matched.tensors.items():
        part, _, rest = name.partition(".")
        own = f"{part}.sub-{subject}.{rest}" if part in ("fmri", "ridge1") else name
        tensors[own] = value
    config = {
        "voxels": {subject: sizes["v"]}, "targets": {"lowlevel": shape}, "frames": frames,
        "width": sizes["h"], "spread": sizes["s"], "depth": sizes["#b"],
        "spread_depth": sizes["#i"], "latent_channels": [sizes["c1"], sizes["c2"], sizes["c3"]],
    }  # fmt: skip
    target = PublishedTarget(
        "AutoencoderKL", "sd_image_var_autoenc.pth of pscotti/mindeyev2", "lowlevel", shape, "own",
        note=f"latents times 0.18215 of {frames} frames, one after another",
    )  # fmt: skip
    parts = ModelParts(
        encoder=filled(NeuroClipsPerception, config, tensors),
        target=target,
        preprocessor=Preprocessor("fmri").accept(subject, VoxelSpace.columns(sizes["v"])),
        protocol=protocol,
        generator=OnDemand("", target),
        baselines={},
    )
    words = {
        "voxels": str(sizes["v"]),
        "latents": f"{frames} frames of {sizes['o']} x {shape[1]} x {shape[2]}",
    }
    quirks = [
        "the published programs let attention over frames run over all clips of a batch; here it "
        "runs over the frames of one clip, so that a clip does not depend on its company",
        "the mixers only add a number, as in MindEye2",
    ]
    notes = [
        "blurry videos: their latents are `lowlevel` in embeddings.npz; no generator reads them"
    ]
    return Converted(parts, words, matched.dropped, quirks, notes)
