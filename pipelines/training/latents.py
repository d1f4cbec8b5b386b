"""Train a small autoencoder of the diffusers kind on pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train

__all__ = ["KL_WEIGHT", "train_latents"]

KL_WEIGHT = 1e-6  # only keeps latents from drifting apart, as in latent diffusion
EDGE_WEIGHT = 1.0
CROP = 32  # the network is convolutional: crops make every step see more pictures


def train_latents(
    target: LatentTarget,
    pictures: Pictures,
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int = 128,
) -> TrainingResult:
    """Train the autoencoder of ``target`` in place, then standardise its latents.

    The loss is the absolute error of pixels and of differences between neighbouring pixels.
    The last ``held_out`` pictures are only watched: their mean squared error is in the history.
    """
    if pictures.shape[1:] != (target.size, target.size, 3) or len(pictures) <= held_out:
        raise InputError(
            f"pictures of shape {pictures.shape}",
            expected=f"more than {held_out} of {target.size} x {target.size} x 3",
        )
    if target.config["autoencoder"] != "AutoencoderKL":
        raise UsageError(
            f"training of an {target.config['autoencoder']}",
            expected="AutoencoderKL, whose latents have a posterior",
        )
    images = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    n = len(images) - held_out
    watched = images[n:].float() / 127.5 - 1

    def validate(trained: nn.Module) -> float:
        vae: Any = trained
        shown = vae.decode(vae.encode(watched.to(vae.device)).latent_dist.mode()).sample
        return float(F.mse_loss(shown.cpu().clamp(-1, 1), watched) / 4)

    target.vae.to(memory_format=torch.channels_last)
    result = train(
        target.vae,
        {"image": images[:n]},
        _objective,
        config,
        folder=folder,
        validate=validate if held_out else None,
        label="autoencoder",
    )
    target.vae.load_state_dict(result.state)
    target.standardise(pictures[:4096])
    return result


def _objective(
    model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
) -> dict[str, Tensor]:
    vae: Any = model
    images = batch["image"]
    side = images.shape[-1]
    crop = min(CROP, side)
    top, left = (
        int(torch.randint(side - crop + 1, (1,), generator=generator, device=images.device))
        for _ in range(2)
    )
    part = images[..., top : top + crop, left : left + crop].float() / 127.5 - 1
    part = part.to(memory_format=torch.channels_last)
    posterior = vae.encode(part).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator, device=part.device)
    shown = vae.decode(posterior.mean + posterior.std * noise).sample
    pixels = F.l1_loss(shown, part)
    edges = sum(
        F.l1_loss(torch.diff(shown, dim=axis), torch.diff(part, dim=axis)) for axis in (-1, -2)
    )
    divergence = posterior.kl().mean()
    return {
        "loss": pixels + EDGE_WEIGHT * edges + KL_WEIGHT * divergence,
        "pixels": pixels,
        "divergence": divergence,
    }
