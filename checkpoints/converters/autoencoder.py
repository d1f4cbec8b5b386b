"""The autoencoder of predicted latents, from a published file or a folder of diffusers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene.checkpoints.converters.family import Request, tensors_of
from phosphene.checkpoints.converters.latent_keys import ATTENTION_ALIASES
from phosphene.component import check_tensors
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget, load_network
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError
from phosphene.pipelines.generators.starts import FIRST_SCALE
from phosphene.storage import read_json

__all__ = ["AUTOENCODER", "low_level_target"]

AUTOENCODER = "the autoencoder of Stable Diffusion 1: a file, or a folder of diffusers"
BLOCK = re.compile(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight")
GROUPS = 32  # of its norms


def low_level_target(request: Request, shape: tuple[int, ...]) -> StimulusEncoder:
    """Return the target of latents (c, h, w): with the autoencoder where one is named.

    Raises
    ------
    InputError
        If what is named is no such autoencoder.
    """
    path = request.file("autoencoder")
    if path is None:
        return PublishedTarget(
            "AutoencoderKL", "of Stable Diffusion 1", "lowlevel", shape, colours="own",
            note=f"latents times {FIRST_SCALE} of pictures in -1..1",
        )  # fmt: skip
    vae = _folder(path) if path.is_dir() else _file(path)
    reduction = 2 ** (len(vae.config.block_out_channels) - 1)
    found = (int(vae.config.latent_channels), *shape[1:])
    scale = float(vae.config.scaling_factor)
    if found != tuple(shape) or abs(scale - FIRST_SCALE) > 1e-6:
        raise InputError(
            f"an autoencoder of {found[0]} channels, scale {scale:g}, in {path}",
            expected=f"{shape[0]} channels, scale {FIRST_SCALE}: that of Stable Diffusion 1, "
            "which these latents are of",
            remedy="name the folder vae of such a model, or sd_image_var_autoenc.pth",
        )
    options = {key: value for key, value in dict(vae.config).items() if not key.startswith("_")}
    with torch.device("meta"):
        made = LatentTarget("AutoencoderKL", options, shape[1] * reduction, 0.0, 1 / scale)
    made.vae = vae.float().eval().requires_grad_(False)
    return made


def _folder(path: Path) -> Any:
    """Return the network of a folder of diffusers."""
    import diffusers

    place = path / "vae" if (path / "vae" / "config.json").is_file() else path
    if not (place / "config.json").is_file():
        raise InputError(
            f"the folder {path} has no config.json",
            expected="a folder of diffusers' AutoencoderKL, or of a pipeline with one",
            remedy="name its folder vae",
        )
    kind = read_json(place / "config.json").get("_class_name")
    if kind != "AutoencoderKL":
        raise InputError(
            f"a network of the class {kind} in {place}",
            expected="AutoencoderKL",
            remedy="name the folder vae of a Stable Diffusion 1 model",
        )
    return load_network(diffusers.AutoencoderKL, place)


def _file(path: Path) -> Any:
    """Return the network of a file of tensors, whose sizes tell its configuration."""
    import diffusers

    tensors = {_plain(name): value for name, value in tensors_of(path).tensors.items()}
    blocks: dict[int, list[int]] = {}
    for name, value in tensors.items():
        if hit := BLOCK.fullmatch(name):
            blocks.setdefault(int(hit[1]), []).append(int(value.shape[0]))
    if not blocks or "post_quant_conv.weight" not in tensors:
        raise InputError(
            f"{path} holds no autoencoder ({', '.join(list(tensors)[:3])}, ...)",
            expected="tensors of diffusers' AutoencoderKL, such as post_quant_conv.weight",
            remedy="name sd_image_var_autoenc.pth, or the folder vae of a Stable Diffusion 1 model",
        )
    channels = [blocks[number][0] for number in sorted(blocks)]
    options: dict[str, Any] = {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": len(blocks[0]),
        "latent_channels": int(tensors["post_quant_conv.weight"].shape[0]),
        "norm_num_groups": GROUPS,
        "scaling_factor": FIRST_SCALE,
    }
    with torch.device("meta"):
        network = diffusers.AutoencoderKL(**options)
    wanted = network.state_dict()
    kept = {name: _shaped(value, wanted.get(name)) for name, value in tensors.items()}
    check_tensors(wanted, kept, owner=f"the autoencoder in {path}")
    network.load_state_dict(kept, strict=True, assign=True)
    return network


def _plain(name: str) -> str:
    """Return a name as diffusers has it today."""
    for older, newer in ATTENTION_ALIASES:
        name = name.replace(older, newer)
    return name


def _shaped(value: Tensor, wanted: Tensor | None) -> Tensor:
    """Return maps of attention as matrices: older files have them as 1 x 1 convolutions."""
    kept = value.float().contiguous()
    if wanted is not None and kept.ndim == 4 and wanted.ndim == 2 and kept.shape[2:] == (1, 1):
        kept = kept[..., 0, 0].contiguous()
    return kept
