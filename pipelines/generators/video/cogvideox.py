"""CogVideoX, image to video: a diffusion transformer that begins with the keyframe.

Yang et al. 2024, *CogVideoX: text-to-video diffusion models with an expert transformer*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.errors import InputError
from phosphene.pipelines.generators.denoising import choose_scheduler
from phosphene.pipelines.generators.video.published import PublishedVideo
from phosphene.pipelines.generators.video.rendering import Block, Predict, guided

__all__ = ["CogVideoX"]

SPEED = 2.0  # what the networks of version 1.5 are told of their own rate


class CogVideoX(PublishedVideo):
    """The keyframe's latent is given beside the noisy first frame; words and frames attend as one.

    The networks of version 1.5 see two latent frames at a time; a clip is as long as that allows.
    """

    name: ClassVar[str] = "cogvideox"
    pipeline_class: ClassVar[str] = "CogVideoXImageToVideoPipeline"

    def __init__(self, pipeline: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(pipeline, *arguments, **named)
        if type(self.scheduler).__name__ == "CogVideoXDPMScheduler":
            # Its steps need what earlier ones predicted; the same times serve the plain one.
            self.scheduler = choose_scheduler(self.scheduler, "CogVideoXDDIMScheduler")

    @classmethod
    def encode_words(
        cls, pipeline: Any, texts: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        found = pipeline.encode_prompt(
            list(texts),
            do_classifier_free_guidance=False,
            device=device,
            max_sequence_length=pipeline.transformer.config.max_text_seq_length,
        )[0]
        return {"prompt": found.float()}

    @property
    def _together(self) -> int:
        return int(self.network.config.patch_size_t or 1)

    def whole_frames(self, frames: int) -> int:
        step = int(self.pipeline.vae_scale_factor_temporal)
        latent = -(-(frames - 1) // step) + 1
        latent += -latent % self._together
        return (latent - 1) * step + 1

    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        pipe = self.pipeline
        side = int(pipe.vae_scale_factor_spatial)
        return (
            int(self.network.config.in_channels) // 2,
            (frames - 1) // int(pipe.vae_scale_factor_temporal) + 1,
            self.options.height // side,
            self.options.width // side,
        )

    def tokens_per_frame(self) -> int:
        _, _, height, width = self.latent_shape(1)
        patch = int(self.network.config.patch_size)
        if self._together > 1:
            raise InputError(
                "radial attention for a network that joins latent frames",
                expected="one latent frame per token",
                remedy="leave `radial` away",
            )
        return (height // patch) * (width // patch)

    def words_before(self, block: Block) -> int:
        return int(block.words["prompt"].shape[1])

    def encode(self, frames: Tensor) -> Tensor:
        found: Tensor = self.vae.encode(frames).latent_dist.mode() * self._scale
        return found

    @property
    def _scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        # Its decoder takes two latent frames at a time and remembers what it needs of earlier ones.
        shown = self.vae.decode(latents / self._scale).sample
        frames: Tensor = (shown[0].transpose(0, 1).cpu() / 2 + 0.5).clamp(0, 1)
        return frames

    def prepare(self, block: Block, noise: Tensor) -> Predict:
        dtype, known = self.network.dtype, torch.zeros_like(noise)
        for row, picture in enumerate(block.picture):
            latent = self.encode((picture * 2 - 1)[None, :, None]).float()
            # The publishers forgot the scale once, and trained networks go on expecting that.
            flipped = self.vae.config.invert_scale_latents
            known[row, :, :1] = latent[0] / self._scale**2 if flipped else latent[0]
        known = known.transpose(1, 2).to(dtype)
        config = self.network.config
        places = None
        if config.use_rotary_positional_embeddings:
            places = self.pipeline._prepare_rotary_positional_embeddings(
                self.options.height, self.options.width, noise.shape[2], self.device
            )
        speed = None if config.ofs_embed_dim is None else noise.new_full((1,), SPEED)

        def call(rows: Tensor, time: Tensor, words: Tensor) -> Tensor:
            found: Tensor = self.network(
                hidden_states=rows,
                encoder_hidden_states=words,
                timestep=time.expand(len(rows)).to(rows.device),
                ofs=speed,
                image_rotary_emb=places,
                return_dict=False,
            )[0]
            return found.float().transpose(1, 2)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = torch.cat([noisy.transpose(1, 2).to(dtype), known], dim=2)
            told = call(rows, time, block.words["prompt"])
            if self.options.guidance_scale <= 1:
                return told
            free = call(rows, time, block.words["negative_prompt"])
            return guided(free, told, self.options.guidance_scale)

        return predict
