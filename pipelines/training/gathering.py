"""Rows of tensors as batches, the next one gathered while the network is busy with this one.

Everything a subject saw lies in memory, so a batch is one gather. On a CPU a thread of its own
copies the rows, whole rows at a time, into one of two buffers that are made once: a buffer that is
made anew for each batch costs more in page faults than the copy, and a training that is busy in
the network does not wait. On a GPU the rows lie there already and one kernel gathers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["gathered"]

Array = np.ndarray[Any, Any]
More = Callable[[Tensor, dict[str, Any]], Mapping[str, Tensor]]


def gathered(
    data: Mapping[str, Tensor], parts: Iterable[Tensor], more: More | None = None
) -> Iterator[dict[str, Tensor]]:
    """Yield ``{name: tensor[rows]}`` for every part.

    Parameters
    ----------
    data : mapping of str to Tensor of shape (n_items, ...)
        All on one device.
    parts : iterable of Tensor of shape (n_rows,), integer
        Row numbers of each batch, on the same device.
    more : callable, optional
        Makes further tensors of a batch, ahead as well: of the rows and a dictionary that it may
        keep buffers in, one for batches of even and one for those of odd number.

    Yields
    ------
    dict of str to Tensor
        On a CPU valid until the next one is asked for: it is overwritten later.
    """
    if all(tensor.device.type == "cpu" for tensor in data.values()):
        yield from _ahead(data, parts, more)
        return
    for rows in parts:
        batch = {name: tensor.index_select(0, rows) for name, tensor in data.items()}
        yield batch if more is None else batch | dict(more(rows, {}))


def _ahead(
    data: Mapping[str, Tensor], parts: Iterable[Tensor], more: More | None
) -> Iterator[dict[str, Tensor]]:
    views = {name: _as_array(tensor) for name, tensor in data.items()}
    buffers: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    kept: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def gather(rows: Tensor, odd: int) -> dict[str, Tensor]:
        buffer = buffers[odd]
        wanted, batch = rows.numpy(), {}
        for name, tensor in data.items():
            if name not in buffer or len(buffer[name]) < len(rows):
                buffer[name] = torch.empty((len(rows), *tensor.shape[1:]), dtype=tensor.dtype)
            batch[name] = buffer[name][: len(rows)]
            if (wanted < 0).any() or (wanted >= len(tensor)).any():
                raise IndexError(f"rows beyond the {len(tensor)} of {name!r}")
            # Checked above: numpy needs no second buffer to be able to raise half way.
            np.take(views[name], wanted, axis=0, out=_as_array(batch[name]), mode="clip")
        return batch if more is None else batch | dict(more(rows, kept[odd]))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gather") as thread:
        coming = None
        for number, rows in enumerate(parts):
            following = thread.submit(gather, rows, number % 2)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


def _as_array(tensor: Tensor) -> Array:
    """Return a tensor's memory as an array; of a type that numpy lacks, its bits."""
    plain = tensor.detach()
    array: Array = (plain.view(torch.int16) if plain.dtype == torch.bfloat16 else plain).numpy()
    return array
