"""Versatile Diffusion: from a picture, the library's pipeline gives the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]


def test_against_the_librarys_pipeline(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures
) -> None:
    """The library makes tokens of the picture itself: the target makes the same."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        UNet2DConditionModel,
        VersatileDiffusionImageVariationPipeline,
    )
    from transformers import CLIPImageProcessor

    generator, target = opened("versatile", guidance_scale=4.0)
    found = generator.generate(
        BrainEmbedding(tokens=target.encode(tiny_pictures[:1])),
        generators=[torch.Generator().manual_seed(10)], output_type="pt",
    )  # fmt: skip
    root = Path(tiny_sources("versatile").removeprefix("local-dir:")) / "pipeline"
    processor: Any = CLIPImageProcessor
    pipeline: Any = VersatileDiffusionImageVariationPipeline(
        image_feature_extractor=processor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        image_encoder=target.network,
        image_unet=UNet2DConditionModel.from_pretrained(root / "image_unet"),
        vae=AutoencoderKL.from_pretrained(root / "vae"),
        scheduler=DDIMScheduler.from_pretrained(root / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    wanted = pipeline(
        Image.fromarray(tiny_pictures[0]), height=16, width=16, num_inference_steps=3,
        guidance_scale=4.0, generator=torch.Generator().manual_seed(10), output_type="np",
    ).images  # fmt: skip
    assert np.abs(found[0].permute(1, 2, 0).numpy() - wanted[0]).max() < 1e-3


def test_a_black_picture_stands_for_none(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("versatile")
    black = np.zeros_like(tiny_pictures[:1])
    wanted = target.encode(black) * target.target_scale + target.target_mean
    found = generator.free_embedding(wanted)
    assert torch.allclose(found, wanted, atol=0.05)  # half a shade of 255 apart


def test_other_tokens_are_refused(opened: Opened, tiny_sources: Callable[[str], str]) -> None:
    import pytest

    from phosphene.pipelines.generators.versatile import Versatile

    _, tokens = opened("ip-adapter-plus-sdxl")
    with pytest.raises(InputError, match="projected tokens of 12 numbers"):
        Versatile.open("versatile", tokens, source=tiny_sources("versatile"))
