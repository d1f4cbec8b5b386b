"""CC2017 as NeuroClips re-packaged it: tensors of clips, read without executing anything.

``subj01_train_fmri.pt`` is (4320, 2, V): 18 segments of 240 clips, two showings, one volume per
clip, trimmed in the usual way (volume j began at second 4 + 2 j of its segment);
``subj01_test_fmri.pt`` is (1200, 10, V); ``GT_train_3fps.pt`` holds the frames (4320, 6, 3, H, W).
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phosphene.data.movies.cc2017 import EXCLUDED, TRIMMED_VOLUMES
from phosphene.errors import InputError

__all__ = ["find_tensors", "frames_of", "read_tensor", "showings"]

Array = np.ndarray[Any, Any]
NAME = re.compile(r"subj?(?P<subject>\d+)_(?P<part>train|test)_fmri\.pt$")
FRAMES = {"train": "GT_train_3fps.pt", "test": "GT_test_3fps.pt"}
CLIP_SECONDS = 2.0
SEGMENT = {"train": "seg", "test": "test"}


def find_tensors(source: str | os.PathLike[str]) -> dict[str, dict[str, Path]]:
    """Return the files of each subject and part, ``{"01": {"train": path, "test": path}}``."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(Path(source).rglob("*_fmri.pt")):
        name = NAME.match(path.name)
        if name is not None:
            found.setdefault(f"{int(name['subject']):02d}", {})[name["part"]] = path
    return found


def read_tensor(path: Path) -> torch.Tensor:
    """Return the one tensor of a file, memory-mapped where its form allows.

    Raises
    ------
    InputError
        If the file holds anything but a tensor of numbers; nothing of it is executed.
    """
    for mapped in (True, False):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of how a file was pickled, before it is refused
                value = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
            break
        except RuntimeError as error:  # the form of before torch 1.6 cannot be mapped
            if not mapped:
                raise _not_a_tensor(path, error) from error
        except Exception as error:  # whatever unpickling refuses
            raise _not_a_tensor(path, error) from error
    if not isinstance(value, torch.Tensor) or value.is_complex() or value.dtype == torch.bool:
        raise _not_a_tensor(path, TypeError(f"a {type(value).__name__}"))
    return value


def _not_a_tensor(path: Path, error: Exception) -> InputError:
    # What torch says of a pickle it refuses is how to have it executed.
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, pickle.UnpicklingError):
        first = "it asks for more than tensors need; nothing of it was executed"
    return InputError(
        f"{path} is not a tensor that can be read safely ({first})",
        expected="one tensor of numbers, saved with torch.save",
        remedy="save it again as a plain tensor, in an environment you trust",
    )


def showings(path: Path, subject: str, part: str) -> Iterator[tuple[str, int, Array]]:
    """Yield segment, repetition and volumes (240, n_voxels) float32 of every showing.

    The one that lags its movie is left out.
    """
    tensor = read_tensor(path)
    if tensor.ndim == 2:
        tensor = tensor[:, None]
    if tensor.ndim != 3 or len(tensor) % TRIMMED_VOLUMES or 0 in tensor.shape:
        raise InputError(
            f"{path} holds a tensor of shape {tuple(tensor.shape)}",
            expected=f"(clips, showings, voxels) with {TRIMMED_VOLUMES} clips per segment",
            remedy="take the files as they were published",
        )
    for number in range(len(tensor) // TRIMMED_VOLUMES):
        segment = f"{SEGMENT[part]}{number + 1}"
        rows = slice(number * TRIMMED_VOLUMES, (number + 1) * TRIMMED_VOLUMES)
        for repetition in range(1, tensor.shape[1] + 1):
            if (subject, segment, repetition) in EXCLUDED:
                continue
            data = tensor[rows, repetition - 1].to(torch.float32).numpy()
            if not np.isfinite(data).all():
                raise InputError(
                    f"repetition {repetition} of {segment} in {path} holds values that are not "
                    "finite",
                    expected="finite numbers",
                    remedy="mask voxels outside the brain, or copy the file again",
                )
            yield segment, repetition, data


def frames_of(
    source: str | os.PathLike[str], part: str, number: int
) -> tuple[Iterator[Array], float] | None:
    """Return the frames (H, W, 3) uint8 of a segment and their rate, None where there are none.

    Parameters
    ----------
    source : path
    part : {"train", "test"}
    number : int
        Of the segment, from 1.
    """
    path = next(iter(sorted(Path(source).rglob(FRAMES[part]))), None)
    if path is None:
        return None
    tensor = read_tensor(path)
    if tensor.ndim != 5 or tensor.shape[2] != 3 or len(tensor) < number * TRIMMED_VOLUMES:
        raise InputError(
            f"{path} holds a tensor of shape {tuple(tensor.shape)}",
            expected=f"(clips, frames, 3, height, width) with at least "
            f"{number * TRIMMED_VOLUMES} clips",
            remedy="take the files as they were published",
        )
    clips = tensor[(number - 1) * TRIMMED_VOLUMES : number * TRIMMED_VOLUMES]
    return _pixels(clips), clips.shape[1] / CLIP_SECONDS


def _pixels(clips: torch.Tensor) -> Iterator[Array]:
    whole = clips.dtype == torch.uint8
    for clip in clips:
        for frame in clip:
            values = frame.permute(1, 2, 0)
            if not whole:
                values = (values.float().clamp(0, 1) * 255).round()
            yield values.to(torch.uint8).numpy()
