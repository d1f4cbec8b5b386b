"""Encode the prompts of a pipeline once, by its own text encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phosphene.errors import AssetError

__all__ = ["encode_prompts"]


@torch.no_grad()
def encode_prompts(pipeline: Any, prompt: str, negative: str) -> dict[str, Tensor]:
    """Return ``prompt`` and ``negative`` (1, n_words, d), and their pooled forms where there are.

    The text encoders are dropped afterwards: they are a large part of what would be loaded.

    Raises
    ------
    AssetError
        If the pipeline came without text encoders.
    """
    if pipeline.text_encoder is None or pipeline.tokenizer is None:
        raise AssetError(
            "the text encoder of the generator is missing, and no encoded prompt was kept",
            expected="text_encoder and tokenizer beside the UNet",
            remedy="fetch it again with `phosphene models fetch`",
        )
    # No negative prompt at all is not an empty one: some pipelines put zeros there.
    found = pipeline.encode_prompt(
        prompt=prompt,
        device=torch.device("cpu"),
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt=negative or None,
    )
    names = ("prompt", "negative", "pooled_prompt", "pooled_negative")
    for part in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"):
        if part in pipeline.components:
            pipeline.register_modules(**{part: None})
    return {name: value.float() for name, value in zip(names, found, strict=False)}
