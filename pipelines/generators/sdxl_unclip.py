"""The unCLIP SDXL of MindEye2: pictures from 256 tokens of CLIP ViT-bigG/14.

Scotti et al. 2024, *MindEye2: shared-subject models enable fMRI-to-image with 1 hour of data*;
Podell et al. 2023 (SDXL); Ramesh et al. 2022 (unCLIP).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.pipelines.generators.denoising import draw
from phosphene.pipelines.generators.expected import Wanted
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.pretrained import PretrainedGenerator

__all__ = ["SdxlUnclip"]


class SdxlUnclipOptions(PretrainedOptions):
    """Settings of the unCLIP SDXL.

    Attributes
    ----------
    contrast, brightness : float
        What is shown is ``contrast * x + brightness``, cut to 0..1, of a picture x in 0..1. The
        published values make pictures paler; 1 and 0 show them as they are.
    """

    contrast: float = 0.8
    brightness: float = 0.2


class SdxlUnclip(PretrainedGenerator):
    """Renders patch tokens; without a condition is with random ones, drawn for every picture.

    Its autoencoder works on pictures in 0..1, where that of SDXL takes -1..1: in its training
    pictures were not rescaled.
    """

    name: ClassVar[str] = "sdxl-unclip"
    pipeline_class: ClassVar[str] = "StableDiffusionXLPipeline"
    options_class: ClassVar[type[PretrainedOptions]] = SdxlUnclipOptions
    options: SdxlUnclipOptions

    @property
    def wanted(self) -> Wanted:
        return Wanted("patches", int(self.unet.config.cross_attention_dim))

    def make_latents(self) -> LatentTarget | None:
        # Branches are trained on pictures in -1..1.
        self.vae: Any = self.pipeline.vae.float().eval().requires_grad_(False)
        return None

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        rows = embedding
        if self.guided:
            noise = draw(embedding.shape[1:], generators).to(embedding)
            rows = torch.cat([noise, embedding])
        sizes = torch.tensor([self.size, self.size, 0, 0])  # of the original, and where it is cut
        more = {
            "text_embeds": embedding.new_zeros(len(rows), 0),  # sizes are all it was told
            "time_ids": sizes.to(embedding).expand(len(rows), -1),
        }
        return {"encoder_hidden_states": rows, "added_cond_kwargs": more}

    def encode(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.vae.encode(pictures / 2 + 0.5).latent_dist.mode()
        return found * float(self.vae.config.scaling_factor)

    def decode(self, latents: Tensor) -> Tensor:
        shown: Tensor = self.vae.decode(latents / float(self.vae.config.scaling_factor)).sample
        options = self.options
        return (options.contrast * shown + options.brightness).clamp(0, 1)
