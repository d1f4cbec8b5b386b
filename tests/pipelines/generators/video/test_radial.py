"""The radial mask: published densities, dense in the limit, one mask per layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from phosphene.errors import UsageError
from phosphene.pipelines.generators.video.radial import (
    RadialLayout,
    radial_blocks,
    radial_density,
)
from phosphene.pipelines.generators.video.radial_attention import (
    Radially,
    check_kernel,
    radial_attention,
    radial_mask,
)

SMALL = RadialLayout(20, 24, block=8)


def clip(layout: RadialLayout, before: int = 0, seed: int = 0) -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(seed)
    shape = (2, 2, before + layout.length, 8)
    return [torch.randn(shape, generator=stream) for _ in range(3)]


@pytest.mark.parametrize(
    ("layout", "density"),
    [
        (RadialLayout(18, 3840, sink=True), 0.287),  # Wan2.1 14B, 768 x 1280, 69 frames
        (RadialLayout(120, 3840, factor=0.95), 0.115),  # HunyuanVideo at four times its length
        (RadialLayout(5, 3840, sink=True), 0.675),
        (RadialLayout(5, 1024, sink=True), 0.764),  # 512 x 512, 17 frames
    ],
)
def test_densities_of_the_published_layouts(layout: RadialLayout, density: float) -> None:
    assert radial_density(layout) == pytest.approx(density, abs=0.0005)


def test_blocks_that_do_not_end_with_frames() -> None:
    # Wan2.1 1.3B at 480 x 832, 81 frames: 1560 tokens are no multiple of 128.
    assert radial_density(RadialLayout(21, 1560, sink=True)) == pytest.approx(0.339, abs=0.003)


def by_hand(layout: RadialLayout) -> np.ndarray:
    """Every pair of tokens, one by one."""
    seen = np.zeros((layout.length, layout.length), dtype=bool)
    for row in range(layout.length):
        for column in range(layout.length):
            frames = row // layout.tokens, column // layout.tokens
            reach = layout.reach(abs(frames[0] - frames[1]))
            apart = abs(row % layout.tokens - column % layout.tokens)
            seen[row, column] = (reach is not None and apart <= reach) or (
                layout.sink and frames[1] == 0
            )
    kept = []
    for first in range(0, layout.length, layout.block):
        rows = seen[first : first + layout.block]
        line = []
        for start in range(0, layout.length, layout.block):
            counts = rows[:, start : start + layout.block].sum(0)
            line.append((counts * 3 > len(rows)).sum() > 0.6 * (counts > 0).sum())
        kept.append(line)
    return np.array(kept)


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("tokens", [24, 21])
def test_the_analytic_mask_is_that_of_every_pair(tokens: int, *, sink: bool) -> None:
    layout = RadialLayout(9, tokens, block=8, sink=sink)
    assert np.array_equal(radial_blocks(layout), by_hand(layout))


def test_far_frames_are_thinned_and_no_row_is_empty() -> None:
    layout = RadialLayout(40, 48, block=16)
    assert layout.reach(33) is None
    assert layout.reach(32) is not None
    for one in (layout, SMALL, RadialLayout(3, 5), RadialLayout(1, 700)):
        blocks = radial_blocks(one)
        assert blocks.any(1).all()
        assert blocks.diagonal().all()


def test_dense_in_the_limit() -> None:
    wide = replace(SMALL, factor=1e9)
    assert radial_density(wide) == 1
    parts = clip(wide)
    dense = F.scaled_dot_product_attention(*parts)
    for kernel in ("blocks", "mask"):
        found = radial_attention(*parts, wide, kernel=kernel)  # type: ignore[misc, arg-type]
        assert torch.allclose(found, dense, atol=1e-5)
    densities = [radial_density(replace(SMALL, factor=factor)) for factor in (0.2, 1, 4, 1e9)]
    assert densities == sorted(densities)
    assert densities[0] < 0.7


@pytest.mark.parametrize("before", [0, 5])
@pytest.mark.parametrize("layout", [SMALL, RadialLayout(20, 21, block=8, sink=True)])
def test_all_kernels_are_one_attention(layout: RadialLayout, before: int) -> None:
    parts = clip(layout, before)
    mask = radial_mask(layout, before)
    scores = (parts[0] @ parts[1].transpose(-1, -2)) / 8**0.5
    wanted = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ parts[2]
    for kernel in ("blocks", "mask"):
        found = radial_attention(*parts, layout, before=before, kernel=kernel)  # type: ignore[misc, arg-type]
        assert torch.allclose(found, wanted, atol=1e-5), kernel
    assert not torch.allclose(F.scaled_dot_product_attention(*parts), wanted, atol=1e-3)


def test_two_layouts_in_one_process_have_two_masks() -> None:
    first = radial_blocks(SMALL)
    other = radial_blocks(replace(SMALL, n_frames=25))
    assert first.shape == (60, 60)
    assert other.shape == (75, 75)
    assert radial_blocks(SMALL) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = False


def test_items_of_a_batch_do_not_mix() -> None:
    parts = clip(SMALL)
    together = radial_attention(*parts, SMALL)  # type: ignore[misc]
    alone = radial_attention(*(part[1:] for part in parts), SMALL)  # type: ignore[misc]
    assert torch.allclose(together[1:], alone, atol=1e-6)


def test_the_block_catches_attention_over_whole_clips_alone() -> None:
    query, key, value = clip(SMALL)
    words = torch.randn(2, 2, 7, 8)
    wanted = radial_attention(query, key, value, SMALL)
    dense, cross = (F.scaled_dot_product_attention(query, k, k) for k in (key, words))
    with Radially(SMALL, dense_layers=1, layers=2) as block:
        assert torch.equal(F.scaled_dot_product_attention(query, key, key), dense)
        assert torch.equal(F.scaled_dot_product_attention(query, words, words), cross)
        found = F.scaled_dot_product_attention(query=query, key=key, value=value)
        # The network runs again, and begins with a dense layer again.
        assert torch.equal(F.scaled_dot_product_attention(query, key, key), dense)
    assert block.calls == 3
    assert torch.equal(found, wanted)
    assert torch.equal(F.scaled_dot_product_attention(query, key, key), dense)


@pytest.mark.slow  # without a compiler for this device it loads one all the same
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_the_same_attention() -> None:
    check_kernel("flex", torch.device("cpu"))
    parts = clip(SMALL, 5)
    found = radial_attention(*parts, SMALL, before=5, kernel="flex")  # type: ignore[misc]
    assert torch.allclose(found, radial_attention(*parts, SMALL, before=5), atol=1e-5)  # type: ignore[misc]


def test_what_does_not_run_is_refused() -> None:
    check_kernel("blocks", torch.device("cpu"))
    with pytest.raises(UsageError, match="radial_kernel"):
        check_kernel("sage", torch.device("cpu"))
    with pytest.raises(UsageError, match="queries"):
        radial_attention(*clip(SMALL), RadialLayout(2, 3))  # type: ignore[misc]
    with pytest.raises(UsageError, match="numbers above zero"):
        RadialLayout(0, 3)
