"""Architectures that are here for published weights alone: computed as they were, never trained."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["PUBLISHED_ENCODERS"]

HERE = "phosphene.encoders.brain.published"

PUBLISHED_ENCODERS = Registry(
    "encoder",
    {
        "cogcap": f"{HERE}.cogcap:CogCapEncoder",
        "feature-mlp": f"{HERE}.feature_mlp:FeatureMLP",
        "mindeye1-latents": f"{HERE}.mindeye1_latents:MindEye1Latents",
        "given": f"{HERE}.given:GivenEmbedding",
        "hive-mlp": f"{HERE}.hive_mlp:HiveMLP",
        "medformer": f"{HERE}.medformer:MedformerEncoder",
        "medformer-voxels": f"{HERE}.medformer:MedformerVoxels",
        "neuroclips-perception": f"{HERE}.neuroclips_perception:NeuroClipsPerception",
        "nice-variant": f"{HERE}.nice_variant:NICEVariant",
        "token-ridge": f"{HERE}.token_ridge:TokenRidge",
    },
)
