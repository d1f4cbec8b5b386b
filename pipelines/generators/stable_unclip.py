"""Stable unCLIP: Stable Diffusion 2.1 that was tuned to invert CLIP embeddings.

Ramesh et al. 2022 (unCLIP); Rombach et al. 2022 (latent diffusion). The library's pipeline takes
embeddings but cannot start from a picture; here it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.errors import UsageError
from phosphene.pipelines.generators.denoising import draw
from phosphene.pipelines.generators.expected import Wanted
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.pretrained import PretrainedGenerator
from phosphene.pipelines.generators.prompts import encode_prompts, prompt_rows

__all__ = ["StableUnclip"]


class StableUnclipOptions(PretrainedOptions):
    """Settings of Stable unCLIP.

    Attributes
    ----------
    noise_level : int
        Training time of the noise that is laid on the embedding; more noise, more freedom.
    """

    noise_level: int = 0


class StableUnclip(PretrainedGenerator):
    """Renders pooled embeddings, noised as in training."""

    name: ClassVar[str] = "stable-unclip"
    pipeline_class: ClassVar[str] = "StableUnCLIPImg2ImgPipeline"
    options_class: ClassVar[type[PretrainedOptions]] = StableUnclipOptions
    options: StableUnclipOptions

    @property
    def wanted(self) -> Wanted:
        return Wanted("pooled", int(self.unet.config.projection_class_embeddings_input_dim) // 2)

    @classmethod
    def encode_prompts(cls, pipeline: Any, options: PretrainedOptions) -> dict[str, Tensor]:
        return encode_prompts(
            pipeline, options.prompt, options.negative_prompt, keep_encoders=options.captions
        )

    def length(self) -> float | None:
        """Return the mean length that the pipeline's own statistics of embeddings imply."""
        if self.options.embedding_length is not None:
            return self.options.embedding_length
        known = self.pipeline.image_normalizer
        return float((known.mean.square() + known.std.square()).detach().sum().sqrt())

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        noised = self._noised(embedding, generators)
        n, guided = len(embedding), self.guided
        text = prompt_rows(self.given, "negative", "prompt", n, guided=guided)
        if not guided:
            return {"encoder_hidden_states": text, "class_labels": noised}
        return {
            "encoder_hidden_states": text,
            # In training, zeros stood in for a dropped embedding and its level.
            "class_labels": torch.cat([torch.zeros_like(noised), noised]),
        }

    def _noised(self, embedding: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return embeddings with noise on them, and beside them what tells its level (n, 2d)."""
        from diffusers.models.embeddings import get_timestep_embedding

        scheduler, known = self.pipeline.image_noising_scheduler, self.pipeline.image_normalizer
        level = self.options.noise_level
        if not 0 <= level < scheduler.config.num_train_timesteps:
            raise UsageError(
                f"a noise_level of {level}",
                expected=f"from 0 to {scheduler.config.num_train_timesteps - 1}",
            )
        levels = torch.full((len(embedding),), level, device=embedding.device)
        noise = draw(embedding.shape[1:], generators).to(embedding)
        known.to(embedding.device)
        noised = known.unscale(scheduler.add_noise(known.scale(embedding), noise, levels))
        told = get_timestep_embedding(
            levels, embedding.shape[-1], flip_sin_to_cos=True, downscale_freq_shift=0
        )
        return torch.cat([noised, told.to(noised)], dim=1)
