"""Turn the single file of MindEye2's unCLIP SDXL into parts that diffusers loads.

The file holds a UNet (``model.diffusion_model.``), an autoencoder (``first_stage_model.``) and a
picture encoder (``conditioner.embedders.0.``). The last one is left behind: embeddings come from a
brain. Names of tensors are mapped by diffusers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from phosphene.errors import InputError
from phosphene.storage import load_tensors, new_folder, write_json

if TYPE_CHECKING:
    import torch

__all__ = ["AUTOENCODER", "UNET", "convert_unclip_checkpoint"]

UNET_PREFIX, AUTOENCODER_PREFIX = "model.diffusion_model.", "first_stage_model."
# SDXL base, but for what it attends to (1664 numbers per token instead of 2048) and what it is told
# beside time (four numbers of size and place in place of six and a pooled prompt).
UNET: dict[str, Any] = {
    "sample_size": 96,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 1664,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 1024,
}
AUTOENCODER: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.13025,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "trailing",
}


def convert_unclip_checkpoint(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    unet: Mapping[str, Any] = UNET,
    autoencoder: Mapping[str, Any] = AUTOENCODER,
) -> Path:
    """Write ``unet/``, ``vae/``, ``scheduler/`` and ``model_index.json``, in half precision.

    Parameters
    ----------
    source : path
        The published ``.ckpt``, or its tensors as ``.safetensors``.
    output : path
        New or empty folder.
    unet, autoencoder : dict
        Configurations in diffusers.

    Raises
    ------
    InputError
        If the file is damaged, holds other things than tensors, or lacks tensors or has others.
    """
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel

    tensors = _read(Path(source))
    with new_folder(output) as folder:
        for name, kind, prefix, config in (
            ("unet", UNet2DConditionModel, UNET_PREFIX, unet),
            ("vae", AutoencoderKL, AUTOENCODER_PREFIX, autoencoder),
        ):
            part = {key: value for key, value in tensors.items() if key.startswith(prefix)}
            network = _network(kind, config, part, where=f"{source}, {prefix}*")
            network.save_pretrained(folder / name)
        EulerDiscreteScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
        index: dict[str, Any] = {
            "_class_name": "StableDiffusionXLPipeline",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        }
        absent = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "image_encoder")
        index |= {name: [None, None] for name in (*absent, "feature_extractor")}
        write_json(folder / "model_index.json", index)
    return Path(output)


def _network(
    kind: Any, config: Mapping[str, Any], tensors: dict[str, torch.Tensor], *, where: str
) -> Any:
    """Return a network of diffusers that holds all of the tensors, and nothing else."""
    import torch

    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "config.json", {"_class_name": kind.__name__, **config})
        try:
            network = kind.from_single_file(
                dict(tensors), config=folder, local_files_only=True, dtype=torch.float16
            )
        except Exception as error:  # missing names and other shapes raise many kinds
            raise InputError(
                f"{where} is not what a {kind.__name__} of this architecture takes ({error})",
                expected="the unCLIP SDXL that MindEye2 published",
                remedy="check the file, and download it again where it may be damaged",
            ) from error
    missing = [key for key, value in network.state_dict().items() if value.is_meta]
    if missing or len(network.state_dict()) != len(tensors):
        raise InputError(
            f"{where} holds {len(tensors)} tensors, "
            + (f"and lacks {missing[0]}" if missing else "more than are known"),
            expected=f"the {len(network.state_dict())} of a {kind.__name__}",
            remedy="check the file, and download it again where it may be damaged",
        )
    return network


def _read(source: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint by name; nothing else is ever unpickled."""
    import torch

    if source.suffix == ".safetensors":
        return load_tensors(source)
    if not source.is_file():
        raise InputError(
            f"there is no file {source}",
            expected="the published .ckpt or .safetensors file",
            remedy="check the path and its spelling",
        )
    try:
        found = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
        tensors: dict[str, torch.Tensor] = dict(found["state_dict"])
    except Exception as error:  # damaged archives and refused objects raise many kinds
        raise InputError(
            f"{source} cannot be read as tensors alone ({type(error).__name__})",
            expected="a checkpoint whose state_dict holds tensors; other objects are never loaded",
            remedy="download it again; or save its state_dict as safetensors where you trust it",
        ) from error
    return tensors
