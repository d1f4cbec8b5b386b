"""ControlNet: the library's pipeline gives the same, one at a time; the map is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.pipelines.generators.expected import at_own_length
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
NAME, N, STEPS = "sd-controlnet-depth", 2, 3


def depth(n: int = N) -> torch.Tensor:
    return torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(3))


def render(generator: Any, values: torch.Tensor, control: torch.Tensor | None) -> torch.Tensor:
    streams = [torch.Generator().manual_seed(10 + row) for row in range(len(values))]
    found: torch.Tensor = generator.generate(
        BrainEmbedding(pooled=values, control=control), generators=streams, output_type="pt"
    )
    return found


@pytest.mark.parametrize(("guidance", "scale"), [(5.0, 1.0), (0.0, 0.6)])
def test_against_the_librarys_pipeline(
    opened: Opened,
    tiny_sources: Callable[[str], str],
    tiny_pictures: Pictures,
    guidance: float,
    scale: float,
) -> None:
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    generator, target = opened(NAME, guidance_scale=guidance, control_scale=scale)
    values = target.encode(tiny_pictures[:N])
    found = render(generator, values, depth()).permute(0, 2, 3, 1).numpy()
    root = Path(tiny_sources(NAME).removeprefix("local-dir:"))
    pipeline: Any = StableDiffusionControlNetPipeline.from_pretrained(
        root / "pipeline", safety_checker=None, feature_extractor=None, image_encoder=None,
        controlnet=ControlNetModel.from_pretrained(root / "controlnet"),
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    weights: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in load_file(next((root / "adapter").rglob("*.safetensors"))).items():
        part, _, rest = key.partition(".")
        weights[part][rest] = value
    pipeline.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    embeds = at_own_length(target, values, None)[:, None]
    for row in range(N):
        one = embeds[row : row + 1]
        given = torch.cat([torch.zeros_like(one), one]) if guidance > 1 else one
        wanted = pipeline(
            prompt="", image=depth()[row : row + 1].expand(-1, 3, -1, -1),
            ip_adapter_image_embeds=[given], num_inference_steps=STEPS, guidance_scale=guidance,
            controlnet_conditioning_scale=scale, output_type="np",
            generator=torch.Generator().manual_seed(10 + row),
        ).images  # fmt: skip
        assert np.abs(found[row] - wanted[0]).max() < 1e-4


def test_the_map_matters_unless_it_weighs_nothing(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened(NAME)
    without, _ = opened(NAME, control_scale=0.0)
    values = target.encode(tiny_pictures[:N])
    maps = depth(), depth().flip(0)
    first, second = (render(generator, values, one) for one in maps)
    assert not torch.allclose(first, second, atol=1e-3)
    first, second = (render(without, values, one) for one in maps)
    assert torch.equal(first, second)


def test_a_map_is_asked_for(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened(NAME)
    values = target.encode(tiny_pictures[:N])
    with pytest.raises(InputError, match="keeps to a depth map, and none"):
        render(generator, values, None)
    with pytest.raises(InputError, match=r"one of shape \(2, 16, 16\)"):
        render(generator, values, depth().expand(-1, 2, -1, -1))
