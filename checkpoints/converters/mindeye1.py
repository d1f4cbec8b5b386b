"""MindEye: a residual perceptron with projector and prior, and a low-level model beside it.

Scotti et al. 2023. Two files per subject: the prior's object, in which the brain encoder is a part
(``voxel2clip``), and for subject 1 a model of latents.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from phosphene.checkpoints.converters.autoencoder import AUTOENCODER, low_level_target
from phosphene.checkpoints.converters.family import (
    NSD_VOXELS,
    Converted,
    Family,
    Request,
    Shapes,
    check_voxels,
    filled,
    published_protocol,
    tensors_of,
    under,
)
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap
from phosphene.checkpoints.converters.latent_keys import ATTENTION_ALIASES, decoder_keys
from phosphene.checkpoints.converters.prior_keys import (
    PRIOR,
    prior_config,
    prior_tensors,
    schedule_length,
    schedule_note,
)
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.mindeye1 import MindEye1Encoder
from phosphene.encoders.brain.published.mindeye1_latents import MindEye1Latents
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.mindeye import MindEyePrior
from phosphene.priors.structure import StructureBranch
from phosphene.types import VoxelSpace

__all__ = ["LATENT_MAP", "MINDEYE1", "MindEye1"]

V = "voxel2clip."


def _encoder_keys() -> list[Key]:
    keys = [
        Key(f"{V}lin0.0.weight", "enc.lin0.0.weight", ("h", "v")),
        Key(f"{V}lin0.0.bias", "enc.lin0.0.bias", ("h",)),
        Key(f"{V}lin0.1.weight", "enc.lin0.1.weight", ("h",)),
        Key(f"{V}lin0.1.bias", "enc.lin0.1.bias", ("h",)),
        Key(f"{V}lin1.weight", "enc.lin1.weight", ("t*d", "h")),
        Key(f"{V}lin1.bias", "enc.lin1.bias", ("t*d",)),
    ]
    for name, shape in (("0.weight", ("h", "h")), ("0.bias", ("h",)), ("1.weight", ("h",)),
                        ("1.bias", ("h",))):  # fmt: skip
        keys.append(Key(f"{V}mlp.{{b}}.{name}", f"enc.mlp.{{b}}.{name}", shape))
    sizes: dict[int, tuple[str, ...]] = {
        0: ("d",),
        2: ("p", "d"),
        3: ("p",),
        5: ("p", "p"),
        6: ("p",),
        8: ("d", "p"),
    }
    for number, axes in sizes.items():
        name = f"projector.{number}."
        keys.append(Key(f"{V}{name}weight", f"enc.{name}weight", axes))
        keys.append(Key(f"{V}{name}bias", f"enc.{name}bias", axes[:1]))
    return keys


MINDEYE1 = KeyMap("MindEye", (*_encoder_keys(), *PRIOR.under("", "prior.").keys), PRIOR.drops)

LATENT_MAP = KeyMap(
    "the low-level model of MindEye",
    (
        Key("lin0.0.weight", "lin0.0.weight", ("h", "v")),
        Key("lin0.1.weight", "lin0.1.weight", ("h",)),
        Key("lin0.1.bias", "lin0.1.bias", ("h",)),
        Key("mlp.{b}.0.weight", "mlp.{b}.0.weight", ("h", "h")),
        Key("mlp.{b}.1.weight", "mlp.{b}.1.weight", ("h",)),
        Key("mlp.{b}.1.bias", "mlp.{b}.1.bias", ("h",)),
        Key("lin1.weight", "lin1.weight", ("64*q", "h")),
        Key("norm.weight", "norm.weight", (64,)),
        Key("norm.bias", "norm.bias", (64,)),
        *(
            Key(f"upsampler.{key.published}", f"upsampler.{key.own}", key.shape)
            for key in decoder_keys()
        ),
    ),
    (Drop("maps_projector.*", "compares maps with a teacher's features, in training alone"),),
    ATTENTION_ALIASES,
)
QUIRKS = (
    "100 steps of the prior are ancestral sampling; what it gives is divided by the length of the "
    "class token, as the generator was trained on",
    "the projector's output serves retrieval; of 16 pictures per trial the published pipeline "
    "kept the one nearest to it, which is not done here",
)
START = (
    "pictures start from the low-level one at strength 0.85; the published program brings it to "
    "the colours of CLIP before its autoencoder, which takes -1..1: here it gets what it takes"
)
SHARED = "its latents are those of the generator's own autoencoder and go there as they are"
STRENGTH = 0.85
POOLED: tuple[str, dict[str, Any]] = ("stable-unclip-small", {})
TOKENS: tuple[str, dict[str, Any]] = (
    "versatile",
    {"steps": 20, "scheduler": "UniPCMultistepScheduler", "guidance_scale": 3.5},
)


class MindEye1(Family):
    """The prior's file, with the low-level model where it is named, or the latter alone."""

    name: ClassVar[str] = "mindeye1"
    title: ClassVar[str] = "MindEye"
    paper: ClassVar[str] = (
        "Scotti et al. 2023, Reconstructing the mind's eye: fMRI-to-image with contrastive "
        "learning and diffusion priors (NeurIPS 2023)"
    )
    source: ClassVar[str] = (
        "pscotti/naturalscenesdataset (dataset): prior_257_final_subj01_bimixco_softclip_byol/"
        "last.pth, autoencoder_subj01_4x_locont_no_reconst/epoch120.pth"
    )
    licence: ClassVar[str] = "not stated with the weights; NSD's terms apply to its data"
    settings: ClassVar[dict[str, Any]] = {"steps": None}
    files: ClassVar[dict[str, str]] = {
        "lowlevel": "the file of the low-level model",
        "autoencoder": AUTOENCODER,
    }

    def recognises(self, shapes: Shapes) -> bool:
        return f"{V}lin0.0.weight" in shapes or _is_latent_model(shapes)

    def convert(self, state: State, request: Request) -> Converted:
        if _is_latent_model(state.shapes()):
            return self._latents_alone(state, request)
        matched = MINDEYE1.match(state.tensors)
        sizes, subject = matched.sizes, request.subject
        check_voxels(subject, sizes["v"], NSD_VOXELS, "NSD")
        pooled = sizes["t"] == 1
        shape = [sizes["d"]] if pooled else [sizes["t"], sizes["d"]]
        config = {
            "voxels": {subject: sizes["v"]},
            "targets": {"pooled" if pooled else "tokens": shape},
            "width": sizes["h"], "depth": sizes["#b"], "projector_width": sizes["p"],
        }  # fmt: skip
        tensors = {
            name.replace("lin0.", f"lin0.sub-{subject}.", 1): value
            for name, value in under(matched, "enc.").items()
        }
        target = PublishedTarget(
            "ViT-L-14", "openai", "pooled" if pooled else "projected", shape, width=1024, layers=24,
            note="picture encoder of Versatile Diffusion" if not pooled else "of unit length",
        )  # fmt: skip
        prior = None
        if "prior" in matched.parts:
            timesteps = schedule_length(state.tensors, "")
            steps = self.setting(request, "steps") or timesteps
            options = prior_config(matched, timesteps, int(steps))
            options["class_token_length"] = not pooled
            prior = filled(MindEyePrior, options, prior_tensors(matched, "prior."))
        low, words, dropped = self._beside(request, sizes["v"])
        entry, options = POOLED if pooled else TOKENS
        parts = ModelParts(
            encoder=filled(MindEye1Encoder, config, tensors),
            target=target,
            preprocessor=_preprocessor(subject, sizes["v"]),
            protocol=_protocol(subject),
            generator=OnDemand(entry, target, options),
            baselines={},
            prior=prior,
            structure=low,
        )
        quirks = list(QUIRKS)
        # A generator of pooled embeddings has another autoencoder, and takes decoded pictures.
        if low is not None and (not pooled or "autoencoder" in request.beside):
            start = low_level_target(request, low.targets["lowlevel"])
            parts.structure_target = start
            parts.branch = StructureBranch(start.spec.hash, STRENGTH)
            quirks.append(START if start.can_decode else f"{START}; {SHARED}")
        found = {
            "width": str(sizes["h"]),
            "tokens": f"{sizes['t']} x {sizes['d']}",
            "voxels": str(sizes["v"]),
            "prior": "no" if prior is None else f"{sizes['#l']} layers",
            **words,
        }
        notes = schedule_note(state.tensors, "")
        return Converted(parts, found, {**matched.dropped, **dropped}, quirks, notes)

    def _beside(
        self, request: Request, voxels: int
    ) -> tuple[MindEye1Latents | None, dict[str, str], dict[str, str]]:
        path = request.file("lowlevel")
        if path is None and "autoencoder" in request.beside:
            raise UsageError(
                "an autoencoder without a low-level model",
                expected="--with lowlevel=FILE, whose latents it decodes",
                remedy="name both, or neither",
            )
        if path is None:
            return None, {"low-level model": "no (--with lowlevel=FILE)"}, {}
        encoder, words, dropped = _latent_model(tensors_of(Path(path)), request)
        if encoder.voxels[request.subject] != voxels:
            raise InputError(
                f"a low-level model of {encoder.voxels[request.subject]} voxels",
                expected=f"{voxels}, as the encoder has",
                remedy="name the files of one subject",
            )
        return encoder, words, dropped

    def _latents_alone(self, state: State, request: Request) -> Converted:
        encoder, words, dropped = _latent_model(state, request)
        target = low_level_target(request, encoder.targets["lowlevel"])
        voxels = encoder.voxels[request.subject]
        parts = ModelParts(
            encoder=encoder,
            target=target,
            preprocessor=_preprocessor(request.subject, voxels),
            protocol=_protocol(request.subject),
            generator=OnDemand("", target),
            baselines={},
        )
        return Converted(parts, {"voxels": str(voxels), **words}, dropped)


def _is_latent_model(shapes: Shapes) -> bool:
    return {"lin0.0.weight", "upsampler.conv_in.weight", "norm.weight"} <= set(shapes)


def _latent_model(
    state: State, request: Request
) -> tuple[MindEye1Latents, dict[str, str], dict[str, str]]:
    """Return the low-level model, its sizes in words, and what was left out."""
    matched = LATENT_MAP.match(state.tensors)
    sizes, subject = matched.sizes, request.subject
    check_voxels(subject, sizes["v"], NSD_VOXELS, "NSD")
    side = math.isqrt(sizes["q"])
    if side * side != sizes["q"]:
        raise InputError(
            f"a grid of {sizes['q']} places",
            expected="a square one, such as 16 x 16",
            remedy="get the file from its source",
        )
    config = {
        "voxels": {subject: sizes["v"]},
        "targets": {"lowlevel": [sizes["o"], 4 * side, 4 * side]},
        "width": sizes["h"], "depth": sizes["#b"],
        "latent_channels": [sizes["c1"], sizes["c2"], sizes["c3"]],
    }  # fmt: skip
    tensors = {
        name.replace("lin0.", f"lin0.sub-{subject}.", 1): value
        for name, value in matched.tensors.items()
    }
    words = {"low-level model": f"latents {sizes['o']} x {4 * side} x {4 * side}"}
    return filled(MindEye1Latents, config, tensors), words, matched.dropped


def _preprocessor(subject: str, voxels: int) -> Preprocessor:
    return Preprocessor("fmri").accept(subject, VoxelSpace.columns(voxels))


def _protocol(subject: str) -> Any:
    return published_protocol(
        dataset="Natural Scenes Dataset",
        subjects=[subject],
        mask="nsdgeneral at 1.8 mm",
        normalisation="z-score per session",
        fitted_on="not established",
        averaging=("one of three repetitions, by the step's number", "mean of three recordings"),
        selection="the validation set was the test set",
    )
