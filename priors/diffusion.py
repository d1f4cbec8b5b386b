"""Diffusion prior over tokens or pooled embeddings, on diffusers' transformer and schedulers.

Ramesh et al. 2022, *Hierarchical text-conditional image generation with CLIP latents*: the
network predicts the clean embedding (x0) from a noisy one and from the condition, here what a
brain encoder predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.batches import in_equal_blocks
from phosphene.component import record_config
from phosphene.errors import InputError, UsageError
from phosphene.priors.base import Prior
from phosphene.types import BrainEmbedding

__all__ = ["DiffusionPrior"]

TRAINING_STEPS = 1000
BLOCK = 16  # items of the network at a time


class DiffusionPrior(nn.Module, Prior):
    """Samples clean embeddings given predicted ones.

    Parameters
    ----------
    dim : int
        Size of a token or of the pooled vector.
    n_tokens : int
        1 for pooled embeddings.
    layers, heads, head_dim : int
        Of the transformer.
    steps : int
        Network calls per item by default (twice as many rows with guidance).
    guidance_scale : float
        1 is no guidance.
    """

    name = "diffusion"

    @record_config
    def __init__(
        self,
        dim: int,
        n_tokens: int = 1,
        layers: int = 4,
        heads: int = 6,
        head_dim: int = 32,
        steps: int = 8,
        guidance_scale: float = 1.0,
    ) -> None:
        super().__init__()
        from diffusers import DDIMScheduler, PriorTransformer

        self.dim, self.n_tokens = dim, n_tokens
        self.steps, self.guidance_scale = steps, guidance_scale
        self.network = PriorTransformer(
            num_attention_heads=heads,
            attention_head_dim=head_dim,
            num_layers=layers,
            embedding_dim=dim,
            # Condition and noisy tokens both have places; pooled condition and time beside them.
            num_embeddings=2 * n_tokens,
            additional_embeddings=2,
            added_emb_type=None,
        )
        # Moments that diffusers keeps for post-processing; targets here are standardised.
        self.network.clip_mean.requires_grad_(False)
        self.network.clip_std.requires_grad_(False)
        self.scheduler = DDIMScheduler(
            num_train_timesteps=TRAINING_STEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return the clean tokens (n, n_tokens, d) the network sees behind noisy ones."""
        found: Tensor = self.network(
            noisy, timesteps, proj_embedding=condition.mean(1), encoder_hidden_states=condition
        ).predicted_image_embedding
        return found

    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the squared error of x0 at random times, conditions dropped at rate ``drop``."""
        n, device = len(truth), truth.device
        times = torch.randint(TRAINING_STEPS, (n,), generator=generator, device=device)
        noise = torch.randn(truth.shape, generator=generator, device=device)
        noisy = self.scheduler.add_noise(truth, noise, times)
        kept = torch.rand(n, 1, 1, generator=generator, device=device) >= drop
        return (self.predict(noisy, times, predicted * kept) - truth).square().mean()

    @torch.no_grad()
    def sample(
        self,
        embedding: BrainEmbedding,
        *,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> BrainEmbedding:
        self.check(embedding, generators)
        self.eval()
        main = embedding.main
        condition = main.reshape(len(main), -1, main.shape[-1]).to(self.network.dtype)
        if condition.shape[1:] != (self.n_tokens, self.dim):
            raise InputError(
                f"embeddings of {condition.shape[1]} tokens of {condition.shape[2]} numbers",
                expected=f"{self.n_tokens} of {self.dim}, as the prior was trained on",
            )
        steps = self.steps if num_inference_steps is None else num_inference_steps
        guidance = self.guidance_scale if guidance_scale is None else guidance_scale
        if steps < 1:
            raise UsageError(f"{steps} steps of the diffusion prior", expected="at least 1")
        # Noise is drawn item by item, and where the generator lives.
        noise = [
            torch.randn(condition.shape[1:], generator=one, device=one.device) for one in generators
        ]
        clean = in_equal_blocks(
            lambda current, wanted: self._denoise(current, wanted, steps, guidance),
            torch.stack([one.to(condition) for one in noise]),
            condition,
            size=BLOCK,
        ).reshape(main.shape)
        if embedding.tokens is not None:
            return replace(embedding, tokens=clean)
        return replace(embedding, pooled=clean)

    def _denoise(self, current: Tensor, condition: Tensor, steps: int, guidance: float) -> Tensor:
        scheduler: Any = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=condition.device)
        for time in scheduler.timesteps:
            times = time.expand(len(current))
            clean = self.predict(current, times, condition)
            if guidance != 1:
                free = self.predict(current, times, torch.zeros_like(condition))
                clean = free + guidance * (clean - free)
            current = scheduler.step(clean, time, current).prev_sample
        return current
