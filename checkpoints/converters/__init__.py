"""Published weights: read without running anything, recognised, and turned into model folders."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["FAMILIES"]

HERE = "phosphene.checkpoints.converters"

FAMILIES = Registry(
    "from",
    {
        "atm": f"{HERE}.atm:ATM",
        "atm-prior": f"{HERE}.atm_prior:ATMPrior",
        "brain-diffuser": f"{HERE}.brain_diffuser:BrainDiffuser",
        "brain-hive": f"{HERE}.brain_hive:BrainHive",
        "brain-it": f"{HERE}.brain_it:BrainIT",
        "brainflora": f"{HERE}.brainflora:BrainFLORA",
        "cognitioncapturer": f"{HERE}.cognitioncapturer:CognitionCapturer",
        "eeg2video": f"{HERE}.eeg2video:EEG2Video",
        "enigma": f"{HERE}.enigma:Enigma",
        "mindeye1": f"{HERE}.mindeye1:MindEye1",
        "mindeye2": f"{HERE}.mindeye2:MindEye2",
        "neuroclips": f"{HERE}.neuroclips:NeuroClips",
        "neurons": f"{HERE}.neurons:Neurons",
        "nice": f"{HERE}.nice:NICE",
        "tben": f"{HERE}.tben:TBEn",
        "ubp": f"{HERE}.ubp:UBP",
    },
)
