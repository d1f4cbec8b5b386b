"""NEURONS: NeuroClips' network with heads for motion, text, concepts and masks (ICCV 2025)."""

from __future__ import annotations

from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import Converted, Request, Shapes
from phosphene.checkpoints.converters.key_map import Drop, KeyMap
from phosphene.checkpoints.converters.neuroclips import SEMANTIC, NeuroClips
from phosphene.checkpoints.converters.state import State

__all__ = ["Neurons"]

HEADS = (
    "it reads tokens that the prior has drawn, and nothing in a model here comes after the prior; "
    "keyframes do not go through it"
)
NEURONS = KeyMap(
    "NEURONS",
    SEMANTIC.keys,
    (
        *SEMANTIC.drops,
        Drop("motion_proj.*", f"motion of tokens over six frames: {HEADS}"),
        Drop("text_seg_dec.*", f"blurry videos and masks: {HEADS}"),
        Drop("text_dec.*", f"captions by a language model with another one's words: {HEADS}"),
        Drop("classifier.*", f"51 concepts: {HEADS}"),
    ),
)


class Neurons(NeuroClips):
    """``brain_model_prior[_last].pth``, or ``brain_model[_last].pth`` without a prior."""

    name: ClassVar[str] = "neurons"
    title: ClassVar[str] = "NEURONS, keyframes"
    paper: ClassVar[str] = (
        "NEURONS: emulating the human visual cortex improves fidelity and interpretability in "
        "fMRI-to-video reconstruction (ICCV 2025, arXiv 2503.11167)"
    )
    source: ClassVar[str] = (
        "McGregorW/NEURONS: EXP/exp_neurons/subj_X/checkpoints/brain_model_prior[_last].pth"
    )
    licence: ClassVar[str] = "none stated: all rights reserved"
    settings: ClassVar[dict[str, Any]] = {"steps": 100, "projected": True}
    key_map: ClassVar[KeyMap] = NEURONS

    def recognises(self, shapes: Shapes) -> bool:
        heads = ("motion_proj.", "text_seg_dec.", "text_dec.")
        video = any(name.startswith(heads) for name in shapes)
        return video and "backbone.backbone_linear.weight" in shapes

    def convert(self, state: State, request: Request) -> Converted:
        converted = super().convert(state, request)
        converted.quirks[:] = [one for one in converted.quirks if "20 steps" not in one]
        converted.quirks.append("100 steps of the prior are ancestral sampling at every time")
        return converted
