"""LTX-Video, image to video: a small fast flow transformer over strongly compressed latents.

HaCohen et al. 2024, *LTX-Video: realtime video latent diffusion*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from phosphene.errors import InputError
from phosphene.pipelines.generators.video.published import PublishedVideo
from phosphene.pipelines.generators.video.rendering import Block, Predict, guided

__all__ = ["LTX"]

WORDS = 128


class LTX(PublishedVideo):
    """The keyframe is the first latent frame, which is never noisy; the others are denoised."""

    name: ClassVar[str] = "ltx"
    pipeline_class: ClassVar[str] = "LTXImageToVideoPipeline"

    def __init__(self, pipeline: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(pipeline, *arguments, **named)
        if self.vae.config.timestep_conditioning:
            raise InputError(
                "an LTX decoder that is told a time",
                expected="one of the first release (0.9.0), which is not",
                remedy="name the folder of that release",
            )
        self._first: Tensor | None = None

    @classmethod
    def encode_words(
        cls, pipeline: Any, texts: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        prompt, mask, _, _ = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, device=device, max_sequence_length=WORDS
        )
        return {"prompt": prompt.float(), "mask": mask}

    def whole_frames(self, frames: int) -> int:
        step = int(self.pipeline.vae_temporal_compression_ratio)
        return max(-(-(frames - 1) // step), 1) * step + 1

    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        pipe = self.pipeline
        side = int(pipe.vae_spatial_compression_ratio)
        return (
            int(self.network.config.in_channels),
            (frames - 1) // int(pipe.vae_temporal_compression_ratio) + 1,
            self.options.height // side,
            self.options.width // side,
        )

    def tokens_per_frame(self) -> int:
        _, _, height, width = self.latent_shape(1)
        patch = int(self.pipeline.transformer_spatial_patch_size)
        return (height // patch) * (width // patch)

    def spacing(self, latents: Tensor, steps: int) -> dict[str, Any]:
        from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift

        config = self.scheduler.config
        found: dict[str, Any] = {"sigmas": np.linspace(1.0, 1 / steps, steps)}
        length = int(np.prod(latents.shape[2:]))
        if config.get("use_dynamic_shifting"):
            found["mu"] = calculate_shift(
                length,
                config.get("base_image_seq_len", 256),
                config.get("max_image_seq_len", 4096),
                config.get("base_shift", 0.5),
                config.get("max_shift", 1.15),
            )
        return found

    def encode(self, frames: Tensor) -> Tensor:
        found = self.vae.encode(frames).latent_dist.mode()
        normalised: Tensor = self.pipeline._normalize_latents(
            found, self.vae.latents_mean, self.vae.latents_std
        )
        return normalised

    def decode(self, latents: Tensor) -> Tensor:
        plain = self.pipeline._denormalize_latents(
            latents, self.vae.latents_mean, self.vae.latents_std, self.vae.config.scaling_factor
        )
        shown = self.vae.decode(plain, None).sample
        frames: Tensor = (shown[0].transpose(0, 1).cpu() / 2 + 0.5).clamp(0, 1)
        return frames

    def fixed(self, latents: Tensor, made: Tensor) -> Tensor:
        assert self._first is not None
        return torch.cat([self._first.to(made), made[:, :, 1:]], dim=2)

    def prepare(self, block: Block, noise: Tensor) -> Predict:
        pipe, dtype = self.pipeline, self.network.dtype
        _, _, frames, height, width = noise.shape
        self._first = torch.cat(
            [self.encode((one * 2 - 1)[None, :, None]).float() for one in block.picture]
        )
        patches = (pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size)
        known = torch.zeros_like(noise[:, :1])
        known[:, :, 0] = 1
        unknown = 1 - pipe._pack_latents(known, *patches).squeeze(-1)
        scale = (
            pipe.vae_temporal_compression_ratio / block.rate,
            pipe.vae_spatial_compression_ratio,
            pipe.vae_spatial_compression_ratio,
        )

        def call(rows: Tensor, time: Tensor, words: Tensor, mask: Tensor) -> Tensor:
            found = self.network(
                hidden_states=rows,
                encoder_hidden_states=words,
                timestep=time * unknown,
                encoder_attention_mask=mask,
                num_frames=frames,
                height=height,
                width=width,
                rope_interpolation_scale=scale,
                return_dict=False,
            )[0]
            shaped: Tensor = pipe._unpack_latents(found.float(), frames, height, width, *patches)
            return shaped

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = pipe._pack_latents(self.fixed(noisy, noisy), *patches).to(dtype)
            words = block.words
            told = call(rows, time, words["prompt"], words["mask"])
            if self.options.guidance_scale <= 1:
                return told
            free = call(rows, time, words["negative_prompt"], words["negative_mask"])
            return guided(free, told, self.options.guidance_scale)

        return predict
