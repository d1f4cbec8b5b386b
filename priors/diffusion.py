"""Diffusion prior over tokens or pooled embeddings, on diffusers' transformer and schedulers.

Ramesh et al. 2022, *Hierarchical text-conditional image generation with CLIP latents*: the
network predicts the clean embedding (x0) from a noisy one and from the condition, here what a
brain encoder predicted. Lu et al. 2022 (DPM-Solver++).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from phosphene.component import record_config
from phosphene.errors import check_option
from phosphene.priors.learned import LearnedPrior, clean_of_noise, token_transformer

__all__ = ["DiffusionPrior"]

TRAINING_STEPS = 1000


class DiffusionPrior(LearnedPrior):
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
    prediction : {"sample", "epsilon"}
        What the network predicts: the clean embedding, which serves from a single step on, or
        the noise in it, which says little where there is nothing but noise and takes ten steps.
    solver : {"ddim", "dpm-solver"}
        Of first order, or of second order with memory of the last step.
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
        prediction: Literal["sample", "epsilon"] = "sample",
        solver: Literal["ddim", "dpm-solver"] = "ddim",
    ) -> None:
        super().__init__()
        from diffusers import DDIMScheduler

        check_option("prediction", prediction, ("sample", "epsilon"))
        check_option("solver", solver, ("ddim", "dpm-solver"))
        self.prediction, self.solver = prediction, solver
        self.dim, self.n_tokens = dim, n_tokens
        self.steps, self.guidance_scale = steps, guidance_scale
        self.network = token_transformer(
            dim, n_tokens, heads=heads, head_dim=head_dim, layers=layers
        )
        self.scheduler = DDIMScheduler(
            num_train_timesteps=TRAINING_STEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            clip_sample=False,
            timestep_spacing="trailing",
        )

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """Return what the network sees in noisy tokens (n, n_tokens, d): clean ones, or noise."""
        found: Tensor = self.network(
            noisy, timesteps, proj_embedding=condition.mean(1), encoder_hidden_states=condition
        ).predicted_image_embedding
        return found

    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the squared error at random times, conditions dropped at rate ``drop``."""
        n, device = len(truth), truth.device
        times = torch.randint(TRAINING_STEPS, (n,), generator=generator, device=device)
        noise = torch.randn(truth.shape, generator=generator, device=device)
        noisy = self.scheduler.add_noise(truth, noise, times)
        kept = torch.rand(n, 1, 1, generator=generator, device=device) >= drop
        wanted = truth if self.prediction == "sample" else noise
        return (self.predict(noisy, times, predicted * kept) - wanted).square().mean()

    def denoise(
        self, noise: Tensor, condition: Tensor, more: Tensor, *, steps: int, guidance: float
    ) -> Tensor:
        current = noise
        scheduler = self._sampler()
        scheduler.set_timesteps(steps, device=condition.device)
        for time in scheduler.timesteps:
            times = time.expand(len(current))
            found = self.predict(current, times, condition)
            if guidance != 1:
                free = self.predict(current, times, torch.zeros_like(condition))
                found = free + guidance * (found - free)
            if self.prediction == "epsilon":
                found = clean_of_noise(current, found, self.scheduler.alphas_cumprod[int(time)])
            current = scheduler.step(found, time, current).prev_sample
        return current

    def _sampler(self) -> Any:
        if self.solver == "ddim":
            return type(self.scheduler).from_config(self.scheduler.config)
        from diffusers import DPMSolverMultistepScheduler

        return DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            timestep_spacing="trailing",
            algorithm_type="dpmsolver++",
            final_sigmas_type="zero",
            lower_order_final=True,
        )
