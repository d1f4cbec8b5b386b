"""Rectified flow: straight paths from noise to embeddings, walked in a few steps.

Liu et al. 2023, *Flow straight and fast*; Lipman et al. 2023, *Flow matching for generative
modeling*. The network predicts the velocity, which on a straight path is the same at all times.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phosphene.component import record_config
from phosphene.priors.learned import LearnedPrior, token_transformer

__all__ = ["FlowPrior"]

CLOCK = 1000.0  # the transformer's embedding of time was made for such numbers


class FlowPrior(LearnedPrior):
    """Walks from noise to clean tokens along predicted velocities.

    Parameters
    ----------
    dim : int
        Size of a token or of the pooled vector.
    n_tokens : int
        1 for pooled embeddings.
    layers, heads, head_dim : int
        Of the transformer.
    steps : int
    guidance_scale : float
        1 is no guidance.
    """

    name = "flow"

    @record_config
    def __init__(
        self,
        dim: int,
        n_tokens: int = 1,
        layers: int = 4,
        heads: int = 6,
        head_dim: int = 32,
        steps: int = 4,
        guidance_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.dim, self.n_tokens = dim, n_tokens
        self.steps, self.guidance_scale = steps, guidance_scale
        self.network = token_transformer(
            dim, n_tokens, heads=heads, head_dim=head_dim, layers=layers
        )

    def velocity(self, current: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Return where tokens (n, n_tokens, d) go, at times (n,) from 0 (noise) to 1 (clean)."""
        found: Tensor = self.network(
            current,
            (1 - times) * CLOCK,
            proj_embedding=condition.mean(1),
            encoder_hidden_states=condition,
        ).predicted_image_embedding
        return found

    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the squared error of the velocity; dropped conditions are zero."""
        n, device = len(truth), truth.device
        # Esser et al. 2024: the middle of the path is the hardest, and gets most of the steps.
        times = torch.randn(n, generator=generator, device=device).sigmoid()
        noise = torch.randn(truth.shape, generator=generator, device=device)
        share = times[:, None, None]
        current = share * truth + (1 - share) * noise
        kept = torch.rand(n, 1, 1, generator=generator, device=device) >= drop
        found = self.velocity(current, times, predicted * kept)
        return (found - (truth - noise)).square().mean()

    def denoise(
        self, noise: Tensor, condition: Tensor, more: Tensor, *, steps: int, guidance: float
    ) -> Tensor:
        current = noise
        for step in range(steps):
            times = torch.full((len(noise),), step / steps, device=noise.device)
            found = self.velocity(current, times, condition)
            if guidance != 1:
                free = self.velocity(current, times, torch.zeros_like(condition))
                found = free + guidance * (found - free)
            current = current + found / steps
        return current
