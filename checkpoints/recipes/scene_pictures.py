"""Rendered training pictures of a recipe, kept on disk so that a restart renders only the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.format import open_memmap

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import SCENES_VERSION, render, sample_scenes
from phosphene.progress import progress
from phosphene.storage import load_array, load_tensors, save_array, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.encoders.stimulus.base import StimulusEncoder

__all__ = ["encoded_pictures", "scene_pictures"]

SIZE = 64
BLOCK = 500


def scene_pictures(folder: Path, count: int, *, split: str) -> Pictures:
    """Return the first ``count`` scenes of a split as a memory map (count, 64, 64, 3) uint8.

    Scenes are rendered in blocks; a block that is written is never rendered again. The first ones
    of more scenes that are there already serve as well.
    """
    whole = folder / f"scenes-{SCENES_VERSION}-{split}-{count}.npy"
    for other in sorted(folder.glob(f"scenes-{SCENES_VERSION}-{split}-*.npy")):
        if (more := other.stem.rpartition("-")[2]).isdecimal() and int(more) >= count:
            found: Pictures = load_array(other)[:count]
            return found
    if not whole.is_file():
        blocks = folder / f"{whole.stem}-blocks"
        starts = range(0, count, BLOCK)
        for start in progress(starts, label=f"rendering {split} scenes", total=len(starts)):
            part = blocks / f"{start:07d}.npy"
            if not part.is_file():
                scenes = sample_scenes(start, min(start + BLOCK, count), split=split)
                save_array(part, render(scenes, SIZE).images)
        _join(whole, [blocks / f"{start:07d}.npy" for start in starts], count)
    pictures: Pictures = load_array(whole)
    return pictures


def encoded_pictures(path: Path, target: StimulusEncoder, shown: Pictures) -> Tensor:
    """Return the values of pictures in half precision; they are kept in a file."""
    import torch

    if not path.is_file():
        parts = [
            target.encode(shown[start : start + 2 * BLOCK]).half()
            for start in progress(range(0, len(shown), 2 * BLOCK), label=f"encoding {target.name}")
        ]
        save_tensors(path, {"values": torch.cat(parts), "spec": _as_tensor(target.spec.hash)})
    stored = load_tensors(path)
    if not torch.equal(stored["spec"], _as_tensor(target.spec.hash)):
        path.unlink()  # of an earlier training
        return encoded_pictures(path, target, shown)
    values: Tensor = stored["values"]
    return values


def _as_tensor(text: str) -> Tensor:
    import torch

    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _join(whole: Path, parts: list[Path], count: int) -> None:
    temporary = whole.with_suffix(".part")
    joined = open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3))
    start = 0
    for part in parts:
        block = load_array(part)
        joined[start : start + len(block)] = block
        start += len(block)
    joined.flush()
    temporary.replace(whole)
    for part in parts:
        part.unlink()
    parts[0].parent.rmdir()
