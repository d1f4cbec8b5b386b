"""Generators: an embedding becomes a picture."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["GENERATORS"]

GENERATORS = Registry(
    "generator",
    {
        "ip-adapter": "phosphene.pipelines.generators.ip_adapter:IPAdapter",
        "on-demand": "phosphene.pipelines.generators.on_demand:OnDemand",
        "kandinsky22": "phosphene.pipelines.generators.kandinsky22:Kandinsky22",
        "latent-diffusion": "phosphene.pipelines.generators.latent_diffusion:LatentDiffusion",
        "refine": "phosphene.pipelines.generators.refine:Refine",
        "sd-controlnet-depth": "phosphene.pipelines.generators.controlnet_depth:ControlNetDepth",
        "sdxl-unclip": "phosphene.pipelines.generators.sdxl_unclip:SdxlUnclip",
        "stable-unclip": "phosphene.pipelines.generators.stable_unclip:StableUnclip",
        "retrieval": "phosphene.pipelines.generators.retrieval:RetrievalGenerator",
        "target-decoder": "phosphene.pipelines.generators.target_decoder:TargetDecoder",
        "versatile": "phosphene.pipelines.generators.versatile:Versatile",
    },
)
