"""Brain-HIVE: a residual perceptron of EEG, trained against fused picture embeddings (2026)."""

from __future__ import annotations

from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import Converted, Family, Request, Shapes, filled
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap
from phosphene.checkpoints.converters.sensors import (
    SIGNAL,
    model_of_sensors,
    signal_of,
    things_protocol,
)
from phosphene.checkpoints.converters.state import State
from phosphene.checkpoints.converters.ubp import shape_of_row
from phosphene.encoders.brain.published.hive_mlp import HiveMLP
from phosphene.encoders.stimulus.published import PublishedTarget

__all__ = ["HIVE_MAP", "BrainHive"]

B = "brain_model.backbone."
LAYER = B + "block.layers.{i}."
HIVE_MAP = KeyMap(
    "Brain-HIVE with its perceptron",
    (
        Key(f"{B}proj_in.weight", "proj_in.weight", ("z", "row")),
        Key(f"{B}proj_in.bias", "proj_in.bias", ("z",)),
        Key(f"{LAYER}ff.w1.weight", "layers.{i}.w1.weight", ("u", "z")),
        Key(f"{LAYER}ff.w2.weight", "layers.{i}.w2.weight", ("z", "u")),
        Key(f"{LAYER}norm.weight", "layers.{i}.norm.weight", ("z",)),
        Key(f"{LAYER}norm.bias", "layers.{i}.norm.bias", ("z",)),
        Key("logit_scale", "logit_scale", ()),
    ),
    (
        Drop(
            "vision_model.*",
            "fuses embeddings of pictures by other networks, which are not part of the file",
        ),
    ),
)


class BrainHive(Family):
    """``model.safetensors`` of ``save_pretrained``, with the perceptron as backbone."""

    name: ClassVar[str] = "brain-hive"
    title: ClassVar[str] = "Brain-HIVE (BRIDGE)"
    paper: ClassVar[str] = "Hierarchical visual embeddings (ICLR 2026, arXiv 2602.07495)"
    source: ClassVar[str] = "ssshamiii/Brain-HIVE: folders of save_pretrained of a training"
    licence: ClassVar[str] = "none stated: all rights reserved"
    marks: ClassVar[tuple[str, ...]] = (f"{B}proj_in.weight", "logit_scale")
    settings: ClassVar[dict[str, Any]] = {**SIGNAL, "n_times": None}

    def recognises(self, shapes: Shapes) -> bool:
        return super().recognises(shapes)

    def convert(self, state: State, request: Request) -> Converted:
        matched = HIVE_MAP.match(state.tensors)
        sizes = matched.sizes
        channels, times = shape_of_row(sizes["row"], request)
        config = {
            "n_outputs": sizes["z"], **signal_of(channels, times, request),
            "subjects": list(request.subjects), "layers": sizes["#i"], "hidden": sizes["u"],
        }  # fmt: skip
        fused = sorted(
            name.split(".")[2] for name in state.tensors
            if name.startswith("vision_model.proj_maps.") and name.endswith(".weight")
        )  # fmt: skip
        target = PublishedTarget(
            "fusion of " + (", ".join(fused) or "picture networks"), "as trained", "features",
            [sizes["z"]], colours="own", note="cosines are compared",
        )  # fmt: skip
        parts = model_of_sensors(
            filled(HiveMLP, config, matched.tensors),
            target,
            request,
            generator="",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="mean of the repetitions",
                selection="the last epoch within subjects, the best on test across subjects",
            ),
        )
        words = {
            "channels x samples": f"{channels} x {times}",
            "embedding": str(sizes["z"]),
            "fused picture networks": ", ".join(fused) or "none in the file",
        }
        notes = [
            "its embeddings live in a fused space of several picture networks; comparing them "
            "with pictures takes those networks and the fusion, which is left out"
        ]
        return Converted(parts, words, matched.dropped, [], notes)
