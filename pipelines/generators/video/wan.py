"""Wan 2.1, image to video: a flow transformer that begins with the keyframe.

Wan Team 2025, *Wan: open and advanced large-scale video generative models*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.pipelines.generators.base import to_uint8
from phosphene.pipelines.generators.video.published import PublishedVideo
from phosphene.pipelines.generators.video.rendering import Block, Predict, guided

__all__ = ["Wan"]

WORDS = 512  # the network counts on so many


class Wan(PublishedVideo):
    """The keyframe is given as latents of a video that is empty afterwards, and as tokens."""

    name: ClassVar[str] = "wan"
    pipeline_class: ClassVar[str] = "WanImageToVideoPipeline"
    keep: ClassVar[tuple[str, ...]] = ("image_encoder", "image_processor")

    @classmethod
    def encode_words(
        cls, pipeline: Any, texts: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        found = pipeline.encode_prompt(
            list(texts), do_classifier_free_guidance=False, device=device, max_sequence_length=WORDS
        )[0]
        return {"prompt": found.float()}

    def whole_frames(self, frames: int) -> int:
        step = int(self.pipeline.vae_scale_factor_temporal)
        return -(-(frames - 1) // step) * step + 1

    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        pipe = self.pipeline
        side = int(pipe.vae_scale_factor_spatial)
        return (
            int(self.vae.config.z_dim),
            (frames - 1) // int(pipe.vae_scale_factor_temporal) + 1,
            self.options.height // side,
            self.options.width // side,
        )

    def tokens_per_frame(self) -> int:
        _, down, across = (int(side) for side in self.network.config.patch_size)
        _, _, height, width = self.latent_shape(1)
        return (height // down) * (width // across)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        known = (self.vae.config.latents_mean, self.vae.config.latents_std)
        mean, std = (torch.tensor(one).view(1, -1, 1, 1, 1).to(like) for one in known)
        return mean, std

    def encode(self, frames: Tensor) -> Tensor:
        found = self.vae.encode(frames).latent_dist.mode()
        mean, std = self._statistics(found)
        standardised: Tensor = (found - mean) / std
        return standardised

    def decode(self, latents: Tensor) -> Tensor:
        # Its decoder goes through a clip frame by frame, and remembers what it needs of earlier
        # ones: memory grows with the frames that come out alone.
        mean, std = self._statistics(latents)
        shown = self.vae.decode(latents * std + mean).sample
        frames: Tensor = (shown[0].transpose(0, 1).cpu() / 2 + 0.5).clamp(0, 1)
        return frames

    def prepare(self, block: Block, noise: Tensor) -> Predict:
        dtype = self.network.dtype
        known = torch.cat([self._condition(one[None], block.frames) for one in block.picture])
        known = known.to(dtype)
        tokens = None
        if self.network.config.image_dim is not None:
            tokens = torch.cat([self._tokens(one[None]) for one in block.picture]).to(dtype)

        def call(rows: Tensor, time: Tensor, words: Tensor) -> Tensor:
            found: Tensor = self.network(
                hidden_states=rows,
                timestep=time.expand(len(rows)).to(rows.device),
                encoder_hidden_states=words,
                encoder_hidden_states_image=tokens,
                return_dict=False,
            )[0]
            return found.float()

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = torch.cat([noisy.to(dtype), known], dim=1)
            told = call(rows, time, block.words["prompt"])
            if self.options.guidance_scale <= 1:
                return told
            free = call(rows, time, block.words["negative_prompt"])
            return guided(free, told, self.options.guidance_scale)

        return predict

    def _condition(self, picture: Tensor, frames: int) -> Tensor:
        """Return latents of the keyframe before nothing, and which of its frames are known."""
        video = picture.new_zeros(1, 3, frames, *picture.shape[-2:])
        video[:, :, 0] = picture * 2 - 1
        latents = self.encode(video).float()
        step = int(self.pipeline.vae_scale_factor_temporal)
        mask = latents.new_zeros(1, step, *latents.shape[2:])
        mask[:, :, 0] = 1
        return torch.cat([mask, latents], dim=1)

    def _tokens(self, picture: Tensor) -> Tensor:
        """Return the tokens of CLIP's layer before the last."""
        shown = to_uint8(picture)
        pixels = self.pipeline.image_processor(images=list(shown), return_tensors="pt").pixel_values
        encoder = self.pipeline.image_encoder
        found: Tensor = encoder(
            pixels.to(self.device, encoder.dtype), output_hidden_states=True
        ).hidden_states[-2]
        return found
