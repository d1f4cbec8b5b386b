"""A pipeline's autoencoder as target of a low-level branch."""

from __future__ import annotations

from typing import Any

import torch

from phosphene.encoders.stimulus.latents import LatentTarget

__all__ = ["latent_target"]


def latent_target(vae: Any, size: int) -> LatentTarget:
    """Return a pipeline's autoencoder as target, in the scale its UNet was trained on."""
    shift = float(vae.config.get("shift_factor") or 0.0)
    options = {key: value for key, value in dict(vae.config).items() if not key.startswith("_")}
    with torch.device("meta"):
        made = LatentTarget(
            "AutoencoderKL", options, size, shift, 1 / float(vae.config.scaling_factor)
        )
    made.vae = vae.float().eval().requires_grad_(False)
    return made
