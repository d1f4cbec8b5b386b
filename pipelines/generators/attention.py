"""Switch the attention of a UNet, and see by running it that the switch does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from phosphene.errors import UsageError, check_option

__all__ = ["ATTENTIONS", "switch_attention"]

ATTENTIONS = ("native", "flex", "xformers")
TOLERANCE = 1e-2


def switch_attention(unet: Any, name: str, run: Callable[[], Tensor]) -> None:
    """Let ``unet`` compute its attention in another way.

    Parameters
    ----------
    unet : diffusers UNet
    name : {"native", "flex", "xformers"}
        ``native`` is scaled-dot-product attention, which is what it starts with.
    run : callable
        Runs the network once on a small input.

    Raises
    ------
    UsageError
        If it does not run here, changes nothing, or gives other numbers.
    """
    check_option("attention", name, ATTENTIONS)
    if name == "native":
        return
    from diffusers.models.attention_dispatch import attention_backend

    before = run()
    try:
        if name == "xformers":
            unet.enable_xformers_memory_efficient_attention()
        else:
            # The library sets it for every network of the process as well: only this one is meant.
            with attention_backend("native"):
                unet.set_attention_backend(name)
            _refuse_without_effect(unet, name)
        after = run()
    except Exception as error:  # missing packages, kernels and processors raise many kinds
        raise UsageError(
            f"the attention {name!r} does not work here ({str(error).splitlines()[0]})",
            expected="one that this network runs with on this device",
            remedy="use native, the default",
        ) from error
    difference = float((after.detach() - before.detach()).abs().max())
    if not difference <= TOLERANCE * float(before.detach().abs().max().clamp_min(1)):
        raise UsageError(
            f"the attention {name!r} changes what the network gives by {difference:.2g}",
            expected="the same numbers up to rounding",
            remedy="use native, the default",
        )


def _refuse_without_effect(unet: Any, name: str) -> None:
    """Processors of today's UNets do not look at the backend: being set is not being used."""
    processors = list(unet.attn_processors.values())
    used = [hasattr(processor, "_attention_backend") for processor in processors]
    if not all(used):
        raise RuntimeError(
            f"{len(used) - sum(used)} of {len(used)} attention layers of this network do not "
            f"take it, and would go on as before"
        )
