"""MindEye2: linear maps of subjects, a trunk that does nothing, token head, latents, prior.

Scotti et al. 2024. The facts about names, shapes and quirks are those of the published code; the
trunk's second mixer normalises over an axis of length one, so that all it adds is one number.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

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
)
from phosphene.checkpoints.converters.key_map import Key, KeyMap, Matched
from phosphene.checkpoints.converters.latent_keys import (
    ATTENTION_ALIASES,
    decoder_keys,
    projector_keys,
)
from phosphene.checkpoints.converters.mindeye2_forms import (
    LATENTS,
    MIXERS,
    as_published,
    folded_trunk,
)
from phosphene.checkpoints.converters.prior_keys import (
    PRIOR,
    prior_config,
    prior_tensors,
    schedule_buffers,
    schedule_length,
    schedule_note,
    with_repeats,
)
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.mindeye2 import MindEye2Encoder
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.mindeye import MindEyePrior
from phosphene.priors.structure import StructureBranch
from phosphene.types import VoxelSpace

__all__ = ["MINDEYE2", "MindEye2"]

PRIOR_PREFIX = "diffusion_prior."


def _trunk() -> list[Key]:
    keys = []
    widths: tuple[str | int, ...] = ("h", 1)
    for prefix, size in zip(MIXERS, widths, strict=True):
        shapes: dict[str, tuple[str | int, ...]] = {
            "0.weight": (size,), "0.bias": (size,), "1.0.weight": (size, size),
            "1.0.bias": (size,), "1.3.weight": (size, size), "1.3.bias": (size,),
        }  # fmt: skip
        keys += [Key(prefix + name, prefix + name, shape) for name, shape in shapes.items()]
    return keys


def _heads() -> list[Key]:
    keys = [
        Key("backbone.backbone_linear.weight", "backbone.backbone_linear.weight", ("t*d", "h")),
        Key("backbone.backbone_linear.bias", "backbone.backbone_linear.bias", ("t*d",)),
    ]
    for number in (0, 2, 3, 5, 6, 8):
        shape: tuple[str, ...] = ("d", "d") if number % 3 == 2 else ("d",)
        name = f"backbone.clip_proj.{number}."
        keys += [Key(f"{name}weight", f"{name}weight", shape), Key(f"{name}bias", f"{name}bias",
                                                                   ("d",))]  # fmt: skip
    return keys


def _latents() -> list[Key]:
    low = [
        Key("blin1.weight", "blin1.weight", ("64*q", "h")),
        Key("blin1.bias", "blin1.bias", ("64*q",)),
        Key("bnorm.weight", "bnorm.weight", (64,)),
        Key("bnorm.bias", "bnorm.bias", (64,)),
    ]
    # Only training uses the projector, so a file may come without it.
    for prefix, keys, part in (
        ("bupsampler.", decoder_keys(), "lowlevel"),
        ("b_maps_projector.", projector_keys(), "maps"),
    ):
        low += [Key(prefix + key.published, prefix + key.own, key.shape, part) for key in keys]
    return [
        Key("backbone." + key.published, LATENTS + key.own, key.shape, key.part or "lowlevel")
        for key in low
    ]


MINDEYE2 = KeyMap(
    "MindEye2",
    (
        Key("ridge.linears.{s}.weight", "ridge.linears.{s}.weight", ("h", "v{s}")),
        Key("ridge.linears.{s}.bias", "ridge.linears.{s}.bias", ("h",)),
        *_trunk(),
        *_heads(),
        *_latents(),
        *PRIOR.under(PRIOR_PREFIX, "prior.").keys,
    ),
    PRIOR.under(PRIOR_PREFIX).drops,
    ATTENTION_ALIASES,
)
DEAD = (
    "the trunk (four mixer blocks) only adds one learned number to the subject's linear map: its "
    "second mixer normalises over an axis of length one; --corrected folds it away"
)
QUIRKS = (
    "pictures in 0..1 were given to a network that expects -1..1, so the tokens are those of paler "
    "pictures (colours mindeye2); the generator was trained on them",
    "20 steps asked of the prior are 19 calls, from time 94, with all of DDIM's noise (eta 1); the "
    "sampler takes shares of signal from one time earlier than the network is told",
    "layer norms of the prior use 1e-3 in half precision and 1e-5 in single precision; here all "
    "runs in single precision",
    "the token target depends on the release of open_clip: before 2.24 it is before the last norm, "
    "later after it; weights expect it before",
)
BLEND = 0.25
BLENDED = (
    "a quarter of what is shown is the decoded low-level picture, as in the published evaluation, "
    "where the other three quarters are refined by SDXL first (--generator refine)"
)
UNBLENDED = (
    "latents are predicted and not shown: with the autoencoder that they are of, --with "
    "autoencoder=sd_image_var_autoenc.pth, a quarter of each picture is theirs, as published"
)


class MindEye2(Family):
    """Single-subject, fine-tuned and multi-subject checkpoints, with or without low-level head."""

    name: ClassVar[str] = "mindeye2"
    title: ClassVar[str] = "MindEye2"
    paper: ClassVar[str] = (
        "Scotti et al. 2024, MindEye2: shared-subject models enable fMRI-to-image with 1 hour of "
        "data (arXiv 2403.11207)"
    )
    source: ClassVar[str] = "pscotti/mindeyev2 (dataset), train_logs/NAME/last.pth"
    licence: ClassVar[str] = "not stated with the weights; NSD's terms apply to its data"
    marks: ClassVar[tuple[str, ...]] = (
        "ridge.linears.0.weight",
        "backbone.backbone_linear.weight",
        "backbone.mixer_blocks2.0.0.weight",
    )
    # Whether the tokens that go to the prior are those of the retrieval head.
    settings: ClassVar[dict[str, Any]] = {"steps": 20, "projected": False}
    files: ClassVar[dict[str, str]] = {"autoencoder": AUTOENCODER}
    correctable: ClassVar[bool] = True
    key_map: ClassVar[KeyMap] = MINDEYE2
    dataset: ClassVar[str] = "Natural Scenes Dataset"
    known_voxels: ClassVar[dict[int, str]] = NSD_VOXELS

    def recognises(self, shapes: Shapes) -> bool:
        video = ("clipproj.", "motion_proj.", "text_dec.", "text_seg_dec.")
        others = any(name.startswith(video) for name in shapes)
        return super().recognises(shapes) and not others

    def convert(self, state: State, request: Request) -> Converted:
        matched = self.key_map.match(state.tensors)
        sizes = matched.sizes
        encoder = self.encoder(matched, request)
        prior = self.prior(state, matched, request)
        target = PublishedTarget(
            "ViT-bigG-14", "laion2b_s39b_b160k", "patches", [sizes["t"], sizes["d"]],
            colours="mindeye2", width=1664, layers=48,
            note="before the last norm; bicubic resize to 224 with antialiasing",
        )  # fmt: skip
        preprocessor = Preprocessor("fmri")
        for place, subject in enumerate(request.subjects):
            preprocessor.accept(subject, VoxelSpace.columns(sizes[f"v{place}"]))
        parts = ModelParts(
            encoder=encoder,
            target=target,
            preprocessor=preprocessor,
            protocol=self.protocol(request.subjects),
            generator=OnDemand("sdxl-unclip", target),
            baselines={},
            prior=prior,
        )
        quirks = [*([] if request.corrected else [DEAD]), *QUIRKS]
        notes = schedule_note(state.tensors, PRIOR_PREFIX)
        if request.file("autoencoder") is not None:
            self._blend(parts, encoder, request)
            quirks.append(BLENDED)
        elif "lowlevel" in encoder.targets and "autoencoder" in self.files:
            notes.append(UNBLENDED)
        return Converted(parts, self.words(matched), matched.dropped, quirks, notes)

    def _blend(self, parts: ModelParts, encoder: MindEye2Encoder, request: Request) -> None:
        """Mix decoded latents into what is rendered, as the published evaluation does."""
        shape = encoder.targets.get("lowlevel")
        if shape is None:
            raise UsageError(
                "an autoencoder for weights without a low-level head",
                expected="weights that predict latents",
                remedy="leave --with autoencoder out",
            )
        start = low_level_target(request, shape)
        parts.structure_target = start
        parts.branch = StructureBranch(start.spec.hash, 1.0, BLEND)

    def encoder(self, matched: Matched, request: Request) -> MindEye2Encoder:
        """Return the brain encoder; the corrected form has the trunk's number in its biases."""
        sizes, subjects = matched.sizes, request.subjects
        voxels = [sizes[f"v{place}"] for place in range(sizes["#s"])]
        if len(voxels) != len(subjects):
            raise UsageError(
                f"{len(subjects)} subjects for a file with {len(voxels)} linear maps, of "
                f"{', '.join(map(str, voxels))} voxels",
                expected="one --subject per linear map, in the order of the file",
                remedy="repeat --subject; fine-tuned files have one map, pre-trained ones seven",
            )
        for subject, number in zip(subjects, voxels, strict=True):
            check_voxels(subject, number, self.known_voxels, self.dataset)
        config: dict[str, Any] = {
            "voxels": dict(zip(subjects, voxels, strict=True)),
            "targets": {"tokens": [sizes["t"], sizes["d"]]},
            "width": sizes["h"],
            "faithful": True,
            "depth": sizes["#b"],
            "projected": bool(self.setting(request, "projected")),
        }
        if "lowlevel" in matched.parts:
            side = math.isqrt(sizes["q"])
            if side * side != sizes["q"]:
                raise InputError(
                    f"a low-level head on {sizes['q']} places",
                    expected="a square grid, such as 7 x 7",
                    remedy="get the file from its source",
                )
            config["targets"]["lowlevel"] = [sizes["o"], 4 * side, 4 * side]
            config["latent_channels"] = [sizes["c1"], sizes["c2"], sizes["c3"]]
        tensors = {
            name: value for name, value in matched.tensors.items() if not name.startswith("prior.")
        }
        for place, subject in enumerate(subjects):
            for kind in ("weight", "bias"):
                value = tensors.pop(f"ridge.linears.{place}.{kind}")
                tensors[f"ridge.linears.sub-{subject}.{kind}"] = value
        if "lowlevel" in matched.parts and "maps" not in matched.parts:
            for key in projector_keys():
                shape = [int(one) for one in key.shape]
                tensors[f"{LATENTS}b_maps_projector.{key.own}"] = torch.zeros(shape)
        if request.corrected:
            tensors = folded_trunk(tensors, sizes["#b"], subjects)
            config["depth"] = 0
        found: MindEye2Encoder = filled(MindEye2Encoder, config, tensors)
        return found

    def prior(self, state: State, matched: Matched, request: Request) -> MindEyePrior | None:
        """Return the prior, where the file has one."""
        if "prior" not in matched.parts:
            return None
        timesteps = schedule_length(state.tensors, PRIOR_PREFIX)
        config = prior_config(matched, timesteps, int(self.setting(request, "steps")))
        made: MindEyePrior = filled(MindEyePrior, config, prior_tensors(matched, "prior."))
        return made

    def protocol(self, subjects: tuple[str, ...]) -> Any:
        """Return what is known of the training."""
        return published_protocol(
            dataset=self.dataset,
            subjects=subjects,
            mask="nsdgeneral at 1.8 mm",
            normalisation="z-score per voxel and session",
            fitted_on="training trials, says the paper; the public preparation notebook fits on "
            "all trials",
            averaging=("single trials", "outputs of three repetitions averaged"),
            selection="the last epoch; the test pictures were looked at in every epoch",
        )

    def words(self, matched: Matched) -> dict[str, str]:
        """Return the sizes in words."""
        sizes = matched.sizes
        voxels = [str(sizes[f"v{place}"]) for place in range(sizes["#s"])]
        found = {
            "width": str(sizes["h"]),
            "tokens": f"{sizes['t']} x {sizes['d']}",
            "voxels": ", ".join(voxels),
            "low-level head": "no",
            "prior": "no",
        }
        if "lowlevel" in matched.parts:
            found["low-level head"] = f"yes, channels {sizes['c1']}, {sizes['c2']}, {sizes['c3']}"
        if "prior" in matched.parts:
            found["prior"] = f"{sizes['#l']} layers, {sizes['heads']} heads of {sizes['e']}"
        return found

    def write(self, parts: ModelParts) -> Any:
        """Return ``model_state_dict`` and counters, as the published files have them."""
        encoder = parts.encoder
        if not isinstance(encoder, MindEye2Encoder) or "tokens" not in encoder.targets:
            raise UsageError(
                f"a model with the encoder {parts.encoder.name} as MindEye2",
                expected="a model whose encoder is mindeye2 and predicts tokens",
                remedy="name such a model, or --to atm for one of ATM",
            )
        own, sizes = as_published(encoder)
        low = any(name.startswith(LATENTS) for name in own)
        kinds = {"lowlevel", "maps"} if low else set()
        more: dict[str, Tensor] = {}
        if isinstance(parts.prior, MindEyePrior):
            prior = parts.prior
            sizes |= {"#l": len(prior.attention)}
            own |= {
                f"prior.{name}": value
                for name, value in with_repeats(prior.state_dict(), sizes["#l"]).items()
            }
            kinds.add("prior")
            more = {
                f"{PRIOR_PREFIX}noise_scheduler.{name}": value
                for name, value in schedule_buffers(prior.timesteps).items()
            }
        weights = self.key_map.written(own, sizes, kinds) | more
        return {
            "epoch": 0, "model_state_dict": weights, "optimizer_state_dict": {},
            "lr_scheduler": {}, "train_losses": [], "test_losses": [], "lrs": [],
        }  # fmt: skip
