"""Train the layers over time of :class:`MotionModule` on moving scenes, the picture network frozen.

Guo et al. 2024 (AnimateDiff). What a decoder gives of each frame is imitated: values that are
shrunken by as much as they are wrong, as a regression's are, wrong in a way that lasts, blurred in
time, of a keyframe that moves less than the scene does, or nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.errors import InputError
from phosphene.pipelines.generators.latent_diffusion import (
    Decoded,
    LatentDiffusion,
    predict_velocity,
)
from phosphene.pipelines.generators.video.motion_module import (
    Guesses,
    MotionModule,
    moving,
    repeat_frames,
)
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.pipelines.training.latent_diffusion import DROP, SNR_LIMIT

__all__ = ["ClipObjective", "imitate_decoding", "train_motion_module"]

Batch = Mapping[str, Tensor]

UNKNOWN = 0.3
"""Share of clips without one of both guesses of their frames."""
LEAST_EXPLAINED = 0.15
LASTING = 0.5
"""Share of the error of latents that is the same in all frames of a clip."""


def train_motion_module(
    generator: LatentDiffusion,
    motion: MotionModule,
    clips: Mapping[str, Tensor],
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int,
) -> TrainingResult:
    """Train ``motion`` in place; the last clips are only watched.

    Parameters
    ----------
    generator : LatentDiffusion
        Its networks are frozen.
    motion : MotionModule
    clips : mapping of str to Tensor
        ``latent`` (n, n_frames, c, h, w), ``token`` (n, n_keys, n_tokens, d) and, for networks
        that read them, ``feature`` (n, n_keys, f) of keyframes spread evenly over the frames.
    config : EngineConfig
    folder : Path
        For checkpoints.
    held_out : int
    """
    motion.check(generator.unet)
    latents = clips["latent"]
    if tuple(latents.shape[2:]) != generator.latents.shape or latents.shape[1] < motion.window:
        raise InputError(
            f"latents of clips of shape {tuple(latents.shape[1:])}",
            expected=f"{motion.window} frames and more of {generator.latents.shape}",
        )
    from diffusers.models.attention_processor import AttnProcessor

    unet = generator.unet.eval().requires_grad_(False)
    unet.to(memory_format=torch.channels_last)
    # Over a hundred tokens and less, plain products are faster than the fused kernel of a CPU.
    unet.set_attn_processor(AttnProcessor())
    objective = ClipObjective(generator)
    n = len(latents) - held_out
    watched = {name: each[n:] for name, each in clips.items()}

    def validate(trained: nn.Module) -> float:
        noise = torch.Generator(device=latents.device).manual_seed(0)
        return float(objective(trained, watched, noise, 1.0)["loss"])

    result = train(
        motion,
        {name: each[:n] for name, each in clips.items()},
        objective,
        config,
        folder=folder,
        validate=validate,
        label="motion",
    )
    motion.load_state_dict(result.state)
    return result


class ClipObjective:
    """Weighted velocity error over the frames of random windows, at one time per clip."""

    def __init__(self, generator: LatentDiffusion) -> None:
        from diffusers.training_utils import compute_snr

        self.generator, self.scheduler = generator, generator.scheduler
        times = torch.arange(self.scheduler.config.num_train_timesteps)
        self.snr = compute_snr(self.scheduler, times)

    def __call__(
        self, model: nn.Module, batch: Batch, noise: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        motion: Any = getattr(model, "module", model)
        clean, token, feature = _windows(batch, motion.window, noise)
        n, frames = clean.shape[:2]
        times = torch.randint(len(self.snr), (n,), generator=noise, device=clean.device)
        added = torch.randn(clean.shape, generator=noise, device=clean.device)
        products = self.scheduler.alphas_cumprod.to(clean)[times].view(-1, 1, 1, 1, 1)
        alpha, sigma = products.sqrt(), (1 - products).sqrt()
        noisy, velocity = alpha * clean + sigma * added, alpha * added - sigma * clean
        rows = noisy.flatten(0, 1)
        decoded, guesses = imitate_decoding(clean, token, feature, noise)
        with moving(self.generator.unet, motion, frames, guesses.maps(rows)):
            found = predict_velocity(
                self.generator.unet,
                rows.to(memory_format=torch.channels_last),
                repeat_frames(times, frames),
                decoded,
            )
        snr = self.snr.to(clean)[times]
        weight = snr.clamp(max=SNR_LIMIT) / (snr + 1)
        error = (found.unflatten(0, (n, frames)).float() - velocity).square().mean((1, 2, 3, 4))
        return {"loss": (weight * error).mean(), "velocity": error.mean()}


def _windows(
    batch: Batch, window: int, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return frames (n, window, c, h, w) of each clip, and what is known of a keyframe in them.

    Frames follow one another, or every second one is left out, so that motion has many speeds.
    """
    latents, tokens = batch["latent"], batch["token"]
    n, total = latents.shape[:2]
    device = latents.device

    def draw(most: Tensor) -> Tensor:
        share = torch.rand(n, generator=noise, device=device)
        return (share * (most + 1)).long().clamp(max=most)

    stride = 1 + draw(torch.full((n,), 1 if total >= 2 * window - 1 else 0, device=device))
    first = draw(total - 1 - (window - 1) * stride)
    rows = first[:, None] + stride[:, None] * torch.arange(window, device=device)
    items = torch.arange(n, device=device)
    apart = total // tokens.shape[1]
    key = (rows[items, draw(torch.full((n,), window - 1, device=device))] // apart).clamp(
        max=tokens.shape[1] - 1
    )
    feature = batch["feature"][items, key].float() if "feature" in batch else None
    return latents[items[:, None], rows].float(), tokens[items, key].float(), feature


def imitate_decoding(
    clean: Tensor, token: Tensor, feature: Tensor | None, noise: torch.Generator
) -> tuple[Decoded, Guesses]:
    """Return what a decoder could have said of clips, one row per frame.

    A share r of the variance is explained: r (x + e) with an error e of variance 1 / r - 1, the
    best guess that a linear decoder makes.

    Parameters
    ----------
    clean : Tensor of shape (n, n_frames, c, h, w)
        Standardised latents.
    token : Tensor of shape (n, n_tokens, d)
        Of a keyframe.
    feature : Tensor of shape (n, f), optional
    noise : torch.Generator
    """
    n, frames = clean.shape[:2]

    def uniform(axes: int = 1, least: float = 0.0) -> Tensor:
        drawn = torch.rand(n, generator=noise, device=clean.device)
        return (least + (1 - least) * drawn).view(-1, *[1] * (axes - 1))

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=noise, device=clean.device)

    def guessed(values: Tensor, error: Tensor) -> Tensor:
        share = uniform(values.ndim, LEAST_EXPLAINED)
        return share * (values + (1 / share - 1).sqrt() * error)

    def known() -> Tensor:
        return (uniform(5) >= UNKNOWN).float() * kept.view(-1, 1, 1, 1, 1)

    kept = (uniform() >= DROP).float()
    lasting = normal((n, 1, *clean.shape[2:]))
    # The response to brain activity is slow: part of what is said of a frame is of its neighbours.
    slow = uniform(5)
    seen = (1 - slow) * clean + slow * _over_time(clean)
    error = LASTING**0.5 * lasting + (1 - LASTING) ** 0.5 * normal(tuple(clean.shape))
    lowlevel = guessed(seen, error) * known()
    # Decoded flow is shrunken: the keyframe moves less than the scene, its errors move with it.
    place = (uniform() * frames).long().clamp(max=frames - 1)
    key = clean[torch.arange(n, device=clean.device), place][:, None]
    still = uniform(5)
    moved = guessed((1 - still) * clean + still * key, normal((n, 1, *clean.shape[2:]))) * known()
    told = Decoded(
        guessed(token, normal(tuple(token.shape))),
        None if feature is None else guessed(feature, normal(tuple(feature.shape))),
    ).times(kept)
    decoded = Decoded(
        repeat_frames(told.tokens, frames),
        None if told.features is None else repeat_frames(told.features, frames),
    )
    return decoded, Guesses(lowlevel.flatten(0, 1), moved.flatten(0, 1))


def _over_time(clips: Tensor) -> Tensor:
    """Return the running mean of five frames, (n, n_frames, ...)."""
    flat = clips.flatten(2).transpose(1, 2)
    padded = F.pad(flat, (2, 2), mode="replicate")
    return F.avg_pool1d(padded, 5, stride=1).transpose(1, 2).reshape(clips.shape)
