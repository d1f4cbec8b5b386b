"""Train the conditional UNet of :class:`LatentDiffusion` on latents and embedding tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phosphene.errors import InputError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion, predict_velocity
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train

__all__ = ["CONDITION_NOISE", "DROP", "Objective", "train_latent_diffusion"]

DROP = 0.1
CONDITION_NOISE = 0.5
"""Largest standard deviation of noise on the tokens, so that decoded tokens are no surprise."""
SNR_LIMIT = 5.0


def train_latent_diffusion(
    generator: LatentDiffusion,
    latents: Tensor,
    tokens: Tensor,
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int = 256,
) -> TrainingResult:
    """Train the network of ``generator`` in place; the last items are only watched.

    The network predicts velocity; errors are weighed by their clipped signal-to-noise ratio
    (Salimans and Ho 2022; Hang et al. 2023, *Efficient diffusion training via min-SNR*).

    Parameters
    ----------
    generator : LatentDiffusion
    latents : Tensor of shape (n, c, h, w)
        Standardised; half precision is enough.
    tokens : Tensor of shape (n, n_tokens, d)
    config : EngineConfig
    folder : Path
        For checkpoints.
    held_out : int
    """
    if len(latents) != len(tokens) or tuple(latents.shape[1:]) != generator.latents.shape:
        raise InputError(
            f"latents {tuple(latents.shape)} and tokens {tuple(tokens.shape)}",
            expected=f"as many of both, latents of shape {generator.latents.shape}",
        )
    n = len(latents) - held_out
    watched = {"latent": latents[n:], "token": tokens[n:]}
    objective = Objective(generator)

    def validate(trained: nn.Module) -> float:
        noise = torch.Generator(device=latents.device).manual_seed(0)
        return float(objective(trained, watched, noise, 1.0)["loss"])

    from diffusers.models.attention_processor import AttnProcessor

    generator.unet.to(memory_format=torch.channels_last)
    # Over a hundred tokens and less, plain products are faster than the fused kernel of a CPU.
    generator.unet.set_attn_processor(AttnProcessor())
    result = train(
        generator.unet,
        {"latent": latents[:n], "token": tokens[:n]},
        objective,
        config,
        folder=folder,
        validate=validate,
        label="generator",
    )
    generator.unet.load_state_dict(result.state)
    return result


class Objective:
    """Weighted velocity error at random times."""

    def __init__(self, generator: LatentDiffusion) -> None:
        from diffusers.training_utils import compute_snr

        self.scheduler = generator.scheduler
        times = torch.arange(self.scheduler.config.num_train_timesteps)
        self.snr = compute_snr(self.scheduler, times)

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], noise: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        clean, tokens = batch["latent"].float(), batch["token"].float()
        n, device = len(clean), clean.device
        times = torch.randint(len(self.snr), (n,), generator=noise, device=device)
        added = torch.randn(clean.shape, generator=noise, device=device)
        amount = CONDITION_NOISE * torch.rand(n, 1, 1, generator=noise, device=device)
        blur = torch.randn(tokens.shape, generator=noise, device=device)
        kept = torch.rand(n, 1, 1, generator=noise, device=device) >= DROP
        alpha, sigma = self._levels(times, clean)
        noisy = (alpha * clean + sigma * added).to(memory_format=torch.channels_last)
        velocity = alpha * added - sigma * clean
        found = predict_velocity(model, noisy, times, (tokens + amount * blur) * kept)
        snr = self.snr.to(device)[times]
        weight = snr.clamp(max=SNR_LIMIT) / (snr + 1)
        error = (found - velocity).square().mean(dim=(1, 2, 3))
        return {"loss": (weight * error).mean(), "velocity": error.mean()}

    def _levels(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        products = self.scheduler.alphas_cumprod.to(like)[times].view(-1, 1, 1, 1)
        return products.sqrt(), (1 - products).sqrt()
