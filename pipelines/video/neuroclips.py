"""NeuroClips as a decoder of clips: keyframes by one converted model, blurry videos by another.

``neuroclips:SEMANTIC,PERCEPTION`` stands for two folders that ``phosphene convert`` wrote of
``video_subj0X_SR.pth`` and ``video_subj0X_PR.pth`` (Gong et al. 2024, arXiv 2410.19452). The
semantic reconstructor with its prior gives the keyframe of each clip, the perception
reconstructor the latents of six frames: the perception flow. There is no optical flow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phosphene.data.movies.cc2017 import TR, TRIMMED_START, polynomial_residuals
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.encoders.brain.published.neuroclips_perception import NeuroClipsPerception
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.starts import shares_latents
from phosphene.pipelines.generators.video.base import VideoGenerator
from phosphene.pipelines.generators.video.choosing import open_video_generator
from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow
from phosphene.pipelines.model_folder import ModelParts, load_model
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.video.model import NEUROCLIPS as PREFIX
from phosphene.pipelines.video.model import VideoModel
from phosphene.priors.identity import IdentityPrior
from phosphene.schemas.video import ClipTiming
from phosphene.storage import hash_bytes
from phosphene.trials import complete_trials
from phosphene.types import BrainEmbedding, Recording

__all__ = ["NeuroClips", "load_neuroclips"]

CLIP_SECONDS = 2.0
EXPECTED = (
    f"{PREFIX}SEMANTIC,PERCEPTION: the folders that `phosphene convert video_subj01_SR.pth` and "
    "`phosphene convert video_subj01_PR.pth` wrote"
)


@dataclass(frozen=True)
class _Heads:
    """What the two networks decode, as a record of a run words it."""

    heads: dict[str, tuple[int, ...]]
    name: str = "neuroclips"


@dataclass(eq=False)
class NeuroClips(VideoModel):
    """Two converted models as one decoder of clips; one volume per clip, 4 s after it.

    Attributes
    ----------
    perception : ModelParts
        The other model; ``pictures`` holds the semantic one with its prior.
    """

    encoder: Any
    perception: ModelParts = field(kw_only=True)

    def decode(self, run: MovieRun, clips: MovieClips) -> dict[str, torch.Tensor]:
        """Return tokens, what the prior starts from, and latents (n, frames, c, h, w).

        Volumes lose a polynomial of degree 4 and are z-scored within the run, as published; a
        clip depends on its own volume alone.
        """
        volumes = polynomial_residuals(np.asarray(run.recording.data))[clips.rows[:, 0]]
        recording = Recording(
            volumes,
            "fmri",
            run.recording.subject,
            complete_trials(None, len(clips)),
            run.recording.space,
        )
        parts = self.pictures.embed(recording).parts
        prepared = self.perception.preprocessor.transform(recording)
        latents = self.perception.encoder.encode(prepared).lowlevel
        assert latents is not None  # what this network predicts
        frames = self.encoder.heads["lowlevel"][0]
        decoded = {name: part.cpu() for name, part in parts.items() if name != "lowlevel"}
        return decoded | {"lowlevel": latents.cpu().unflatten(1, (frames, -1))}

    def embedding(self, decoded: dict[str, torch.Tensor]) -> BrainEmbedding:
        """Return the embedding of the keyframes: the semantic model's own, no blurry frame."""
        return BrainEmbedding(
            **{name: part for name, part in decoded.items() if name != "lowlevel"}
        )


def load_neuroclips(
    name: str,
    *,
    generator: str | None = None,
    generator_options: dict[str, Any] | None = None,
    keyframes: str | None = None,
    keyframe_options: dict[str, Any] | None = None,
    device: str = "auto",
    **options: Any,
) -> NeuroClips:
    """Open both folders as one model.

    Parameters
    ----------
    name : str
        ``neuroclips:SEMANTIC,PERCEPTION``.
    generator, generator_options, keyframes, keyframe_options, device, **options
        As for :func:`~phosphene.pipelines.video.model.load_video_model`.

    Raises
    ------
    UsageError
        If there are not two folders.
    InputError
        If one is not what it has to be, or they know no subject in common.
    """
    places = [part for part in name.removeprefix(PREFIX).split(",") if part]
    if len(places) != 2:
        raise UsageError(
            f"--model {name} does not name two folders",
            expected=EXPECTED,
            remedy="name both, with a comma between them",
        )
    pictures = Reconstructor.from_pretrained(
        places[0], generator=keyframes, generator_options=keyframe_options, device=device, **options
    )
    perception = load_model(places[1])
    encoder = perception.encoder
    if not isinstance(encoder, NeuroClipsPerception):
        raise InputError(
            f"{places[1]} holds the encoder {perception.encoder.name}",
            expected=EXPECTED,
            remedy="name the semantic model first and the perception model second",
        )
    spaces = _common_spaces(pictures.parts, perception, name)
    channels, height, width = encoder.targets["lowlevel"]
    shape = (channels // encoder.frames, height, width)
    made = open_video_generator(
        generator or KeyframeFlow.name, Path(places[0]) / "video_generator",
        pictures.parts.generator, generator_options,
    )  # fmt: skip
    return NeuroClips(
        encoder=_Heads({"tokens": (), "lowlevel": (encoder.frames, *shape)}),
        prior=IdentityPrior(),
        generator=_without_strangers(made, shape).to(pictures.device),
        pictures=pictures,
        picture_model=pictures.parts.name,
        timing=ClipTiming(
            seconds=CLIP_SECONDS, delay=TRIMMED_START, window=TR, tr=TR, moments=encoder.frames
        ),
        spaces=spaces,
        protocol=pictures.parts.protocol,
        metrics={},
        name="neuroclips",
        hash=hash_bytes(f"{pictures.parts.hash}{perception.hash}".encode())[:16],
        perception=perception,
    )


def _without_strangers(made: VideoGenerator, shape: tuple[int, ...]) -> VideoGenerator:
    """Return a generator that mixes in no frames which its autoencoder would misread."""
    if isinstance(made, KeyframeFlow) and not shares_latents(shape, made.latents):
        return KeyframeFlow(None, made.correction, made.gain)
    return made


def _common_spaces(semantic: ModelParts, perception: ModelParts, name: str) -> dict[str, Any]:
    """Return the voxels of each subject that both models know."""
    readers = [parts.preprocessor for parts in (semantic, perception)]
    both = sorted(set(readers[0].subjects) & set(readers[1].subjects))
    spaces = {label: [reader.space(label) for reader in readers] for label in both}
    differing = [label for label, (one, other) in spaces.items() if one.hash != other.hash]
    if not both or differing:
        raise InputError(
            f"the models of {name} know "
            + (f"subject {differing[0]} by different voxels" if differing else "no common subject"),
            expected=f"subjects {', '.join(sorted(readers[0].subjects))} with the same voxels in "
            "both",
            remedy="convert both files of one subject, with the same --subject",
        )
    return {label: one for label, (one, _) in spaces.items()}
