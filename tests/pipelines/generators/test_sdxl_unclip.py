"""The unCLIP SDXL: its file is converted, its steps and shades are the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.clip_vision import CLIP_MEAN, CLIP_STD, COLOURS
from phosphene.errors import InputError
from phosphene.pipelines.generators.unclip_checkpoint import (
    AUTOENCODER,
    SCHEDULER,
    UNET,
    convert_unclip_checkpoint,
)
from phosphene.storage import read_json
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
Sources = Callable[[str], str]


@pytest.fixture
def root(tiny_sources: Sources) -> Path:
    return Path(tiny_sources("sdxl-unclip").removeprefix("local-dir:"))


def again(root: Path, file: Path, output: Path) -> Path:
    """Convert another file for the tiny architecture."""
    unet, vae = (
        {key: value for key, value in read_json(root / "pipeline" / part / "config.json").items()
         if key[0] != "_"}
        for part in ("unet", "vae")
    )  # fmt: skip
    return convert_unclip_checkpoint(file, output, unet=unet, autoencoder=vae)


def test_the_published_architecture_has_its_size() -> None:
    """SDXL base has 2,567,463,684 parameters; the rest follows from two narrower inputs."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**AUTOENCODER)
    heads = 0  # numbers that keys and values of all attention layers give
    for name, module in unet.named_modules():
        if name.endswith("attn2"):
            heads += module.to_k.out_features + module.to_v.out_features
    narrower = heads * (2048 - 1664) + 1280 * (2816 - 1024)
    assert unet.num_parameters() == 2_567_463_684 - narrower == 2_501_272_324
    assert vae.num_parameters() == 83_653_863


def test_all_tensors_arrive_where_they_belong(root: Path, opened: Opened) -> None:
    """The networks before the publisher's names and after conversion give the same."""
    from diffusers import UNet2DConditionModel

    generator, _ = opened("sdxl-unclip")
    torch.manual_seed(9)
    original = UNet2DConditionModel.from_config(dict(generator.unet.config))
    for key, value in original.state_dict().items():
        assert torch.equal(value.half(), generator.unet.state_dict()[key].half()), key
    files = {file.name for file in (root / "pipeline").rglob("*.safetensors")}
    assert files == {"diffusion_pytorch_model.safetensors"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("drop", "lacks|not what a UNet2DConditionModel"),
        ("add", "more than are known"),
        ("cut", "cannot be read as tensors alone"),
        ("object", "cannot be read as tensors alone"),
    ],
)
def test_other_files_are_refused(root: Path, tmp_path: Path, change: str, message: str) -> None:
    file = tmp_path / "file.ckpt"
    content = torch.load(root / "published.ckpt", weights_only=True)
    name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    if change == "drop":
        del content["state_dict"][name]
    if change == "add":
        content["state_dict"]["model.diffusion_model.input_blocks.99.0.weight"] = torch.zeros(1)
    if change == "object":
        content["state_dict"]["loader"] = Path("x")
    torch.save(content, file)
    if change == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match=message):
        again(root, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_steps_are_the_published_ones_up_to_one_time() -> None:
    """Theirs: 38 times from 999, evenly spaced and cut to whole numbers."""
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**SCHEDULER)
    scheduler.set_timesteps(38)
    published = torch.linspace(999, 0, 39, dtype=torch.float64)[:-1].int()
    assert (scheduler.timesteps - published).abs().max() <= 1
    assert float(scheduler.sigmas[-1]) == 0
    assert float(scheduler.sigmas[0]) == pytest.approx(14.61, abs=0.01)


def test_against_plain_euler_steps(opened: Opened, tiny_pictures: Pictures) -> None:
    """From its noise to its picture by the formulas, with the random tokens of its own stream."""
    generator, target = opened("sdxl-unclip", guidance_scale=5.0)
    values = target.encode(tiny_pictures[:1])
    stream = torch.Generator().manual_seed(4)
    found = generator.generate(BrainEmbedding(tokens=values), generators=[stream], output_type="pt")
    stream.manual_seed(4)
    tokens = values * target.target_scale + target.target_mean
    free = torch.randn(tokens.shape[1:], generator=stream)[None]
    noise = torch.randn(1, 4, 8, 8, generator=stream)
    scheduler = generator.scheduler
    scheduler.set_timesteps(3)
    told = {"text_embeds": torch.zeros(2, 0), "time_ids": torch.tensor([[16.0, 16, 0, 0]] * 2)}
    x = noise * scheduler.sigmas[0]
    with torch.no_grad():
        for time, sigma, following in zip(
            scheduler.timesteps, scheduler.sigmas[:-1], scheduler.sigmas[1:], strict=True
        ):
            seen = x / (sigma**2 + 1).sqrt()
            without, with_ = generator.unet(
                torch.cat([seen, seen]), time, torch.cat([free, tokens]), added_cond_kwargs=told
            ).sample.chunk(2)
            x = x + (following - sigma) * (without + 5 * (with_ - without))
        shown = generator.vae.decode(x / 0.13025).sample
    assert torch.allclose(found, (0.8 * shown + 0.2).clamp(0, 1), atol=1e-4)


def test_shades_are_an_option(opened: Opened, tiny_pictures: Pictures) -> None:
    plain, target = opened("sdxl-unclip", contrast=1.0, brightness=0.0)
    paler, _ = opened("sdxl-unclip")
    values = BrainEmbedding(tokens=target.encode(tiny_pictures[:1]))
    first, second = (
        one.generate(values, generators=[torch.Generator().manual_seed(0)], output_type="pt")
        for one in (plain, paler)
    )
    inside = (first > 0) & (first < 1)
    assert torch.allclose(second[inside], (0.8 * first + 0.2)[inside], atol=1e-5)


def test_pale_colours_are_those_of_the_mistaken_range() -> None:
    pixels = torch.linspace(0, 1, 5)
    mean, std = COLOURS["mindeye2"]
    for channel in range(3):
        theirs = ((pixels + 1) / 2 - CLIP_MEAN[channel]) / CLIP_STD[channel]
        assert torch.allclose((pixels - mean[channel]) / std[channel], theirs, atol=1e-6)
