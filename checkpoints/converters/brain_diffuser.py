"""Brain-Diffuser: linear fits per token, pickled as arrays (Ozcelik and VanRullen 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

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
from phosphene.checkpoints.converters.key_map import Key, KeyMap
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.published.token_ridge import TokenRidge
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, check_option
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import VoxelSpace

__all__ = ["BrainDiffuser"]

TOKENS = KeyMap(
    "Brain-Diffuser",
    (Key("weight", "weight", ("t", "d", "v")), Key("bias", "bias", ("t", "d"))),
)
ROW = KeyMap("Brain-Diffuser", (Key("weight", "weight", ("d", "v")), Key("bias", "bias", ("d",))))
KINDS = ("vision", "text", "vdvae")
TEXT_TOKENS = 77
QUIRKS = (
    "the published programs then bring predictions to mean and deviation of the training targets "
    "by the test set's own mean and deviation, which takes many test pictures at once; it is not "
    "done here, so lengths are those of the regression",
)


class BrainDiffuser(Family):
    """``{'weight', 'bias'}`` of picture tokens, text tokens, or latents of the VDVAE."""

    name: ClassVar[str] = "brain-diffuser"
    title: ClassVar[str] = "Brain-Diffuser"
    paper: ClassVar[str] = (
        "Ozcelik and VanRullen 2023, Natural scene reconstruction from fMRI signals using "
        "generative latent diffusion"
    )
    source: ClassVar[str] = (
        "ozcelikfu/brain-diffuser: pickles that its regression scripts write; none are published"
    )
    licence: ClassVar[str] = "not stated"
    settings: ClassVar[dict[str, Any]] = {"kind": None}

    def recognises(self, shapes: Shapes) -> bool:
        if set(shapes) != {"weight", "bias"}:
            return False
        weight, bias = shapes["weight"], shapes["bias"]
        return len(weight) in (2, 3) and weight[:-1] == bias

    def suits(self, shapes: Shapes, path: Path) -> bool:
        # Any linear layer has a weight and a bias; what these scripts write is a pickle of arrays.
        return len(shapes["weight"]) == 3 or path.suffix in (".pkl", ".pickle")

    def convert(self, state: State, request: Request) -> Converted:
        subject = request.subject
        weight = state.tensors.get("weight")
        wide = weight is None or weight.ndim == 3
        matched = (TOKENS if wide else ROW).match(state.tensors)
        sizes = matched.sizes
        check_voxels(subject, sizes["v"], NSD_VOXELS, "NSD")
        tokens = sizes["t"] if wide else 1
        kind = self.setting(request, "kind")
        if kind is None:
            kind = "vdvae" if not wide else "text" if tokens == TEXT_TOKENS else "vision"
        check_option("kind", kind, KINDS)
        if (kind == "vdvae") == wide:
            raise InputError(
                f"weights of shape {tuple(state.tensors['weight'].shape)} as {kind}",
                expected="three axes for tokens, two for latents",
                remedy="--set kind=NAME that fits, or leave it away",
            )
        shape = [tokens, sizes["d"]] if wide else [sizes["d"]]
        target, generator = _target(kind, shape)
        config = {
            "voxels": {subject: sizes["v"]},
            "targets": {"tokens" if wide else "pooled": shape},
        }
        weight, bias = (matched.tensors[name] for name in ("weight", "bias"))
        tensors = {
            f"maps.sub-{subject}.weight": weight if wide else weight[None],
            f"maps.sub-{subject}.bias": bias if wide else bias[None],
        }
        parts = ModelParts(
            encoder=filled(TokenRidge, config, tensors),
            target=target,
            preprocessor=Preprocessor("fmri").accept(subject, VoxelSpace.columns(sizes["v"])),
            protocol=published_protocol(
                dataset="Natural Scenes Dataset, 37 sessions",
                subjects=[subject],
                mask="nsdgeneral at 1.8 mm",
                normalisation="divided by 300, then z-score over pictures (ddof 1)",
                fitted_on="training pictures",
                averaging=("mean of the repetitions", "mean of the repetitions"),
                selection="fixed penalties",
            ),
            generator=OnDemand(generator, target),
            baselines={},
        )
        words = {"kind": kind, "target": " x ".join(map(str, shape)), "voxels": str(sizes["v"])}
        return Converted(parts, words, matched.dropped, list(QUIRKS))


def _target(kind: str, shape: list[int]) -> tuple[PublishedTarget, str]:
    if kind == "vision":
        target = PublishedTarget(
            "ViT-L-14", "openai", "projected", shape, width=1024, layers=24,
            note="picture encoder of Versatile Diffusion",
        )  # fmt: skip
        return target, "versatile"
    if kind == "text":
        note = "tokens of captions, mean over the captions of a picture"
        return PublishedTarget("ViT-L-14", "openai", "features", shape, "own", note=note), ""
    note = "latents of 31 layers for pictures of 64 pixels"
    return PublishedTarget("VDVAE", "imagenet64", "features", shape, "own", note=note), ""
