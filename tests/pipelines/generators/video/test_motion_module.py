"""Layers over time: nothing before training, clips apart, any network of the same layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from phosphene.errors import InputError
from phosphene.pipelines.generators.video.motion_module import (
    Guesses,
    MotionModule,
    motion_places,
    moving,
    repeat_frames,
)


def network(seed: int = 0, **more: object) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    settings = {
        "sample_size": 8, "in_channels": 2, "out_channels": 2, "layers_per_block": 1,
        "block_out_channels": (8, 16), "norm_num_groups": 4, "attention_head_dim": 2,
        "cross_attention_dim": 8, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**(settings | more)).eval()


def layers(unet: UNet2DConditionModel, *, trained: bool = True) -> MotionModule:
    torch.manual_seed(1)
    made = MotionModule(motion_places(unet), 4, 2, 8, heads=2, groups=4, hidden=8).eval()
    if trained:
        for layer in made.layers.values():
            torch.nn.init.normal_(layer.proj_out.weight, std=0.5)
        torch.nn.init.normal_(made.guide[-1].weight, std=0.5)
    return made


def rows(n: int, frames: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(2)
    noisy = torch.randn(n * frames, 2, 8, 8, generator=stream)
    tokens = repeat_frames(torch.randn(n, 3, 8, generator=stream), frames)
    guesses = torch.randn(n * frames, 2, 8, 8, generator=stream)
    return noisy, tokens, Guesses(guesses, None).maps(noisy)


def call(
    unet: UNet2DConditionModel, motion: MotionModule, n: int, chosen: slice = slice(None)
) -> torch.Tensor:
    noisy, tokens, maps = (part[chosen] for part in rows(n))
    with torch.no_grad(), moving(unet, motion, 4, maps):
        found: torch.Tensor = unet(noisy, 100, encoder_hidden_states=tokens).sample
    return found


def plain(unet: UNet2DConditionModel, n: int) -> torch.Tensor:
    noisy, tokens, _ = rows(n)
    with torch.no_grad():
        found: torch.Tensor = unet(noisy, 100, encoder_hidden_states=tokens).sample
    return found


def test_before_training_frames_are_drawn_one_by_one() -> None:
    unet = network()
    assert torch.allclose(call(unet, layers(unet, trained=False), 2), plain(unet, 2), atol=1e-6)


def test_frames_know_of_each_other_and_clips_do_not() -> None:
    unet = network()
    motion = layers(unet)
    together = call(unet, motion, 2)
    assert not torch.allclose(together, plain(unet, 2), atol=1e-2)
    assert torch.allclose(call(unet, motion, 2, slice(4, 8)), together[4:], atol=1e-5)
    # One frame changed: all frames of its clip change, none of the other.
    noisy, tokens, maps = rows(2)
    noisy[1] += 3
    with torch.no_grad(), moving(unet, motion, 4, maps):
        changed = unet(noisy, 100, encoder_hidden_states=tokens).sample
    apart = (changed - together).flatten(1).abs().amax(1)
    assert (apart[:4] > 1e-3).all()
    assert (apart[4:] < 1e-5).all()


def test_the_network_is_left_as_it_was() -> None:
    unet = network()
    before = plain(unet, 1)
    call(unet, layers(unet), 1)
    assert torch.equal(plain(unet, 1), before)
    with pytest.raises(RuntimeError, match="on purpose"), moving(unet, layers(unet), 4, rows(1)[2]):
        raise RuntimeError("on purpose")
    assert torch.equal(plain(unet, 1), before)


def test_guesses_say_whether_they_are_there() -> None:
    like = torch.randn(3, 2, 4, 4)
    guess = torch.randn(3, 2, 4, 4)
    guess[1] = 0
    maps = Guesses(None, guess).maps(like)
    assert maps.shape == (3, 6, 4, 4)
    assert (maps[:, :2] == 0).all()
    assert torch.equal(maps[:, 2:4], guess)
    assert maps[:, 4].unique().tolist() == [0.0]
    assert maps[:, 5, 0, 0].tolist() == [1.0, 0.0, 1.0]


def test_they_go_into_a_network_that_was_trained_anew(tmp_path: Path) -> None:
    unet, again = network(0), network(7)
    motion = layers(unet)
    motion.save_pretrained(tmp_path)
    loaded = MotionModule.from_pretrained(tmp_path).eval()
    loaded.check(again)
    assert torch.allclose(call(unet, loaded, 1), call(unet, motion, 1), atol=1e-6)
    assert not torch.allclose(call(again, loaded, 1), call(unet, loaded, 1), atol=1e-2)
    stored = (tmp_path / "model.safetensors").stat().st_size
    assert stored < 1.2 * 4 * sum(p.numel() for p in loaded.parameters()) + 20_000


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"block_out_channels": (8, 32)}, "down_blocks.1.attentions.0 has 32 channels"),
        ({"layers_per_block": 2}, "down_blocks.0.resnets.1 has 2|has 8 channels"),
    ],
)
def test_another_network_is_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        layers(network()).check(network(**more))
