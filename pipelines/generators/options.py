"""Settings that every published generator takes, and where its own are listed."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from phosphene.checkpoints.registry import KnownGenerator, find_generator, known_generators
from phosphene.config import Config
from phosphene.errors import UsageError, check_option

__all__ = ["PretrainedOptions", "published_entry"]


class PretrainedOptions(Config):
    """Settings of a published generator.

    Attributes
    ----------
    steps : int
        Network calls per picture.
    guidance_scale : float
        1 and below is no guidance, and half the work.
    size : int, optional
        Side of the pictures in pixels; what the networks were trained for by default.
    scheduler : str, optional
        Class in diffusers; the pipeline's own by default.
    dtype : {"auto", "float32", "float16", "bfloat16"}
        Of the UNet; float16 on a GPU and float32 elsewhere by default. Autoencoders always run in
        float32.
    attention : {"native", "flex", "xformers"}
    offload : bool
        Keep each network on the GPU only while it runs.
    tiling : bool
        Decode pictures in tiles.
    batch : int or "auto", optional
        Pictures rendered at a time: 4 on a GPU, 1 elsewhere by default; ``auto`` measures what one
        takes of a GPU's memory. How many are asked for never changes a picture; this number does
        in the last digit.
    embedding_length : float, optional
        Mean length of the picture encoder's embeddings, for targets of unit length.
    prompt, negative_prompt : str
        Encoded once.
    captions : bool
        Keep the text encoders, so that each picture can have a caption in place of the prompt.
    """

    steps: PositiveInt = 20
    guidance_scale: float = 5.0
    size: int | None = None
    scheduler: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    attention: str = "native"
    offload: bool = False
    tiling: bool = False
    batch: PositiveInt | Literal["auto"] | None = None
    embedding_length: float | None = None
    prompt: str = ""
    negative_prompt: str = ""
    captions: bool = False


def published_entry(name: str, kind: str) -> tuple[str, KnownGenerator]:
    """Return name and entry of a published generator of this kind."""
    found = find_generator(name)
    if found is None or found[1].generator != kind:
        names = [key for key, entry in known_generators().items() if entry.generator == kind]
        check_option("generator", name, names)
        raise UsageError(f"the generator {name!r}", f"one of {', '.join(names)}")
    return found
