"""Train the conditional UNet of :class:`LatentDiffusion`, first on pictures, then on brains.

What a linear decoder predicts is shrunken and wrong in its own way, and a network that has only
seen embeddings of pictures renders it as a blur. The second training shows it predictions of
training pictures by fits that had left these pictures out, beside what was shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phosphene.errors import InputError
from phosphene.pipelines.generators.latent_diffusion import (
    Decoded,
    LatentDiffusion,
    extend_unet,
    predict_velocity,
)
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.types import BrainEmbedding

__all__ = [
    "CONDITION_NOISE",
    "DROP",
    "Objective",
    "train_latent_diffusion",
    "tune_latent_diffusion",
]

Batch = Mapping[str, Tensor]

DROP = 0.1
CONDITION_NOISE = 0.5
"""Largest standard deviation of noise on the tokens, so that decoded tokens are no surprise."""
TRUE_SHARE = 0.15
"""Of items that the second training shows with the embedding of the picture itself."""
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
    data = {"latent": latents, "token": tokens}
    return _train(generator, data, blurred_tokens, config, folder=folder, held_out=held_out)


def tune_latent_diffusion(
    generator: LatentDiffusion,
    truth: BrainEmbedding,
    decoded: BrainEmbedding,
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int = 256,
) -> TrainingResult:
    """Go on with the training of ``generator`` on what was decoded from brains.

    Its network also learns to read the predicted features of a second network.

    Parameters
    ----------
    generator : LatentDiffusion
    truth : BrainEmbedding
        Tokens, latents and features of the pictures that were shown, one item for each time a
        subject saw one.
    decoded : BrainEmbedding
        Tokens and features that were predicted of these items by fits without their pictures.
    config : EngineConfig
    folder : Path
        For checkpoints.
    held_out : int
        Last items, which are only watched.
    """
    parts = {
        "latent": truth.lowlevel,
        "token": _as_tokens(truth),
        "feature": truth.features,
        "decoded token": _as_tokens(decoded),
        "decoded feature": decoded.features,
    }
    data = {name: part.half() for name, part in parts.items() if part is not None}
    if len(data) < len(parts):
        raise InputError(
            "embeddings without latents or features",
            expected="tokens and features, predicted and true, and true latents",
        )
    if generator.unet.config.projection_class_embeddings_input_dim is None:
        generator.unet = extend_unet(generator.unet, data["feature"].shape[1])
    return _train(generator, data, decoded_or_true, config, folder=folder, held_out=held_out)


def _as_tokens(embedding: BrainEmbedding) -> Tensor:
    """Return tokens (n, n_tokens, d); a pooled embedding is one token, as it is rendered."""
    return embedding.main if embedding.main.ndim == 3 else embedding.main[:, None]


def _train(
    generator: LatentDiffusion,
    data: dict[str, Tensor],
    condition: Callable[[Batch, torch.Generator], Decoded],
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int,
) -> TrainingResult:
    latents = data["latent"]
    if len({len(each) for each in data.values()}) > 1 or (
        tuple(latents.shape[1:]) != generator.latents.shape
    ):
        shapes = ", ".join(f"{name}s {tuple(each.shape)}" for name, each in data.items())
        raise InputError(
            shapes, expected=f"as many of each, latents of shape {generator.latents.shape}"
        )
    n = len(latents) - held_out
    watched = {name: each[n:] for name, each in data.items()}
    objective = Objective(generator, condition)

    def validate(trained: nn.Module) -> float:
        device = next(trained.parameters()).device
        noise = torch.Generator(device=device).manual_seed(0)
        shown = {name: each.to(device) for name, each in watched.items()}
        return float(objective(trained, shown, noise, 1.0)["loss"])

    from diffusers.models.attention_processor import AttnProcessor

    generator.unet.to(memory_format=torch.channels_last)
    # Over a hundred tokens and less, plain products are faster than the fused kernel of a CPU.
    generator.unet.set_attn_processor(AttnProcessor())
    result = train(
        generator.unet,
        {name: each[:n] for name, each in data.items()},
        objective,
        config,
        folder=folder,
        validate=validate,
        label="generator",
    )
    generator.unet.load_state_dict(result.state)
    generator.to(generator.unet.device)  # where it was trained, the autoencoder too
    return result


def blurred_tokens(batch: Batch, noise: torch.Generator) -> Decoded:
    """Return the tokens of a batch, each item's with its own amount of noise."""
    tokens = batch["token"].float()
    amount = torch.rand(len(tokens), 1, 1, generator=noise, device=tokens.device)
    blur = torch.randn(tokens.shape, generator=noise, device=tokens.device)
    return Decoded(tokens + CONDITION_NOISE * amount * blur)


def decoded_or_true(batch: Batch, noise: torch.Generator) -> Decoded:
    """Return the predictions of most items, and the truth of the others."""
    tokens = batch["decoded token"].float()
    true = torch.rand(len(tokens), generator=noise, device=tokens.device) < TRUE_SHARE
    return Decoded(
        torch.where(true[:, None, None], batch["token"].float(), tokens),
        torch.where(true[:, None], batch["feature"].float(), batch["decoded feature"].float()),
    )


class Objective:
    """Weighted velocity error at random times, some items without any condition."""

    def __init__(
        self,
        generator: LatentDiffusion,
        condition: Callable[[Batch, torch.Generator], Decoded] = blurred_tokens,
    ) -> None:
        from diffusers.training_utils import compute_snr

        self.condition, self.scheduler = condition, generator.scheduler
        times = torch.arange(self.scheduler.config.num_train_timesteps)
        self.snr = compute_snr(self.scheduler, times)

    def __call__(
        self, model: nn.Module, batch: Batch, noise: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        clean = batch["latent"].float()
        n, device = len(clean), clean.device
        times = torch.randint(len(self.snr), (n,), generator=noise, device=device)
        added = torch.randn(clean.shape, generator=noise, device=device)
        kept = (torch.rand(n, generator=noise, device=device) >= DROP).float()
        condition = self.condition(batch, noise).times(kept)
        alpha, sigma = self._levels(times, clean)
        noisy = (alpha * clean + sigma * added).to(memory_format=torch.channels_last)
        velocity = alpha * added - sigma * clean
        found = predict_velocity(model, noisy, times, condition)
        snr = self.snr.to(device)[times]
        weight = snr.clamp(max=SNR_LIMIT) / (snr + 1)
        error = (found - velocity).square().mean(dim=(1, 2, 3))
        return {"loss": (weight * error).mean(), "velocity": error.mean()}

    def _levels(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        products = self.scheduler.alphas_cumprod.to(like)[times].view(-1, 1, 1, 1)
        return products.sqrt(), (1 - products).sqrt()
