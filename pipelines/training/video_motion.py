"""Train the layers over time of :class:`MotionModule` on moving scenes, the picture network frozen.

Guo et al. 2024 (AnimateDiff); Ge et al. 2023 (noise that frames share). What a decoder says of a
clip is imitated; keyframes are rendered from imitated embeddings, so that they are as wrong as
those that will be moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from phosphene.pipelines.generators.video.shared_noise import mixed_noise
from phosphene.pipelines.generators.video.warping import warp_keyframes
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.pipelines.training.imitated_decoding import imitate_flow, imitate_lowlevel, some
from phosphene.pipelines.training.latent_diffusion import DROP, SNR_LIMIT

__all__ = ["ClipObjective", "train_motion_module"]

Batch = Mapping[str, Tensor]

TRUE_SHARE = 0.25
"""Of clips whose keyframe and embedding are the true ones."""
KNOWN = 0.8
"""Of clips, each of both guesses of their frames."""
LEAST_SHARED = 0.7
"""Of the variance of noise; the most is 1."""
STEADY = 1.0
"""Weight of errors of the change from frame to frame, which are seen as flicker."""
WHOLE = 0.4
"""Of batches, those of whole windows: half as many frames take half the time."""
VALIDATIONS = 3  # draws of times, noise and guesses


def train_motion_module(
    generator: LatentDiffusion,
    motion: MotionModule,
    clips: Batch,
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
        ``latent`` (n, n_frames, c, h, w); ``flow`` (n, n_frames, 2, h', w') to the right and
        down, in picture widths per frame; of the middle frame ``token`` (n, n_tokens, d) and
        ``feature`` (n, f); ``told_token`` and ``told_feature`` as decoded, and ``drawn``
        (n, c, h, w), the keyframe that was rendered from these.
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
        streams = (
            torch.Generator(device=latents.device).manual_seed(k) for k in range(VALIDATIONS)
        )
        losses = [float(objective(trained, watched, noise, 1.0)["loss"]) for noise in streams]
        return sum(losses) / VALIDATIONS

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
    """Weighted velocity error over the frames of clips, at one time per clip."""

    def __init__(self, generator: LatentDiffusion) -> None:
        from diffusers.training_utils import compute_snr

        self.generator, self.scheduler = generator, generator.scheduler
        times = torch.arange(self.scheduler.config.num_train_timesteps)
        self.snr = compute_snr(self.scheduler, times)

    def __call__(
        self, model: nn.Module, batch: Batch, noise: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        motion: Any = getattr(model, "module", model)
        total = batch["latent"].shape[1]
        rows = _window(total, motion.window, noise)
        clean = batch["latent"][:, rows].float()
        n, frames = clean.shape[:2]
        length = (rows[1] - rows[0]) * frames
        times = torch.randint(len(self.snr), (n,), generator=noise, device=clean.device)
        added = _shared(clean, noise)
        products = self.scheduler.alphas_cumprod.to(clean)[times].view(-1, 1, 1, 1, 1)
        alpha, sigma = products.sqrt(), (1 - products).sqrt()
        noisy = (alpha * clean + sigma * added).flatten(0, 1)
        decoded, guesses = _told(batch, clean, rows, length, noise)
        with moving(self.generator.unet, motion, frames, guesses.maps(noisy)):
            found = predict_velocity(
                self.generator.unet,
                noisy.to(memory_format=torch.channels_last),
                repeat_frames(times, frames),
                decoded,
            )
        error = found.unflatten(0, (n, frames)).float() - (alpha * added - sigma * clean)
        velocity = error.square().mean((1, 2, 3, 4))
        change = error.diff(dim=1).square().mean((1, 2, 3, 4))
        snr = self.snr.to(clean)[times]
        weight = snr.clamp(max=SNR_LIMIT) / (snr + 1)
        loss = (weight * (velocity + STEADY * change)).mean()
        return {"loss": loss, "velocity": velocity.mean(), "change": change.mean()}


def _window(total: int, window: int, noise: torch.Generator) -> list[int]:
    """Return frames around the middle one: as many as know of each other, or half as many.

    Half of these shorter clips leave out every second frame, so that motion has many speeds.
    """
    drawn = float(torch.rand((), generator=noise, device=noise.device))
    count = window if drawn < WHOLE or window < 4 else window // 2
    stride = 2 if count < window and drawn > (1 + WHOLE) / 2 else 1
    first = total // 2 - count * stride // 2
    return list(range(first, first + count * stride, stride))


def _shared(clean: Tensor, noise: torch.Generator) -> Tensor:
    """Return noise like clips (n, n_frames, c, h, w), of which frames share much."""

    def normal(frames: int) -> Tensor:
        shape = (len(clean), frames, *clean.shape[2:])
        return torch.randn(shape, generator=noise, device=clean.device)

    share = torch.rand((len(clean), 1, 1, 1, 1), generator=noise, device=clean.device)
    share = LEAST_SHARED + (1 - LEAST_SHARED) * share
    return mixed_noise(normal(1), normal(clean.shape[1]), share)


def _told(
    batch: Batch, clean: Tensor, rows: list[int], length: float, noise: torch.Generator
) -> tuple[Decoded, Guesses]:
    """Return what is said of clips, one row per frame; nothing at all of some of them."""
    n, frames = clean.shape[:2]
    true, kept = (
        torch.rand(n, generator=noise, device=clean.device) < share
        for share in (TRUE_SHARE, 1 - DROP)
    )
    middle = batch["latent"][:, batch["latent"].shape[1] // 2]

    def either(told: Tensor, truth: Tensor) -> Tensor:
        return torch.where(true.view(-1, *[1] * (told.ndim - 1)), truth, told).float()

    key = either(batch["drawn"], middle)
    decoded = Decoded(
        either(batch["told_token"], batch["token"]), either(batch["told_feature"], batch["feature"])
    ).times(kept.float())
    flow = imitate_flow(batch["flow"][:, rows].float(), noise)
    moved = warp_keyframes(key, flow, seconds=length, n_frames=frames)
    here = kept.float().view(-1, 1, 1, 1, 1)
    lowlevel, moved = (
        (here * some(part, KNOWN, noise)).flatten(0, 1)
        for part in (imitate_lowlevel(clean, noise), moved)
    )
    assert decoded.features is not None
    return (
        Decoded(repeat_frames(decoded.tokens, frames), repeat_frames(decoded.features, frames)),
        Guesses(lowlevel, moved),
    )
