"""Attention of a video transformer through a radial mask, wherever its layers call it.

Transformers of diffusers arrive at one function of torch, whatever their processors do before. In
the block below, calls over all tokens of a clip see those that the mask keeps; others stay as they
are. Kept keys are gathered per block of queries, so that time and memory follow the mask's density
on any device; FlexAttention and a boolean mask give the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from phosphene.errors import UsageError, check_option
from phosphene.pipelines.generators.video.radial import RadialLayout, radial_blocks

__all__ = [
    "KERNELS",
    "Radially",
    "check_kernel",
    "radial_attention",
    "radial_mask",
    "through_mask",
]

Kernel = Literal["blocks", "mask", "flex"]
KERNELS = ("blocks", "flex", "mask")
TOLERANCE = 1e-2


def radial_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: RadialLayout,
    *,
    before: int = 0,
    scale: float | None = None,
    kernel: Kernel = "blocks",
) -> Tensor:
    """Return scaled-dot-product attention over the tokens of clips that a mask keeps.

    Parameters
    ----------
    query, key, value : Tensor of shape (n, heads, before + layout.length, d)
    layout : RadialLayout
    before : int
        Words that stand before the clip: they see everything, and everything sees them.
    scale : float, optional
        1 / sqrt(d) by default.
    kernel : {"blocks", "mask", "flex"}
        ``mask`` is the reference; it takes the square of the length in memory.
    """
    if query.shape[-2] != before + layout.length or key.shape[-2] != query.shape[-2]:
        raise UsageError(
            f"{query.shape[-2]} queries and {key.shape[-2]} keys",
            expected=f"{before} words and {layout.length} tokens of a clip",
        )
    if kernel == "mask":
        mask = radial_mask(layout, before).to(query.device)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    if kernel == "flex":
        return _by_flex(query, key, value, layout, before, scale)
    found = torch.empty_like(query)
    if before:
        found[..., :before, :] = F.scaled_dot_product_attention(
            query[..., :before, :], key, value, scale=scale
        )
    words = torch.arange(before, device=query.device)
    for number, row in enumerate(radial_blocks(layout)):
        first = before + number * layout.block
        last = min(first + layout.block, before + layout.length)
        seen = torch.cat([words, before + _tokens(row, layout).to(query.device)])
        found[..., first:last, :] = F.scaled_dot_product_attention(
            query[..., first:last, :],
            key.index_select(-2, seen),
            value.index_select(-2, seen),
            scale=scale,
        )
    return found


def radial_mask(layout: RadialLayout, before: int = 0) -> Tensor:
    """Return which token sees which, (before + length, before + length) bool."""
    blocks = torch.from_numpy(radial_blocks(layout).copy())
    size = layout.block
    inner = blocks.repeat_interleave(size, 0).repeat_interleave(size, 1)
    whole = torch.ones(2 * [before + layout.length], dtype=torch.bool)
    whole[before:, before:] = inner[: layout.length, : layout.length]
    return whole


def _tokens(row: Any, layout: RadialLayout) -> Tensor:
    """Return the places of the tokens of kept blocks."""
    kept = torch.from_numpy(row.nonzero()[0])
    places = (kept[:, None] * layout.block + torch.arange(layout.block)).flatten()
    return places[places < layout.length]


def _by_flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: RadialLayout,
    before: int,
    scale: float | None,
) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    kept = torch.from_numpy(radial_blocks(layout).copy()).to(query.device)

    def seen(_: Tensor, __: Tensor, row: Tensor, column: Tensor) -> Tensor:
        words = (row < before) | (column < before)
        place = [(one - before).clamp(min=0) // layout.block for one in (row, column)]
        return words | kept[place[0], place[1]]

    length = query.shape[-2]
    mask = create_block_mask(seen, None, None, length, length, device=str(query.device))
    run: Any = torch.compile(flex_attention) if query.is_cuda else flex_attention
    found: Tensor = run(query, key, value, block_mask=mask, scale=scale)
    return found


def check_kernel(kernel: str, device: torch.device) -> None:
    """Refuse a way to compute attention that does not run on a device, or gives other numbers.

    Raises
    ------
    UsageError
        With what happened when it was tried on a small clip.
    """
    check_option("radial_kernel", kernel, KERNELS)
    layout = RadialLayout(4, 96, block=32)
    stream = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, 2, layout.length, 16, generator=stream).to(device) for _ in range(3)
    )
    wanted = radial_attention(query, key, value, layout, kernel="mask")
    try:
        found = radial_attention(query, key, value, layout, kernel=kernel)  # type: ignore[arg-type]
    except Exception as error:  # missing compilers and kernels raise many kinds
        raise UsageError(
            f"radial attention by {kernel!r} does not work here ({str(error).splitlines()[0]})",
            expected="one that runs on this device",
            remedy="use blocks, the default",
        ) from error
    difference = float((found - wanted).abs().max())
    if not difference <= TOLERANCE:
        raise UsageError(
            f"radial attention by {kernel!r} differs by {difference:.2g} from the reference here",
            expected="the same numbers up to rounding",
            remedy="use blocks, the default",
        )


class Radially(TorchFunctionMode):
    """In this block, attention over all tokens of a clip goes through the mask.

    Parameters
    ----------
    layout : RadialLayout
    before : int
        Words that stand before the clip in the same sequence.
    dense_layers : int
        First layers of the network that see everything.
    layers : int, optional
        Of the network, which may run several times inside the block.
    kernel : {"blocks", "mask", "flex"}

    Attributes
    ----------
    calls : int
        Layers that looked at whole clips since the block was entered.
    """

    def __init__(
        self,
        layout: RadialLayout,
        *,
        before: int = 0,
        dense_layers: int = 0,
        layers: int | None = None,
        kernel: Kernel = "blocks",
    ) -> None:
        super().__init__()
        self.layout, self.before, self.kernel = layout, before, kernel
        self.dense_layers, self.layers, self.calls = dense_layers, layers, 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        more = dict(kwargs or {})
        if function is not F.scaled_dot_product_attention:
            return function(*args, **more)
        named = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | more
        length = self.before + self.layout.length
        whole = named["query"].shape[-2] == named["key"].shape[-2] == length
        if not whole or named.get("attn_mask") is not None:
            return function(*args, **more)
        layer = self.calls if self.layers is None else self.calls % self.layers
        self.calls += 1
        if layer < self.dense_layers:
            return function(*args, **more)
        return radial_attention(
            named["query"], named["key"], named["value"], self.layout,
            before=self.before, scale=named.get("scale"), kernel=self.kernel,
        )  # fmt: skip


def through_mask(
    predict: Callable[[Tensor, Tensor], Tensor],
    layout: RadialLayout,
    *,
    before: int,
    dense_calls: int,
    dense_layers: int,
    layers: int,
    kernel: Kernel,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that calls ``predict`` with radial attention, after some dense calls.

    Each call of ``predict`` may run the network of so many ``layers`` several times, with and
    without a condition; its first layers are dense each time.
    """
    from diffusers.models.attention_dispatch import attention_backend

    calls = 0

    def masked(latents: Tensor, time: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        mask = Radially(
            layout, before=before, dense_layers=dense_layers, layers=layers, kernel=kernel
        )
        dense = calls <= dense_calls
        # Only the native way is seen by the mask; another network may have set another one.
        with contextlib.nullcontext() if dense else mask, attention_backend("native"):
            return predict(latents, time)

    return masked
