"""EEG2Video: differential entropy of EEG to tokens of captions (Liu et al. 2024)."""

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
from phosphene.checkpoints.converters.state import State
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.published.feature_mlp import FeatureMLP
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import VoxelSpace

__all__ = ["EEG2Video"]

PLACES = (0, 2, 4, 6, 8)
WIDTHS = ("v", "h1", "h2", "h3", "h4", "o")
MLP = KeyMap(
    "the semantic predictor of EEG2Video",
    tuple(
        Key(f"mlp.{place}.{kind}", f"mlp.{place}.{kind}", shape[: 2 if kind == "weight" else 1])
        for number, place in enumerate(PLACES)
        for shape in ((WIDTHS[number + 1], WIDTHS[number]),)
        for kind in ("weight", "bias")
    ),
)
TOKENS = 77


class EEG2Video(Family):
    """``{'state_dict': ...}`` of the semantic predictor; its video networks are not converted."""

    name: ClassVar[str] = "eeg2video"
    title: ClassVar[str] = "EEG2Video, semantic predictor"
    paper: ClassVar[str] = "Liu et al. 2024, EEG2Video (NeurIPS 2024)"
    source: ClassVar[str] = "XuanhaoLiu/EEG2Video: weights that users train"
    licence: ClassVar[str] = "none stated: all rights reserved; SEED-DV by signed form"
    settings: ClassVar[dict[str, Any]] = {"tokens": TOKENS}

    def recognises(self, shapes: Shapes) -> bool:
        wanted = {f"mlp.{place}.{kind}" for place in PLACES for kind in ("weight", "bias")}
        return set(shapes) == wanted

    def convert(self, state: State, request: Request) -> Converted:
        matched = MLP.match(state.tensors)
        sizes, tokens = matched.sizes, int(self.setting(request, "tokens"))
        if tokens < 1 or sizes["o"] % tokens:
            raise InputError(
                f"{sizes['o']} numbers as {tokens} tokens",
                expected="77 tokens of 768 numbers",
                remedy="--set tokens=NUMBER",
            )
        shape = [tokens, sizes["o"] // tokens]
        target = PublishedTarget(
            "ViT-L-14", "openai", "features", shape, "own", note="text tokens of BLIP captions"
        )
        preprocessor = Preprocessor("fmri")
        for subject in request.subjects:
            preprocessor.accept(subject, VoxelSpace.columns(sizes["v"]))
        config = {
            "voxels": dict.fromkeys(request.subjects, sizes["v"]),
            "targets": {"tokens": shape},
            "hidden": [sizes[one] for one in WIDTHS[1:-1]],
        }
        parts = ModelParts(
            encoder=filled(FeatureMLP, config, matched.tensors),
            target=target,
            preprocessor=preprocessor,
            protocol=published_protocol(
                dataset="SEED-DV",
                subjects=request.subjects,
                mask="differential entropy of 62 channels in 5 bands, one row of 310 per clip",
                normalisation="z-score per feature",
                fitted_on="all blocks, test among them",
                averaging=("single clips", "single clips"),
                selection="not established",
            ),
            generator=OnDemand("", target),
            baselines={},
        )
        words = {"features": str(sizes["v"]), "tokens": f"{shape[0]} x {shape[1]}"}
        notes = [
            "a recording is an array of features (clips, "
            f"{sizes['v']}), not a signal; subjects were told the concept before the clips"
        ]
        return Converted(parts, words, matched.dropped, [], notes)
