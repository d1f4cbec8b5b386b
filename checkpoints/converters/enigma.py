"""ENIGMA: a matrix over time per subject, a small convolution, a head (Alljoined 2025)."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import Converted, Family, Request, Shapes, filled
from phosphene.checkpoints.converters.key_map import Key, KeyMap
from phosphene.checkpoints.converters.sensors import (
    SIGNAL,
    VIT_H,
    batch_norm_keys,
    model_of_sensors,
    projector_keys,
    scale_tensor,
    signal_of,
    things_protocol,
)
from phosphene.checkpoints.converters.state import State
from phosphene.encoders.brain.electric.enigma import EnigmaEncoder
from phosphene.errors import InputError

__all__ = ["ENIGMA_MAP", "Enigma"]

S, T = "subject_wise_linear.", "tsencoder."
POOL, STRIDE = 17, 5
ENIGMA_MAP = KeyMap(
    "ENIGMA",
    (
        Key(f"{S}{{s}}.weight", f"{S}{{s}}.weight", ("n", "n")),
        Key(f"{S}{{s}}.bias", f"{S}{{s}}.bias", ("n",)),
        Key(f"{T}tsconv.0.weight", f"{T}tsconv.0.weight", ("f", 1, 1, "k")),
        Key(f"{T}tsconv.0.bias", f"{T}tsconv.0.bias", ("f",)),
        *batch_norm_keys(f"{T}tsconv.2.", f"{T}tsconv.2."),
        Key(f"{T}tsconv.4.weight", f"{T}tsconv.4.weight", ("f", "f", "c", 1)),
        Key(f"{T}tsconv.4.bias", f"{T}tsconv.4.bias", ("f",)),
        *batch_norm_keys(f"{T}tsconv.5.", f"{T}tsconv.5."),
        Key(f"{T}projection.0.weight", f"{T}projection.0.weight", ("m", "f", 1, 1)),
        Key(f"{T}projection.0.bias", f"{T}projection.0.bias", ("m",)),
        *projector_keys("mlp_proj.", "mlp_proj.", "fn.1", middle="fn.1"),
        Key("logit_scale", "logit_scale", (), part="scale"),
    ),
)


class Enigma(Family):
    """``train_logs/<name>/last.pth``, of one or many subjects, which the file names."""

    name: ClassVar[str] = "enigma"
    title: ClassVar[str] = "ENIGMA"
    paper: ClassVar[str] = "ENIGMA (arXiv 2602.10361), a small multi-subject decoder of EEG"
    source: ClassVar[str] = "Alljoined/ENIGMA: train_logs/NAME/last.pth, written by its training"
    licence: ClassVar[str] = "MIT (repository); Alljoined-1.6M is CC-BY-NC"
    settings: ClassVar[dict[str, Any]] = {**SIGNAL}

    def recognises(self, shapes: Shapes) -> bool:
        return {f"{T}tsconv.0.weight", "mlp_proj.0.weight"} <= set(shapes)

    def convert(self, state: State, request: Request) -> Converted:
        named = re.compile(rf"{re.escape(S)}(?:sub-)?([0-9A-Za-z]+)\.(weight|bias)")
        labels = [hit[1] for name in state.tensors if (hit := named.fullmatch(name))]
        labels = list(dict.fromkeys(labels))
        absent = [one for one in request.subjects if one not in labels]
        if absent:
            raise InputError(
                f"no layer of sub-{absent[0]} in a file of {', '.join(labels) or 'no subject'}",
                expected="--subject with labels that the file has",
                remedy="name one of them, or train a layer with `phosphene train adapt`",
            )
        places = {label: str(place) for place, label in enumerate(labels)}

        def numbered(name: str) -> str:
            hit = named.fullmatch(name)
            return name if hit is None else f"{S}{places[hit[1]]}.{hit[2]}"

        matched = ENIGMA_MAP.match({numbered(n): value for n, value in state.tensors.items()})
        sizes, tensors = matched.sizes, {}
        for name, value in matched.tensors.items():
            if name.startswith(S):
                place, kind = name.removeprefix(S).split(".")
                label = labels[int(place)]
                if label in request.subjects:
                    tensors[f"{S}sub-{label}.{kind}"] = value
                else:
                    matched.dropped[f"{S}sub-{label}.{kind}"] = "of a subject that was not named"
            else:
                tensors[name] = value
        tensors.setdefault("logit_scale", scale_tensor())
        frames = (sizes["n"] - sizes["k"] + 1 - POOL) // STRIDE + 1
        if frames * sizes["m"] != sizes["w"]:
            raise InputError(
                f"a head of {sizes['w']} numbers after {frames} frames of {sizes['m']} maps",
                expected=f"{frames * sizes['m']}",
                remedy="get the file from its source",
            )
        config = {
            "n_outputs": sizes["z"], **signal_of(sizes["c"], sizes["n"], request),
            "subjects": list(request.subjects), "unknown": "mean", "filters": sizes["f"],
            "kernel": sizes["k"], "pool": POOL, "stride": STRIDE, "maps": sizes["m"],
        }  # fmt: skip
        parts = model_of_sensors(
            filled(EnigmaEncoder, config, tensors),
            VIT_H(sizes["z"]),
            request,
            generator="ip-adapter-sdxl-turbo",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="single trials, never shuffled",
                selection="the last epoch",
            ),
        )
        words = {
            "channels x samples": f"{sizes['c']} x {sizes['n']}",
            "embedding": str(sizes["z"]),
            "subjects of the file": ", ".join(labels),
        }
        quirks = [
            "an unknown subject gets the mean of the subjects' layers; the original has none",
            "the temperature, where the file has one, was used as it is, not as a logarithm",
        ]
        return Converted(parts, words, matched.dropped, quirks)
