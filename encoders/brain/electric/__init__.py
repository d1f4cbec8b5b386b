"""Encoders of EEG and MEG: (channels, times) to embedding, one architecture per file."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["ELECTRIC_ENCODERS"]

ELECTRIC_ENCODERS = Registry(
    "encoder",
    {
        "atm": "phosphene.encoders.brain.electric.atm:ATMEncoder",
        "conv_attention": "phosphene.encoders.brain.electric.conv_attention:ConvAttentionEncoder",
        "enigma": "phosphene.encoders.brain.electric.enigma:EnigmaEncoder",
        "flat_mlp": "phosphene.encoders.brain.electric.flat_mlp:FlatMLPEncoder",
        "tsconv": "phosphene.encoders.brain.electric.tsconv:TSConvEncoder",
    },
)
