"""Embedding priors and the low-level structural branch."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["PRIORS"]

PRIORS = Registry(
    "prior",
    {
        "diffusion": "phosphene.priors.diffusion:DiffusionPrior",
        "flow": "phosphene.priors.flow:FlowPrior",
        "identity": "phosphene.priors.identity:IdentityPrior",
        "mindeye": "phosphene.priors.mindeye:MindEyePrior",
        "mlp-unet": "phosphene.priors.mlp_unet:MLPUNetPrior",
    },
)
