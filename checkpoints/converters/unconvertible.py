"""Families that are recognised and do not convert, each with the reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["UNCONVERTIBLE", "Unconvertible", "recognised_as"]


@dataclass(frozen=True)
class Unconvertible:
    """Why a family does not convert.

    Attributes
    ----------
    reason : str
        After "not convertible, because".
    marks : tuple of str
        Patterns; a file of the family has a tensor for each of them. Empty where nothing sure is
        known of its names.
    remedy : str
    """

    reason: str
    marks: tuple[str, ...] = ()
    remedy: str = "train one of the same kind here; docs/encoders.md lists them"


UNCONVERTIBLE: Mapping[str, Unconvertible] = {
    "mind-animator": Unconvertible(
        "names and shapes of its tensors are not published beside the weights, and its generator "
        "is an inflated network of a video method that is not here"
    ),
    "mindbridge": Unconvertible(
        "names and shapes of its tensors are not known here, and its shared embedder and its "
        "generator with two conditions are not here either"
    ),
    "umbrae": Unconvertible(
        "its tokens are written for a language model (Shikra) that is not here, and names and "
        "shapes of its perceiver are not known here"
    ),
    "neuropictor": Unconvertible(
        "it reads a picture of the flattened cortex and steers a ControlNet of its own; neither is "
        "here"
    ),
    "mind-video": Unconvertible(
        "its encoder conditions a video network of its own, which comes with the weights and is "
        "not here",
        (r"(mae|cond_stage_model\.mae)?\.?patch_embed\.proj\.weight", r".*blocks\.\d+\.temporal.*"),
    ),
    "mind-3d": Unconvertible(
        "it makes meshes, and three-dimensional generators are not here",
        (r"transformer\..*tri_?plane.*",),
    ),
    "braindive": Unconvertible(
        "it maps pictures to voxels, not voxels to pictures", (r"final_.*_higher\.weight",)
    ),
    "cognitioncapturer-pro": Unconvertible(
        "its fusion of four modalities with three adapters has no counterpart here, and the "
        "repository has no licence",
        (r"brain\.models\.3\..*", r"brain\.fusion_eeg\..*"),
    ),
    "brainomni": Unconvertible(
        "it is a foundation model of sensors that predicts no picture embedding",
        (r".*(neuros|sensor_embed).*",),
    ),
    "ip-adapter-prior": Unconvertible(
        "it is no decoder of brains: a fusion of several picture encoders and an adapter for a "
        "generator, trained on pictures alone",
        (r"(image_proj|proj)\.(proj|norm)\.weight", r"(ip_adapter|attn_processors)\.\d+\..*"),
        "convert the brain encoder with --from brain-hive",
    ),
    "mirage": Unconvertible(
        "its linear fits are for generators that are not here (Stable Cascade, and the decoder of "
        "a very deep autoencoder)"
    ),
}


def recognised_as(names: Mapping[str, object]) -> str | None:
    """Return the family whose patterns all find a tensor among these names."""
    for family, entry in UNCONVERTIBLE.items():
        if entry.marks and all(
            any(re.fullmatch(mark, name) for name in names) for mark in entry.marks
        ):
            return family
    return None
