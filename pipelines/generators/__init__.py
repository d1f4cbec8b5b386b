"""Generators: an embedding becomes a picture."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["GENERATORS"]

GENERATORS = Registry(
    "generator",
    {
        "latent-diffusion": "phosphene.pipelines.generators.latent_diffusion:LatentDiffusion",
        "target-decoder": "phosphene.pipelines.generators.target_decoder:TargetDecoder",
    },
)
