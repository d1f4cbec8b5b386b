"""The runs that a video decoder learns from: which belong to which split, and their clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from phosphene.data.movies.averaging import average_runs, showings
from phosphene.data.movies.dataset import MovieDataset
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.data.movies.standardising import standardised
from phosphene.errors import InputError
from phosphene.pipelines.training.video_targets import ClipTargets, captions_of, joined, true_flow
from phosphene.progress import progress

__all__ = ["ClipMaterial", "Runs", "clip_material", "movies_of", "runs_by_split"]

Array = np.ndarray[Any, Any]
Runs = list[tuple[MovieDataset, MovieRun]]


@dataclass(frozen=True, eq=False)
class ClipMaterial:
    """Clips of one split of one subject.

    Attributes
    ----------
    windows : ndarray of shape (n, n_volumes, n_voxels)
    targets : dict of str to Tensor of shape (n, ...)
    movies : list of n str
    captions : list of n str
        Empty where nothing is told.
    """

    windows: Array
    targets: dict[str, Tensor]
    movies: list[str]
    captions: list[str]


def runs_by_split(datasets: list[MovieDataset], subject: str, average: str) -> dict[str, Runs]:
    """Return the runs of each split; datasets without the subject are passed over.

    Training runs are means of the showings where these are averaged, validation runs are not yet.
    """
    found: dict[str, Runs] = {"train": [], "validation": []}
    for data in datasets:
        if subject not in data.subjects:
            continue
        for group in showings(data.runs(subject)):
            for run in group:
                _check_alike(run, group[0] if not found["train"] else found["train"][0][1])
            split = str(group[0].recording.trials["split"].iloc[0])
            if split == "train" and average == "stimulus":
                group = [average_runs(group)]
            found.get(split, []).extend((data, run) for run in group)
    if not found["train"]:
        raise InputError(
            f"no training run of subject {subject}",
            expected="runs whose split is train",
            remedy="mark them in the column split of trials or events",
        )
    return found


def _check_alike(run: MovieRun, first: MovieRun) -> None:
    if (
        abs(run.tr - first.tr) > 1e-3
        or run.recording.data.shape[1] != (first.recording.data.shape[1])
    ):
        raise InputError(
            f"the run of {run.segment} has a TR of {run.tr:g} s and "
            f"{run.recording.data.shape[1]} voxels",
            expected=f"{first.tr:g} s and {first.recording.data.shape[1]}, as {first.segment}",
            remedy="resample the runs to one TR and one set of voxels",
        )


def clip_material(
    runs: Runs,
    clips_of: Callable[[MovieRun], MovieClips],
    targets: ClipTargets,
    known: dict[str, dict[str, Tensor]],
) -> ClipMaterial:
    """Return windows and targets of the clips of all runs.

    Parameters
    ----------
    runs : list of (MovieDataset, MovieRun)
    clips_of : callable
        Cuts a run into clips.
    targets : ClipTargets
    known : dict
        Targets that were made before, by movie; new ones are added.
    """
    windows, parts, movies, captions = [], [], [], []
    for data, run in progress(runs, label="clips"):
        clips = clips_of(run)
        name = f"{data.root}/{run.segment}/{clips.start[0]:g}/{len(clips)}"
        movie = data.movie(run.segment)
        if name not in known:
            flow = true_flow(data.root, run.segment, movie.open().fps)
            known[name] = targets.of(clips, movie, flow)
        parts.append(known[name])
        windows.append(standardised(run.recording.data, run.tr)[clips.rows])
        movies += [f"{data.root.name}/{run.segment}"] * len(clips)
        captions += captions_of(clips, movie)
    return ClipMaterial(np.concatenate(windows), joined(parts), movies, captions)


def movies_of(runs: Runs) -> list[tuple[MovieDataset, list[MovieRun]]]:
    """Return the showings of each movie."""
    found: dict[tuple[str, str], tuple[MovieDataset, list[MovieRun]]] = {}
    for data, run in runs:
        found.setdefault((str(data.root), run.segment), (data, []))[1].append(run)
    return list(found.values())
