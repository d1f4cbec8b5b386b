"""Prompts of a pipeline by its own text encoders: one for all, encoded once, or one per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.errors import AssetError

__all__ = ["encode_captions", "encode_prompts", "prompt_rows", "size_rows"]

TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


@torch.no_grad()
def encode_prompts(
    pipeline: Any, prompt: str, negative: str, *, keep_encoders: bool = False
) -> dict[str, Tensor]:
    """Return ``prompt`` and ``negative`` (1, n_words, d), and their pooled forms where there are.

    Parameters
    ----------
    pipeline : diffusers pipeline
    prompt, negative : str
    keep_encoders : bool
        Keep the text encoders for captions; else they are dropped: they are a large part of what
        would be loaded.

    Raises
    ------
    AssetError
        If the pipeline came without text encoders.
    """
    _check_encoders(pipeline, "no encoded prompt was kept")
    # No negative prompt at all is not an empty one: some pipelines put zeros there.
    found = pipeline.encode_prompt(
        prompt=prompt,
        device=torch.device("cpu"),
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt=negative or None,
    )
    names = ("prompt", "negative", "pooled_prompt", "pooled_negative")
    if not keep_encoders:
        drop_encoders(pipeline)
    return {name: value.float() for name, value in zip(names, found, strict=False)}


@torch.no_grad()
def encode_captions(
    pipeline: Any, captions: Sequence[str], device: torch.device
) -> dict[str, Tensor]:
    """Return ``prompt`` (n, n_words, d) and, where there is one, ``pooled_prompt`` (n, d).

    One caption at a time, so that company never changes the rounding.
    """
    _check_encoders(pipeline, "captions cannot be encoded")
    rows: list[dict[str, Tensor]] = []
    for caption in captions:
        found = pipeline.encode_prompt(
            prompt=caption, device=device, num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )  # fmt: skip
        # Without guidance, what belongs to a negative prompt is none.
        named = zip(("prompt", "", "pooled_prompt", ""), found, strict=False)
        rows.append({name: value.float() for name, value in named if name and value is not None})
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def drop_encoders(pipeline: Any) -> None:
    """Take the text encoders out of a pipeline."""
    for part in TEXT_PARTS:
        if part in pipeline.components:
            pipeline.register_modules(**{part: None})


def prompt_rows(
    words: Mapping[str, Tensor], free: str, told: str, n: int, *, guided: bool
) -> Tensor:
    """Return encoded prompts of n rows, those without condition before them under guidance."""
    parts = [words[name] for name in ([free, told] if guided else [told])]
    return torch.cat([part.expand(n, *part.shape[1:]) for part in parts])


def size_rows(size: int, rows: Tensor) -> Tensor:
    """Return the sizes that a UNet of SDXL is told, (n, 6): all is there, nothing is cut off."""
    sizes = torch.tensor([size, size, 0, 0, size, size])
    return sizes.to(rows).expand(len(rows), -1)


def _check_encoders(pipeline: Any, why: str) -> None:
    if pipeline.text_encoder is None or pipeline.tokenizer is None:
        raise AssetError(
            f"the text encoder of the generator is missing, and {why}",
            expected="text_encoder and tokenizer beside the UNet",
            remedy="fetch it again with `phosphene models fetch`",
        )
