"""The Algonauts Challenge of 2021: responses to a thousand clips of 3 s, three showings each.

What is published are responses per clip, not volumes; they are laid out as runs all the same
(:mod:`~phosphene.data.movies.clip_responses`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.movies.clip_responses import (
    Segment,
    check_frames,
    clip_runs,
    segments_of,
    write_clips,
)
from phosphene.data.movies.dataset import MovieDataset, write_movie_dataset
from phosphene.data.movies.frames import MOVIE_SUFFIXES
from phosphene.data.readers.damage import existing_folder
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.errors import InputError, UsageError, check_option
from phosphene.types import VoxelSpace

__all__ = ["Algonauts2021Settings", "prepare_algonauts2021"]

Array = np.ndarray[Any, Any]
AREAS = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
WHOLE = "WB"
TRACKS = {"mini": "mini_track", "full": "full_track"}
FOLDER = re.compile(r"sub-?(?P<label>\d+)$")
CLIPS = ("AlgonautsVideos268_All_30fpsmax", "videos", "stimuli")
KIND = "a dictionary with `train` (clips, showings, voxels)"
EXPECTED = "participants_data_v2021/mini_track/sub01/V1.pkl, or full_track/sub01/WB.pkl"


@dataclass(frozen=True)
class Algonauts2021Settings:
    """What may be chosen.

    Attributes
    ----------
    subjects : tuple of str
        All by default.
    track : {"auto", "mini", "full"}
        Nine areas side by side, or the whole brain; ``auto`` takes areas where they are there.
    areas : tuple of str
        Of the mini track; all that are there by default.
    movies : path, optional
        Folder of the clips; found beside the recordings by default.
    validation, test : int
        Movies of fifty clips, counted from the last, that are held out.
    fps, size : float, int
        Of the movies that the clips are written as.
    dtype : {"float16", "float32"}
    """

    subjects: tuple[str, ...] = ()
    track: str = "auto"
    areas: tuple[str, ...] = ()
    movies: Path | None = None
    validation: int = 2
    test: int = 2
    fps: float = 10.0
    size: int = 128
    dtype: str = "float32"


def prepare_algonauts2021(
    source: str | os.PathLike[str], output: str | os.PathLike[str], settings: Algonauts2021Settings
) -> tuple[MovieDataset, list[str]]:
    """Write the subjects of a local copy as one dataset of movies.

    Returns
    -------
    dataset : MovieDataset
    notes : list of str

    Raises
    ------
    InputError
        If there is nothing of the dataset, a file is damaged or a malicious pickle, or the clips
        are fewer than the responses.
    """
    check_option("track", settings.track, ("auto", *TRACKS))
    check_option("dtype", settings.dtype, ("float16", "float32"))
    check_frames(settings.fps, settings.size)
    root = existing_folder(source, EXPECTED)
    track, folders = _folders(root, settings)
    wanted = settings.subjects or tuple(sorted(folders))
    notes, n_clips = [f"track: {track}"], 0
    for label in wanted:
        data, space, said = _responses(folders[label], track, settings.areas)
        n_clips = max(n_clips, len(data))
        segments = segments_of(range(1, len(data) + 1))
        write_movie_dataset(
            output,
            clip_runs(label, data, space, segments),
            [],
            splits=_splits([segment.name for segment in segments], settings),
            name="algonauts2021",
            source="The Algonauts Project 2021",
            dtype=settings.dtype,  # type: ignore[arg-type]
        )
        notes.append(f"subject {label}: {len(data)} clips, {data.shape[1]} showings, {said}")
    segments = segments_of(range(1, n_clips + 1))
    notes.append(_write_clips(root, Path(output), segments, settings))
    return MovieDataset.open(output), notes


def _folders(root: Path, settings: Algonauts2021Settings) -> tuple[str, dict[str, Path]]:
    """Return the track and the folder of every subject in it."""
    for track, names in (("mini", AREAS), ("full", (WHOLE,))):
        if settings.track not in ("auto", track):
            continue
        found = {}
        for path in sorted(path for name in names for path in root.rglob(f"{name}.pkl")):
            name = FOLDER.fullmatch(path.parent.name)
            if name is not None:
                found[f"{int(name['label']):02d}"] = path.parent
        if not found:
            continue
        absent = [label for label in settings.subjects if label not in found]
        if absent:
            raise UsageError(
                f"{root} has no subject {', '.join(absent)} in the {track} track",
                expected=f"of {', '.join(sorted(found))}",
            )
        return track, found
    raise InputError(
        f"{root} holds no responses of Algonauts 2021"
        + ("" if settings.track == "auto" else f" in the {settings.track} track"),
        expected=EXPECTED,
        remedy="check --source: the folder participants_data_v2021, or the one above it",
    )


def _responses(folder: Path, track: str, areas: tuple[str, ...]) -> tuple[Array, VoxelSpace, str]:
    """Return responses (clips, showings, voxels), where they lie, and what to say of them."""
    if track == "full":
        data, mask = _read(folder / f"{WHOLE}.pkl")
        if mask is None or int(mask.sum()) != data.shape[2]:
            raise InputError(
                f"{folder / f'{WHOLE}.pkl'} has {data.shape[2]} voxels and a mask of "
                f"{'none' if mask is None else int(mask.sum())}",
                expected="voxel_mask with as many voxels as `train`",
                remedy="take the file as it was published",
            )
        space = VoxelSpace(mask.shape, np.flatnonzero(mask))
        return data, space, f"{data.shape[2]} voxels of the whole brain"
    there = [area for area in AREAS if (folder / f"{area}.pkl").is_file()]
    absent = [area for area in areas if area not in there]
    if absent:
        raise UsageError(
            f"{folder} has no area {', '.join(absent)}", expected=f"of {', '.join(there)}"
        )
    names = [area for area in there if not areas or area in areas]
    parts = [_read(folder / f"{area}.pkl")[0] for area in names]
    if len({part.shape[:2] for part in parts}) > 1:
        raise InputError(
            f"areas of {folder} have different numbers of clips or showings",
            expected="one number of clips and showings",
            remedy="take the files as they were published",
        )
    data = np.concatenate(parts, axis=2)
    counts = ", ".join(f"{name} {part.shape[2]}" for name, part in zip(names, parts, strict=True))
    return data, VoxelSpace.columns(data.shape[2]), f"voxels: {counts}"


def _read(path: Path) -> tuple[Array, Array | None]:
    content = load_plain_pickle(path)
    data = content.get("train") if isinstance(content, dict) else None
    if not isinstance(data, np.ndarray) or data.ndim != 3 or 0 in data.shape:
        found = "no `train`" if not isinstance(data, np.ndarray) else f"the shape {data.shape}"
        raise InputError(f"{path} has {found}", KIND, "take the file as it was published")
    if data.dtype.kind not in "fiu" or not np.isfinite(data).all():
        raise InputError(
            f"{path} holds values that are not finite numbers",
            expected="finite numbers",
            remedy="leave this area out, or copy the file again",
        )
    mask = content.get("voxel_mask")
    return data, None if not isinstance(mask, np.ndarray) else mask.astype(bool)


def _splits(names: list[str], settings: Algonauts2021Settings) -> dict[str, str]:
    held_out = settings.validation + settings.test
    if min(settings.validation, settings.test) < 0 or held_out >= len(names):
        raise UsageError(
            f"{settings.validation} movies for validation and {settings.test} for the test of "
            f"{len(names)}",
            expected="at least one that is left for training",
        )
    last = len(names) - settings.test
    return {
        name: "test" if place >= last else "validation" if place >= last - settings.validation
        else "train"
        for place, name in enumerate(names)
    }  # fmt: skip


def _write_clips(
    root: Path, output: Path, segments: list[Segment], settings: Algonauts2021Settings
) -> str:
    """Write the clips, fifty after one another, as the movies of the dataset."""
    n_clips = segments[-1].numbers[-1]
    folders = [settings.movies] if settings.movies is not None else [
        above / name for above in (root, root.parent) for name in CLIPS
    ]  # fmt: skip
    folder = next((one for one in folders if one.is_dir()), None)
    files = [] if folder is None else sorted(
        path for path in folder.iterdir()
        if path.suffix.lower() in MOVIE_SUFFIXES and not path.name.startswith(".")
    )  # fmt: skip
    if folder is None or not files:
        return f"no clips: give the folder {CLIPS[0]} with --movies to train on them"
    if len(files) < n_clips:
        raise InputError(
            f"{folder} holds {len(files)} clips",
            expected=f"at least {n_clips}, for which there are responses, in the order of names",
            remedy="copy the whole folder of clips",
        )
    return write_clips(
        output / "stimuli",
        segments,
        dict(enumerate(files[:n_clips], start=1)),
        fps=settings.fps,
        size=settings.size,
    )
