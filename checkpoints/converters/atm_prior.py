"""The prior of ATM: a U-shaped perceptron over one pooled embedding (Li et al. 2024)."""

from __future__ import annotations

from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    Shapes,
    filled,
    published_protocol,
)
from phosphene.checkpoints.converters.key_map import Key, KeyMap
from phosphene.checkpoints.converters.sensors import VIT_H
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.published.given import GivenEmbedding
from phosphene.errors import InputError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.mlp_unet import MLPUNetPrior
from phosphene.types import VoxelSpace

__all__ = ["ATMPrior", "prior_of"]

HALVES = ("encode", "decode")


def _half(half: str) -> list[Key]:
    """Return keys of one half; level i goes from ``{half}i`` to ``{half}to i`` numbers."""
    time, told, layer = (f"{half}_{what}.{{i}}." for what in ("time_embedding", "cond_embedding",
                                                               "layers"))  # fmt: skip
    here, there = f"{half}_in{{i}}", f"{half}_out{{i}}"
    return [
        Key(f"{time}linear_1.weight", f"{half}.times.{{i}}.linear_1.weight", (here, "clock")),
        Key(f"{time}linear_1.bias", f"{half}.times.{{i}}.linear_1.bias", (here,)),
        Key(f"{time}linear_2.weight", f"{half}.times.{{i}}.linear_2.weight", (here, here)),
        Key(f"{time}linear_2.bias", f"{half}.times.{{i}}.linear_2.bias", (here,)),
        Key(f"{told}weight", f"{half}.conditions.{{i}}.weight", (here, "told")),
        Key(f"{told}bias", f"{half}.conditions.{{i}}.bias", (here,)),
        Key(f"{layer}0.weight", f"{half}.layers.{{i}}.0.weight", (there, here)),
        Key(f"{layer}0.bias", f"{half}.layers.{{i}}.0.bias", (there,)),
        Key(f"{layer}1.weight", f"{half}.layers.{{i}}.1.weight", (there,)),
        Key(f"{layer}1.bias", f"{half}.layers.{{i}}.1.bias", (there,)),
    ]


PRIOR_MAP = KeyMap(
    "the prior of ATM",
    (
        Key("input_layer.0.weight", "first.0.weight", ("w", "d")),
        Key("input_layer.0.bias", "first.0.bias", ("w",)),
        Key("input_layer.1.weight", "first.1.weight", ("w",)),
        Key("input_layer.1.bias", "first.1.bias", ("w",)),
        *_half("encode"),
        *_half("decode"),
        Key("output_layer.weight", "last.weight", ("d", "w")),
        Key("output_layer.bias", "last.bias", ("d",)),
    ),
)
QUIRKS = (
    "clean embeddings are cut to -1..1 at every step, the scheduler's default, although those of "
    "ViT-H/14 are larger at some places",
    "without a condition nothing is added at all, while training gave zeros to layers with offsets",
    "50 steps from time 980, ancestral (DDPM), guidance 5",
)


def prior_of(
    state: State, *, steps: int = 50, guidance: float = 5.0
) -> tuple[MLPUNetPrior, list[int], dict[str, str]]:
    """Return the prior with the steps and guidance of its programs, its widths, what was left."""
    matched = PRIOR_MAP.match(state.tensors)
    sizes, levels = matched.sizes, matched.sizes["#i"]
    hidden = [sizes["encode_in0"], *(sizes[f"encode_out{level}"] for level in range(levels))]
    back = [sizes["decode_in0"], *(sizes[f"decode_out{level}"] for level in range(levels))]
    inner = [sizes[f"encode_in{level}"] for level in range(levels)]
    if back != hidden[::-1] or hidden[0] != sizes["w"] or inner != hidden[:-1]:
        raise InputError(
            f"levels of {', '.join(map(str, hidden))} numbers down and "
            f"{', '.join(map(str, back))} up",
            expected="the same widths in reverse",
            remedy="get the file from its source",
        )
    if sizes["told"] != sizes["d"]:
        raise InputError(
            f"conditions of {sizes['told']} numbers for embeddings of {sizes['d']}",
            expected="as many, as between predicted and true embeddings",
            remedy="get the file from its source",
        )
    tensors = {}
    for name, value in matched.tensors.items():
        half, _, rest = name.partition(".")
        if half in HALVES:
            part, number, inside = rest.split(".", 2)
            place = int(number) + (levels if half == "decode" else 0)
            name = f"{part}.{place}.{inside}"
        tensors[name] = value
    config = {
        "dim": sizes["d"], "hidden": hidden, "time_dim": sizes["clock"], "faithful": True,
        "steps": steps, "guidance_scale": guidance,
    }  # fmt: skip
    made: MLPUNetPrior = filled(MLPUNetPrior, config, tensors)
    return made, hidden, matched.dropped


class ATMPrior(Family):
    """The prior alone: a model of embeddings that another program predicted."""

    name: ClassVar[str] = "atm-prior"
    title: ClassVar[str] = "the diffusion prior of ATM"
    paper: ClassVar[str] = (
        "Li et al. 2024, Visual decoding and reconstruction via EEG embeddings with guided "
        "diffusion (arXiv 2403.07721)"
    )
    source: ClassVar[str] = "LidongYang/EEG_Image_decode (dataset): diffusion_prior.pt"
    licence: ClassVar[str] = "MIT (repository)"
    settings: ClassVar[dict[str, Any]] = {}

    def recognises(self, shapes: Shapes) -> bool:
        return {"input_layer.0.weight", "encode_time_embedding.0.linear_1.weight"} <= set(shapes)

    def convert(self, state: State, request: Request) -> Converted:
        prior, hidden, dropped = prior_of(state)
        subject, target = request.subject, VIT_H(prior.dim)
        config: dict[str, Any] = {
            "voxels": {subject: prior.dim},
            "targets": {"pooled": [prior.dim]},
        }
        with_nothing = {"unused": GivenEmbedding(**config).state_dict()["unused"]}
        parts = ModelParts(
            encoder=filled(GivenEmbedding, config, with_nothing),
            target=target,
            preprocessor=Preprocessor("fmri").accept(subject, VoxelSpace.columns(prior.dim)),
            protocol=published_protocol(
                dataset="THINGS-EEG2 (Gifford 2022)",
                subjects=[subject],
                mask="embeddings that an encoder predicted, one row per trial",
                normalisation="none",
                fitted_on="nothing",
                averaging=("single trials", "as the embeddings were averaged"),
                selection="the last of 150 epochs",
            ),
            generator=OnDemand("ip-adapter-sdxl-turbo", target),
            baselines={},
            prior=prior,
        )
        words = {
            "embedding": str(prior.dim),
            "widths": ", ".join(map(str, hidden)),
        }
        notes = [
            "the file has no encoder: a recording is an array of embeddings (n, "
            f"{prior.dim}), such as the published features; convert the encoder with "
            "--from atm --with prior=FILE for a decoder of EEG"
        ]
        return Converted(parts, words, dropped, list(QUIRKS), notes)
