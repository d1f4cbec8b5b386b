"""Encoders of EEG and MEG: (channels, times) to embedding, one architecture per file."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["ELECTRIC_ENCODERS"]

ELECTRIC_ENCODERS = Registry(
    "encoder",
    {
        "adapted": "phosphene.encoders.brain.electric.adapted:AdaptedEncoder",
        "atm": "phosphene.encoders.brain.electric.atm:ATMEncoder",
        "canonical": "phosphene.encoders.brain.electric.canonical:CanonicalEncoder",
        "conv_attention": "phosphene.encoders.brain.electric.conv_attention:ConvAttentionEncoder",
        "conformer": "phosphene.encoders.brain.electric.conformer:ConformerEncoder",
        "dual_branch": "phosphene.encoders.brain.electric.dual_branch:DualBranchEncoder",
        "eegnet": "phosphene.encoders.brain.electric.eegnet:EEGNetEncoder",
        "enigma": "phosphene.encoders.brain.electric.enigma:EnigmaEncoder",
        "flat_mlp": "phosphene.encoders.brain.electric.flat_mlp:FlatMLPEncoder",
        "tsconv": "phosphene.encoders.brain.electric.tsconv:TSConvEncoder",
    },
)
