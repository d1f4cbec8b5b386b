"""The networks are called directly here; one at a time, the library's pipelines give the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from phosphene.data.pictures import Pictures
from phosphene.pipelines.generators.expected import at_own_length
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
N, STEPS = 2, 3


def stream(row: int) -> torch.Generator:
    return torch.Generator().manual_seed(10 + row)


def ours(generator: Any, target: Any, values: torch.Tensor, **more: Any) -> np.ndarray[Any, Any]:
    part = target.spec.output
    found = generator.generate(
        BrainEmbedding(**{part: values}),
        generators=[stream(row) for row in range(len(values))],
        output_type="pt",
        **more,
    )
    return np.asarray(found.permute(0, 2, 3, 1))


def whole(source: str) -> Path:
    return Path(source.removeprefix("local-dir:"))


@pytest.mark.parametrize("strength", [1.0, 0.75])
def test_kandinsky(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures, strength: float
) -> None:
    from diffusers import KandinskyV22Img2ImgPipeline, KandinskyV22Pipeline

    generator, target = opened("kandinsky22", guidance_scale=4.0, steps=4)
    values = target.encode(tiny_pictures[:N])
    shown = torch.from_numpy(tiny_pictures[:N]).permute(0, 3, 1, 2) / 255
    start = {} if strength == 1 else {"init": shown, "strength": strength}
    found = ours(generator, target, values, **start)
    kind = KandinskyV22Pipeline if strength == 1 else KandinskyV22Img2ImgPipeline
    pipeline: Any = kind.from_pretrained(whole(tiny_sources("kandinsky22")) / "pipeline")
    pipeline.set_progress_bar_config(disable=True)
    embeds = at_own_length(target, values, None)
    for row in range(N):
        one = slice(row, row + 1)
        more = {} if strength == 1 else {"image": shown[one], "strength": strength}
        wanted = pipeline(
            image_embeds=embeds[one], negative_image_embeds=target.zero_embedding()[None],
            num_inference_steps=4, guidance_scale=4.0, output_type="np", height=16, width=16,
            generator=stream(row), **more,
        ).images  # fmt: skip
        assert np.abs(found[row] - wanted[0]).max() < 1e-4


def test_stable_unclip(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures
) -> None:
    from diffusers import StableUnCLIPImg2ImgPipeline

    generator, target = opened("stable-unclip", guidance_scale=10.0, noise_level=30)
    values = target.encode(tiny_pictures[:N])
    found = ours(generator, target, values)
    folder = whole(tiny_sources("stable-unclip")) / "pipeline"
    pipeline: Any = StableUnCLIPImg2ImgPipeline.from_pretrained(
        folder, feature_extractor=None, image_encoder=target.network
    )
    pipeline.set_progress_bar_config(disable=True)
    embeds = at_own_length(target, values, None)
    for row in range(N):
        wanted = pipeline(
            image=None, prompt="", image_embeds=embeds[row : row + 1], noise_level=30,
            num_inference_steps=STEPS, guidance_scale=10.0, generator=stream(row),
            output_type="np",
        ).images  # fmt: skip
        assert np.abs(found[row] - wanted[0]).max() < 1e-4


def library_pipeline(name: str, generator: Any, source: str) -> Any:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    root = whole(source)
    kind = StableDiffusionXLPipeline if generator.large else StableDiffusionPipeline
    more: dict[str, Any] = {} if generator.large else {"safety_checker": None}
    pipeline: Any = kind.from_pretrained(
        root / "pipeline", feature_extractor=None, image_encoder=None, **more
    )
    pipeline.set_progress_bar_config(disable=True)
    (path,) = (root / "adapter").rglob("*.safetensors")
    weights: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in load_file(path).items():
        part, _, rest = key.partition(".")
        weights[part][rest] = value
    pipeline.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    return pipeline


def library_pictures(
    pipeline: Any, embeds: torch.Tensor, free: torch.Tensor, guidance: float, seeds: list[int]
) -> np.ndarray[Any, Any]:
    """Return what the library makes of embeddings (n, 1, ...) in one call."""
    given = torch.cat([free, embeds]) if guidance > 1 else embeds
    words: Any = "" if len(embeds) == 1 else [""] * len(embeds)
    found: np.ndarray[Any, Any] = pipeline(
        prompt=words, ip_adapter_image_embeds=[given], num_inference_steps=STEPS,
        guidance_scale=guidance, generator=[stream(seed) for seed in seeds], output_type="np",
        height=16, width=16,
    ).images  # fmt: skip
    return found


@pytest.mark.parametrize("guidance", [5.0, 0.0])
@pytest.mark.parametrize(
    "name", ["ip-adapter-sd15", "ip-adapter-sdxl-turbo", "ip-adapter-plus-sdxl"]
)
def test_ip_adapter(
    opened: Opened,
    tiny_sources: Callable[[str], str],
    tiny_pictures: Pictures,
    name: str,
    guidance: float,
) -> None:
    generator, target = opened(name, guidance_scale=guidance)
    values = target.encode(tiny_pictures[:N])
    found = ours(generator, target, values)
    pipeline = library_pipeline(name, generator, tiny_sources(name))
    embeds = at_own_length(target, values, None)[:, None]
    zero = target.zero_embedding().expand_as(embeds)
    free = zero if target.spec.output == "tokens" else torch.zeros_like(embeds)
    for row in range(N):
        one = slice(row, row + 1)
        wanted = library_pictures(pipeline, embeds[one], free[one], guidance, [row])
        assert np.abs(found[row] - wanted[0]).max() < 1e-4


def test_the_librarys_batches_mix_their_items_and_ours_do_not(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures
) -> None:
    """diffusers issue 9813. When the first assertion fails, the library has mended it."""
    name = "ip-adapter-sd15"
    generator, target = opened(name, guidance_scale=5.0)
    pipeline = library_pipeline(name, generator, tiny_sources(name))
    values = target.encode(tiny_pictures[:N])
    embeds = at_own_length(target, values, None)[:, None]
    free = torch.zeros_like(embeds)
    together = library_pictures(pipeline, embeds, free, 5.0, [0, 1])
    alone = library_pictures(pipeline, embeds[:1], free[:1], 5.0, [0])
    assert np.abs(together[0] - alone[0]).max() > 1e-2
    assert np.abs(ours(generator, target, values)[0] - alone[0]).max() < 1e-4


@pytest.mark.parametrize("name", ["ip-adapter-sd15", "ip-adapter-sdxl-turbo"])
def test_a_start_from_latents(
    opened: Opened, tiny_sources: Callable[[str], str], tiny_pictures: Pictures, name: str
) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline

    generator, target = opened(name, guidance_scale=5.0, steps=4)
    values = target.encode(tiny_pictures[:N])
    init = torch.randn(N, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = ours(generator, target, values, init=init, strength=0.5)
    base = library_pipeline(name, generator, tiny_sources(name))
    kind = StableDiffusionXLImg2ImgPipeline if generator.large else StableDiffusionImg2ImgPipeline
    more: dict[str, Any] = {} if generator.large else {"requires_safety_checker": False}
    pipeline: Any = kind(**base.components, **more)
    pipeline.set_progress_bar_config(disable=True)
    embeds = at_own_length(target, values, None)[:, None]
    given = torch.cat([torch.zeros_like(embeds[:1]), embeds[:1]])
    wanted = pipeline(
        prompt="", image=init[:1], strength=0.5, ip_adapter_image_embeds=[given],
        num_inference_steps=4, guidance_scale=5.0, generator=stream(0), output_type="np",
    ).images  # fmt: skip
    assert np.abs(found[0] - wanted[0]).max() < 1e-4
