"""NeuroClips: keyframes by the networks of MindEye2, for runs under movies (Gong et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import (
    CC2017_VOXELS,
    Converted,
    Request,
    Shapes,
    published_protocol,
)
from phosphene.checkpoints.converters.key_map import Drop, KeyMap
from phosphene.checkpoints.converters.mindeye2 import MINDEYE2, MindEye2
from phosphene.checkpoints.converters.state import State

__all__ = ["NeuroClips"]

SEMANTIC = KeyMap(
    "the semantic reconstructor of NeuroClips",
    tuple(key for key in MINDEYE2.keys if key.part not in ("lowlevel", "maps")),
    (
        *MINDEYE2.drops,
        Drop(
            "clipproj.proj",
            "maps mean tokens to captions' embeddings: frozen, and used in training alone",
        ),
    ),
)


class NeuroClips(MindEye2):
    """``video_subj0X_SR.pth`` and ``video_subj0X_SR_backbone.pth``; users train them."""

    name: ClassVar[str] = "neuroclips"
    title: ClassVar[str] = "NeuroClips, semantic reconstructor"
    paper: ClassVar[str] = (
        "Gong et al. 2024, NeuroClips: towards high-fidelity and smooth fMRI-to-video "
        "reconstruction (NeurIPS 2024, arXiv 2410.19452)"
    )
    source: ClassVar[str] = "gongzix/NeuroClips: weights that users train; none are published"
    licence: ClassVar[str] = "none stated: all rights reserved"
    settings: ClassVar[dict[str, Any]] = {"steps": 20, "projected": True}
    files: ClassVar[dict[str, str]] = {}  # keyframes have no latents
    key_map: ClassVar[KeyMap] = SEMANTIC
    dataset: ClassVar[str] = "CC2017"
    known_voxels: ClassVar[dict[int, str]] = CC2017_VOXELS

    def recognises(self, shapes: Shapes) -> bool:
        names = set(shapes)
        video = any(name.startswith(("motion_proj.", "text_seg_dec.")) for name in names)
        return _is_perception(names) or (
            "clipproj.proj" in names and "backbone.backbone_linear.weight" in names and not video
        )

    def convert(self, state: State, request: Request) -> Converted:
        if _is_perception(set(state.tensors)):
            from phosphene.checkpoints.converters.perception import convert_perception

            return convert_perception(state, request, self.protocol(request.subjects))
        converted = super().convert(state, request)
        if self.setting(request, "projected"):
            converted.quirks.append(
                "the prior takes the projected tokens, those of retrieval; MindEye2's takes the "
                "ones before (--set projected=false)"
            )
        converted.quirks.append(
            "one volume per two-second clip, four seconds later: the standard trimming of CC2017"
        )
        converted.notes.append(
            "keyframes alone: their videos come from the video generators, see docs"
        )
        return converted

    def protocol(self, subjects: tuple[str, ...]) -> Any:
        return published_protocol(
            dataset="CC2017 (Wen et al. 2018)",
            subjects=subjects,
            mask="voxels that repeat over 18 movies at p < .05, Bonferroni",
            normalisation="4th-order detrending and z-score per run",
            fitted_on="each run by itself",
            averaging=("one of two repetitions", "mean of ten repetitions"),
            selection="pixel correlation and loss on the 1200 test clips",
        )


def _is_perception(names: set[str]) -> bool:
    return {"ridge1.linears.0.weight", "backbone.blin1.weight"} <= names
