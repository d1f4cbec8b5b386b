"""The prior of ATM: a U-shaped perceptron over one pooled embedding.

Li et al. 2024, *Visual decoding and reconstruction via EEG embeddings with guided diffusion*. It
predicts noise; time and condition are added at every level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.errors import UsageError
from phosphene.priors.learned import LearnedPrior, clean_of_noise

__all__ = ["MLPUNetPrior"]

TRAINING_STEPS = 1000
FIRST_BETA, LAST_BETA = 1e-4, 0.02


class MLPUNetPrior(LearnedPrior):
    """Predicts the noise in a pooled embedding.

    Parameters
    ----------
    dim : int
        1024 for ViT-H.
    hidden : sequence of int
        Widths of the levels, the widest first.
    time_dim : int
        Of the embedding of time.
    dropout : float
        After every level.
    steps : int
    guidance_scale : float
        1 is no guidance.
    faithful : bool
        Sample as ATM does: ancestrally (DDPM, a linear schedule, from time 980 for 50 steps), clean
        embeddings cut to -1..1, and no offset of the conditions' layers where there is none.
    """

    name = "mlp-unet"
    block = 64

    @record_config
    def __init__(
        self,
        dim: int = 1024,
        hidden: Sequence[int] = (1024, 512, 256, 128, 64),
        time_dim: int = 512,
        dropout: float = 0.0,
        steps: int = 50,
        guidance_scale: float = 5.0,
        faithful: bool = False,
    ) -> None:
        super().__init__()
        from diffusers import DDIMScheduler
        from diffusers.models.embeddings import TimestepEmbedding, Timesteps

        if len(hidden) < 2:
            raise UsageError(f"`hidden` is {list(hidden)}", expected="two levels at least")
        self.dim, self.n_tokens = dim, 1
        self.steps, self.guidance_scale, self.faithful = steps, guidance_scale, faithful
        # Down through the levels, and up again.
        widths = [*hidden, *reversed(hidden[:-1])]
        self.levels = len(hidden) - 1
        self.first = nn.Sequential(nn.Linear(dim, hidden[0]), nn.LayerNorm(hidden[0]), nn.SiLU())
        self.clock = Timesteps(time_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.times = nn.ModuleList(TimestepEmbedding(time_dim, width) for width in widths[:-1])
        self.conditions = nn.ModuleList(nn.Linear(dim, width) for width in widths[:-1])
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.SiLU(), nn.Dropout(dropout))
            for a, b in pairwise(widths)
        )
        self.last = nn.Linear(hidden[0], dim)
        self.scheduler = DDIMScheduler(
            num_train_timesteps=TRAINING_STEPS,
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    def predict(self, noisy: Tensor, times: Tensor, condition: Tensor | None) -> Tensor:
        """Return the noise (n, d) the network sees in noisy embeddings.

        Without a condition nothing is added for it, not even the offsets of its layers.
        """
        clock = self.clock(times).to(noisy)
        values = self.first(noisy)
        kept = []
        parts = zip(self.times, self.conditions, self.layers, strict=True)
        for number, (time, told, layer) in enumerate(parts):
            if number < self.levels:
                kept.append(values)
            values = values + time(clock)
            values = layer(values if condition is None else values + told(condition))
            if number >= self.levels:
                values = values + kept.pop()
        found: Tensor = self.last(values)
        return found

    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the squared error of the noise; dropped conditions are zero."""
        n, device = len(truth), truth.device
        times = torch.randint(TRAINING_STEPS, (n,), generator=generator, device=device)
        noise = torch.randn(truth.shape, generator=generator, device=device)
        noisy = self.scheduler.add_noise(truth, noise, times)[:, 0]
        kept = torch.rand(n, 1, generator=generator, device=device) >= drop
        return (self.predict(noisy, times, predicted[:, 0] * kept) - noise[:, 0]).square().mean()

    def denoise(
        self, noise: Tensor, condition: Tensor, more: Tensor, *, steps: int, guidance: float
    ) -> Tensor:
        if self.faithful:
            return self._as_published(noise[:, 0], condition[:, 0], more[:, :, 0], steps, guidance)
        scheduler: Any = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=noise.device)
        current, told = noise[:, 0], condition[:, 0]
        for time in scheduler.timesteps:
            times = time.expand(len(current))
            found = self.predict(current, times, told)
            if guidance != 1:
                free = self.predict(current, times, torch.zeros_like(told))
                found = free + guidance * (found - free)
            clean = clean_of_noise(current, found, scheduler.alphas_cumprod[int(time)])
            current = scheduler.step(clean, time, current).prev_sample
        return current[:, None]

    def step_noises(self, steps: int) -> int:
        return len(_leading_times(steps)) - 1 if self.faithful else 0

    def _as_published(
        self, current: Tensor, told: Tensor, more: Tensor, steps: int, guidance: float
    ) -> Tensor:
        """Sample ancestrally (Ho et al. 2020), clean embeddings cut to -1..1."""
        betas = torch.linspace(FIRST_BETA, LAST_BETA, TRAINING_STEPS, dtype=torch.float32)
        alphas = (1 - betas).cumprod(0)
        pace = TRAINING_STEPS // steps
        for number, time in enumerate(_leading_times(steps)):
            times = torch.full((len(current),), float(time), device=current.device)
            found = self.predict(current, times, told)
            if guidance != 1:
                free = self.predict(current, times, None)
                found = free + guidance * (found - free)
            now = alphas[time].to(current)
            then = alphas[time - pace].to(current) if time >= pace else torch.ones_like(now)
            clean = ((current - (1 - now).sqrt() * found) / now.sqrt()).clamp(-1, 1)
            kept = now / then
            mean = then.sqrt() * (1 - kept) / (1 - now) * clean
            current = mean + kept.sqrt() * (1 - then) / (1 - now) * current
            if time > 0:
                variance = ((1 - then) / (1 - now) * (1 - kept)).clamp_min(1e-20)
                current = current + variance.sqrt() * more[:, number]
        return current[:, None]


def _leading_times(steps: int) -> list[int]:
    """Return training times, each the first of an equal part, the noisiest first."""
    pace = TRAINING_STEPS // steps
    return [pace * step for step in reversed(range(steps))]
