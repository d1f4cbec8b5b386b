"""Kandinsky 2.2: pictures from one CLIP ViT-bigG/14 embedding, without any text.

Razzhigaev et al. 2023, *Kandinsky: an improved text-to-image synthesis with image prior and
latent diffusion*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.pipelines.generators.expected import Wanted
from phosphene.pipelines.generators.pretrained import PretrainedGenerator

__all__ = ["Kandinsky22"]


class Kandinsky22(PretrainedGenerator):
    """Renders pooled embeddings; its quantised autoencoder also encodes a picture to start from."""

    name: ClassVar[str] = "kandinsky22"
    pipeline_class: ClassVar[str] = "KandinskyV22Pipeline"

    @property
    def wanted(self) -> Wanted:
        return Wanted("pooled", int(self.unet.config.encoder_hid_dim))

    def make_latents(self) -> LatentTarget | None:
        # Its autoencoder is a quantised one, of which no low-level branch is trained.
        self.movq: Any = self.pipeline.movq.float().eval().requires_grad_(False)
        return None

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        rows = torch.cat([free, embedding]) if self.guided else embedding
        return {"encoder_hidden_states": None, "added_cond_kwargs": {"image_embeds": rows}}

    def encode(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.movq.encode(pictures).latents
        return found

    def decode(self, latents: Tensor) -> Tensor:
        shown: Tensor = self.movq.decode(latents, force_not_quantize=True).sample
        return (shown / 2 + 0.5).clamp(0, 1)
