"""Settings that every published video generator takes."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from phosphene.checkpoints.registry import (
    KnownGenerator,
    find_video_generator,
    known_video_generators,
)
from phosphene.config import Config
from phosphene.errors import UsageError, check_option

__all__ = ["VideoOptions", "published_video_entry"]


class VideoOptions(Config):
    """Settings of a published video generator.

    Attributes
    ----------
    steps : int
        Network calls per clip.
    guidance_scale : float
        1 and below is no guidance, and half the work.
    height, width : int
        Of its frames in pixels. A keyframe of another shape lies in their middle, its border
        continued, and frames are cut to its shape again.
    rate : float, optional
        Frames per second that the network was trained on; those asked for are picked from them.
        None takes the rate that is asked for.
    frames : int, optional
        Length that the network always has; the first are used.
    scheduler : str, optional
        Class in diffusers; the pipeline's own by default.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        Of the network that denoises; half precision on a GPU and float32 elsewhere by default.
        Autoencoders run in float32.
    offload : bool
        Keep each network on the GPU only while it runs.
    tiling : bool
        Encode and decode frames in tiles.
    decode_frames : int
        Frames that are decoded at a time, where the autoencoder does not choose by itself.
    batch : int or "auto", optional
        Clips rendered at a time: 1 by default; ``auto`` measures what one takes of a GPU's memory.
    prompt, negative_prompt : str
        Encoded once.
    captions : bool
        Keep the text encoders, so that each clip's caption takes the place of the prompt.
    start : float, optional
        Strength at which clips start from the decoded perception flow, where no other start is
        given: 0 shows it, 1 ignores it, as does None.
    radial : bool
        Look at fewer places of distant frames, from 18 latent frames on.
    radial_factor : float
        Widens what they see.
    radial_kernel : {"blocks", "flex", "mask"}
    radial_dense_layers : int
        First layers that see everything.
    radial_dense_share : float
        First share of the steps in which every layer does.
    """

    steps: PositiveInt = 25
    guidance_scale: float = 5.0
    height: PositiveInt = 512
    width: PositiveInt = 512
    rate: PositiveFloat | None = None
    frames: PositiveInt | None = None
    scheduler: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    offload: bool = False
    tiling: bool = False
    decode_frames: PositiveInt = 8
    batch: PositiveInt | Literal["auto"] | None = None
    prompt: str = ""
    negative_prompt: str = ""
    captions: bool = False
    start: float | None = None
    radial: bool = False
    radial_factor: PositiveFloat = 0.2
    radial_kernel: Literal["blocks", "flex", "mask"] = "blocks"
    radial_dense_layers: int = 1
    radial_dense_share: float = 0.24


def published_video_entry(name: str, kind: str) -> tuple[str, KnownGenerator]:
    """Return name and entry of a published video generator of this kind."""
    found = find_video_generator(name)
    if found is None or found[1].generator != kind:
        names = [key for key, entry in known_video_generators().items() if entry.generator == kind]
        check_option("video generator", name, names)
        raise UsageError(f"the video generator {name!r}", f"one of {', '.join(names)}")
    return found
