"""Refinement: pictures of another generator, by the library's img2img; captions one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.errors import UsageError
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
N = 2


def streams(n: int = N) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 + row) for row in range(n)]


def render(generator: Any, target: Any, shown: Pictures, **more: Any) -> torch.Tensor:
    values = BrainEmbedding(**{target.spec.output: target.encode(shown)})
    found: torch.Tensor = generator.generate(
        values, generators=streams(len(shown)), output_type="pt", **more
    )
    return found


def test_against_the_librarys_img2img(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures
) -> None:
    from diffusers import StableDiffusionXLImg2ImgPipeline

    settings = {"steps": 4, "change": 0.5, "captions": True}
    generator, target = opened("refine", **settings)
    captions = ["a b", "b"]
    found = render(generator, target, tiny_pictures[:N], captions=captions)
    root = Path(tiny_sources("refine").removeprefix("local-dir:")) / "pipeline"
    pipeline: Any = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        root, feature_extractor=None, image_encoder=None
    )
    pipeline.set_progress_bar_config(disable=True)
    for row in range(N):
        stream = streams()[row]
        values = BrainEmbedding(pooled=target.encode(tiny_pictures[row : row + 1]))
        inner = generator.inner.generate(values, generators=[stream], output_type="pt")
        # The library draws a sample of the autoencoder's latents, here their mean is taken.
        start = generator.encode(inner * 2 - 1)
        wanted = pipeline(
            prompt=captions[row], image=start, strength=0.5,
            num_inference_steps=4, guidance_scale=5.0, generator=stream, output_type="np",
            original_size=(16, 16), target_size=(16, 16),
        ).images  # fmt: skip
        assert np.abs(found[row].permute(1, 2, 0).numpy() - wanted[0]).max() < 1e-4


def test_no_change_keeps_the_pictures(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("refine", change=0.0)
    plain, _ = opened("kandinsky22")
    first, second = (render(one, target, tiny_pictures[:N]) for one in (generator, plain))
    assert torch.allclose(first, second, atol=1e-5)


def test_captions_one_by_one(opened: Opened, tiny_pictures: Pictures) -> None:
    """Each picture has its own, whatever stands beside it; the same words are the same prompt."""
    for name in ("ip-adapter-sd15", "ip-adapter-sdxl-turbo", "stable-unclip"):
        generator, target = opened(name, captions=True, batch=2)
        both = render(generator, target, tiny_pictures[:N], captions=["a", "b a"])
        first = render(generator, target, tiny_pictures[:1], captions=["a"])
        assert torch.allclose(both[0], first[0], atol=1e-5)
        other = render(generator, target, tiny_pictures[:1], captions=["b a"])
        assert not torch.allclose(first, other, atol=1e-4)
        fixed, _ = opened(name, prompt="a", batch=2)
        wanted = render(fixed, target, tiny_pictures[:1])
        assert torch.allclose(first, wanted, atol=1e-5)


def test_captions_need_a_prompt_and_the_option(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("ip-adapter-sd15")
    with pytest.raises(UsageError, match=r"generator_options\.captions=true"):
        render(generator, target, tiny_pictures[:1], captions=["a"])
    generator, target = opened("kandinsky22")
    with pytest.raises(UsageError, match="captions for the generator kandinsky22"):
        render(generator, target, tiny_pictures[:1], captions=["a"])
    generator, target = opened("stable-unclip", captions=True)
    with pytest.raises(UsageError, match="1 captions for 2 items"):
        render(generator, target, tiny_pictures[:2], captions=["a"])


def test_it_needs_another_generator(opened: Opened) -> None:
    with pytest.raises(UsageError, match=r"generator_options\.of=kandinsky22"):
        opened("refine", of="")
    with pytest.raises(UsageError, match="`generator` is 'nothing'"):
        opened("refine", of="nothing")


def test_settings_tell_of_both(opened: Opened) -> None:
    generator, _ = opened("refine")
    assert generator.settings["published"] == "refine"
    assert generator.settings["refined_published"] == "kandinsky22"
    plain, _ = opened("kandinsky22")
    assert plain.fingerprint not in generator.fingerprint
