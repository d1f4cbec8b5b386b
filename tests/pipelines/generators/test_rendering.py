"""What happens around the steps: the caller is told, bars are set, memory decides on blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.pipelines.generators.block_size import fitting_block, largest_block
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
STEPS = 3


def render(generator: Any, target: Any, shown: Pictures, **more: Any) -> torch.Tensor:
    values = BrainEmbedding(**{target.spec.output: target.encode(shown)})
    streams = [torch.Generator().manual_seed(row) for row in range(len(shown))]
    found: torch.Tensor = generator.generate(values, generators=streams, output_type="pt", **more)
    return found


def test_the_caller_is_told_after_every_step(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("stable-unclip", batch=2)
    told: list[tuple[int, float, torch.Tensor]] = []

    def remember(number: int, time: torch.Tensor, latents: torch.Tensor) -> None:
        told.append((number, float(time), latents.clone()))

    shown = render(generator, target, tiny_pictures[:2], callback_on_step_end=remember)
    assert [number for number, _, _ in told] == list(range(STEPS))
    times = [time for _, time, _ in told]
    assert times == sorted(times, reverse=True)
    # The last latents it is told are those that become the picture.
    assert torch.allclose(generator.decode(told[-1][2]), shown, atol=1e-5)
    told.clear()
    init = torch.rand(2, 3, 16, 16)
    render(
        generator, target, tiny_pictures[:2], init=init, strength=0.34,
        callback_on_step_end=remember,
    )  # fmt: skip
    assert [number for number, _, _ in told] == [0]  # one of three steps is left


def test_the_bar_is_set_as_in_diffusers(
    opened: Opened, tiny_pictures: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    generator, target = opened("kandinsky22")
    render(generator, target, tiny_pictures[:1])
    assert capsys.readouterr().err == ""  # no terminal, no bar
    generator.set_progress_bar_config(disable=False, desc="painting", leave=True)
    render(generator, target, tiny_pictures[:1])
    assert f"painting: 100%|██████████| {STEPS}/{STEPS}" in capsys.readouterr().err
    generator.set_progress_bar_config()


def test_blocks_fill_the_memory_in_powers_of_two() -> None:
    gigabyte = 2**30
    # 20 GB are free, 80 % are used, one picture takes 3: five would fit.
    assert largest_block(20 * gigabyte, 3 * gigabyte) == 4
    assert largest_block(gigabyte, 3 * gigabyte) == 1
    assert largest_block(10**15, 1) == 64
    blocks = [largest_block(free * gigabyte, gigabyte) for free in range(1, 90)]
    assert blocks == sorted(blocks)
    assert all(block * gigabyte <= 0.8 * free * gigabyte for free, block in
               zip(range(2, 90), blocks[1:], strict=True))  # fmt: skip


def test_on_a_processor_auto_is_one_at_a_time_and_tries_nothing(opened: Opened) -> None:
    def run() -> None:
        raise AssertionError("tried a picture")

    assert fitting_block(torch.device("cpu"), run) == 1
    generator, _ = opened("kandinsky22", batch="auto")
    assert generator.block == 1


def test_the_picture_that_is_tried_for_auto_can_be_rendered(opened: Opened) -> None:
    """On a GPU its memory is measured; here, that it runs."""
    for name in ("kandinsky22", "ip-adapter-plus-sdxl"):
        generator, _ = opened(name)
        generator._try_picture()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_on_a_gpu_is_more_than_one(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("kandinsky22", batch="auto")
    generator.to("cuda")
    assert generator.block == 64
    assert render(generator, target, tiny_pictures[:3]).shape[0] == 3
    generator.to("cpu")
