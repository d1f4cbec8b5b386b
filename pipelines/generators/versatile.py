"""Versatile Diffusion: pictures from 257 projected tokens of CLIP ViT-L/14.

Xu et al. 2022, *Versatile Diffusion: text, images and variations all in one diffusion model*; the
generator of MindEye (Scotti et al. 2023). Its pipeline is deprecated in diffusers, which still
brings it; only the network for pictures is used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.pipelines.generators.expected import Wanted
from phosphene.pipelines.generators.pipeline_folder import load_pipeline
from phosphene.pipelines.generators.pretrained import PretrainedGenerator

__all__ = ["Versatile"]

NETWORK = "image_unet"
GREY = 0.5 / 255  # of the picture without content: the library takes 0.5 for one of 255 shades


class Versatile(PretrainedGenerator):
    """Renders projected tokens by the flow from pictures to pictures."""

    name: ClassVar[str] = "versatile"
    pipeline_class: ClassVar[str] = "VersatileDiffusionImageVariationPipeline"

    @classmethod
    def read_pipeline(cls, folder: Path) -> Any:
        return load_pipeline(cls.pipeline_class, folder, network=NETWORK)

    @property
    def wanted(self) -> Wanted:
        return Wanted("projected", int(self.unet.config.cross_attention_dim))

    def find_unet(self) -> Any:
        return self.pipeline.image_unet

    def free_embedding(self, embedding: Tensor) -> Tensor:
        """Return the tokens of a black picture."""
        target: Any = self.target
        found: Tensor = target.plain_embedding(GREY).to(embedding)
        return found.expand_as(embedding)

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        rows = torch.cat([free, embedding]) if self.guided else embedding
        return {"encoder_hidden_states": rows}
