"""How many pictures to render at a time: what the memory has room for."""

from __future__ import annotations

from collections.abc import Callable

import torch

__all__ = ["CPU_BATCH", "GPU_BATCH", "fitting_block", "largest_block"]

CPU_BATCH, GPU_BATCH = 1, 4  # where nobody chose
MOST = 64
SHARE = 0.8  # of the free memory; the allocator needs some room between its blocks


def largest_block(free: int, each: int, *, most: int = MOST) -> int:
    """Return how many items of ``each`` bytes fit into ``free`` bytes, one at least.

    A power of two, since the number decides the last digit of pictures: a little more or less free
    memory seldom changes it.

    Examples
    --------
    >>> largest_block(40_000, 3_000)
    8
    >>> largest_block(1_000, 3_000)
    1
    """
    fit = max(int(free * SHARE) // max(each, 1), 1)
    block = 1
    while block * 2 <= min(fit, most):
        block *= 2
    return block


def fitting_block(device: torch.device, run: Callable[[], None]) -> int:
    """Return how many pictures to render at a time on a device.

    Parameters
    ----------
    device : torch.device
        On a GPU, what one picture takes beside the weights is measured. Processors gain little
        from more than one picture at a time, and get one.
    run : callable
        Renders one picture.
    """
    if device.type != "cuda":
        return CPU_BATCH
    run()  # what is allocated once and for all
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    each = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return largest_block(free, each)
