"""Brain encoders: recording to embedding, one architecture per file."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["BRAIN_ENCODERS"]

BRAIN_ENCODERS = Registry(
    "encoder",
    {
        "bit": "phosphene.encoders.brain.bit:BITEncoder",
        "electric": "phosphene.encoders.brain.electric.heads:ElectricHeads",
        "mindeye1": "phosphene.encoders.brain.mindeye1:MindEye1Encoder",
        "mindeye2": "phosphene.encoders.brain.mindeye2:MindEye2Encoder",
        "mlp": "phosphene.encoders.brain.mlp:MLPEncoder",
        "ridge": "phosphene.encoders.brain.ridge:RidgeEncoder",
        "roi_transformer": "phosphene.encoders.brain.roi_transformer:RegionTransformerEncoder",
    },
)
