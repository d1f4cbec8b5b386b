"""Stable Video Diffusion: the keyframe begins to move.

Blattmann et al. 2023, *Stable video diffusion: scaling latent video diffusion models to large
datasets*.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.pipelines.generators.denoising import draw
from phosphene.pipelines.generators.video.options import VideoOptions
from phosphene.pipelines.generators.video.published import PublishedVideo
from phosphene.pipelines.generators.video.rendering import Block, Predict, guided

__all__ = ["StableVideoDiffusion"]


class StableVideoOptions(VideoOptions):
    """Settings of Stable Video Diffusion.

    Attributes
    ----------
    least_guidance : float
        Of the first frame; it grows to ``guidance_scale`` at the last one.
    motion_bucket : int
        How much is to move.
    picture_noise : float
        Standard deviation of noise on the keyframe, in half its range.
    """

    least_guidance: float = 1.0
    motion_bucket: int = 127
    picture_noise: float = 0.02


class StableVideoDiffusion(PublishedVideo):
    """Takes no words: the keyframe is given as latents beside every frame, and as an embedding."""

    name: ClassVar[str] = "stable-video-diffusion"
    pipeline_class: ClassVar[str] = "StableVideoDiffusionPipeline"
    options_class: ClassVar[type[VideoOptions]] = StableVideoOptions
    options: StableVideoOptions
    network_part: ClassVar[str] = "unet"
    keep: ClassVar[tuple[str, ...]] = ("image_encoder", "feature_extractor")
    half: ClassVar[str] = "float16"
    takes_radial: ClassVar[bool] = False

    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        side = int(self.pipeline.vae_scale_factor)
        channels = int(self.network.config.in_channels) // 2
        return channels, frames, self.options.height // side, self.options.width // side

    def encode(self, frames: Tensor) -> Tensor:
        scale = float(self.vae.config.scaling_factor)
        parts = [
            self.vae.encode(part).latent_dist.mode() * scale
            for part in frames[0].transpose(0, 1).split(self.options.decode_frames)
        ]
        return torch.cat(parts).transpose(0, 1)[None]

    def decode(self, latents: Tensor) -> Tensor:
        # Its decoder looks at neighbours in time; those beyond a part are left out of it.
        plain = latents[0].transpose(0, 1) / float(self.vae.config.scaling_factor)
        shown = [
            (self.vae.decode(part, num_frames=len(part)).sample.cpu() / 2 + 0.5).clamp(0, 1)
            for part in plain.split(self.options.decode_frames)
        ]
        return torch.cat(shown)

    def prepare(self, block: Block, noise: Tensor) -> Predict:
        options, dtype = self.options, self.network.dtype
        n, frames = len(block.picture), noise.shape[2]
        embedding = torch.cat([self._embedding(one[None]) for one in block.picture]).to(dtype)
        blur = draw(block.picture.shape[1:], block.generators).to(self.device)
        noised = block.picture * 2 - 1 + options.picture_noise * blur
        known = torch.cat([self.vae.encode(one[None]).latent_dist.mode() for one in noised])
        known = known.to(dtype)[:, None].expand(-1, frames, -1, -1, -1)
        # The network was trained on one less than the rate.
        told = [block.rate - 1, options.motion_bucket, options.picture_noise]
        facts = torch.tensor([told], device=self.device, dtype=dtype).expand(n, -1)
        least, most = options.least_guidance, options.guidance_scale
        scale = torch.linspace(least, most, frames, device=self.device).view(1, 1, -1, 1, 1)

        def call(rows: Tensor, time: Tensor, picture: Tensor, beside: Tensor) -> Tensor:
            found: Tensor = self.network(
                torch.cat([rows, beside], dim=2),
                time,
                encoder_hidden_states=picture,
                added_time_ids=facts,
                return_dict=False,
            )[0]
            return found.float().transpose(1, 2)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = noisy.transpose(1, 2).to(dtype)
            told = call(rows, time, embedding, known)
            if most <= 1:
                return told
            free = call(rows, time, torch.zeros_like(embedding), torch.zeros_like(known))
            return guided(free, told, scale)

        return predict

    def _embedding(self, picture: Tensor) -> Tensor:
        """Return the CLIP embedding of one keyframe, (1, 1, d)."""
        encoder: Any = self.pipeline.image_encoder
        processor: Any = self.pipeline.feature_extractor
        size = int(encoder.config.image_size)
        fitted = F.interpolate(
            picture * 2 - 1, (size, size), mode="bicubic", align_corners=False, antialias=True
        )
        mean, std = (
            torch.tensor(one, device=self.device).view(1, 3, 1, 1)
            for one in (processor.image_mean, processor.image_std)
        )
        pixels = ((fitted / 2 + 0.5) - mean) / std
        found: Tensor = encoder(pixels.to(encoder.dtype)).image_embeds
        return found[:, None]
