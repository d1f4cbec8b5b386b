"""Finished output folders of ``reconstruct --video``: their page, and stills for a figure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.movies.frames import open_movie
from phosphene.data.readers import read_trials
from phosphene.data.readers.damage import reading
from phosphene.errors import InputError
from phosphene.pipelines.output import DESCRIPTION
from phosphene.pipelines.video.telling import frames_of, page_of
from phosphene.schemas import MetricsFile, RunFile
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.report.content import Content

__all__ = ["SavedVideos", "is_video_output"]

Array = np.ndarray[Any, Any]
COMMAND = "reconstruct --video"


def is_video_output(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a finished output of ``reconstruct --video``."""
    root = Path(folder)
    there = (root / DESCRIPTION).is_file() and (root / "run.json").is_file()
    return there and RunFile.load(root / "run.json").command == COMMAND


@dataclass(frozen=True, eq=False)
class SavedVideos:
    """What a run left on disk; clips are read when they are used.

    Attributes
    ----------
    table : DataFrame
        A row per clip.
    """

    root: Path
    run: RunFile
    table: pd.DataFrame
    metrics: MetricsFile | None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SavedVideos:
        """Read the tables of a finished folder.

        Raises
        ------
        InputError
            If the table has not one row per clip, or a clip of it is gone.
        """
        root = Path(folder)
        run, table = RunFile.load(root / "run.json"), read_trials(root / "trials.tsv")
        if len(table) != run.n_items:
            raise InputError(
                f"{root / 'trials.tsv'} has {len(table)} rows",
                expected=f"a row for each of {run.n_items} clips",
                remedy="run `reconstruct --video` again into another folder",
            )
        absent = [str(file) for file in table["file"] if not (root / str(file)).is_file()]
        if absent:
            raise InputError(
                f"{root} lacks {len(absent)} of {len(table)} clips, {absent[0]} for example",
                expected="the whole folder that `reconstruct --video` wrote",
                remedy="copy it again, or run it again into another folder",
            )
        metrics = root / "metrics.json"
        found = MetricsFile.load(metrics) if metrics.is_file() else None
        return cls(root, run, table, found)

    def page(self, *, stimuli: bool = True) -> str:
        """Return the report: what the run wrote, to the last byte."""
        with reading(self.root, "a finished output folder of `reconstruct --video`"):
            return page_of(self.root, self.run, self.table, self.metrics, stimuli=stimuli)

    def content(self, *, stimuli: bool = True) -> Content:
        """Return what a figure or a table says: numbers, and the middle frame of every clip."""
        from phosphene.pipelines.reconstruction import Reconstruction
        from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction

        with reading(self.root, "a finished output folder of `reconstruct --video`"):
            clips = [frames_of(self.root, str(file)) for file in self.table["file"]]
            images = np.stack([np.asarray(clip[len(clip) // 2]) for clip in clips])
            truth = self._true_stills(images.shape[1]) if stimuli else None
        result = Reconstruction(
            images=images[:, None],
            embeddings={},
            trials=self.table[["stimulus_id", "source_trials"]].reset_index(drop=True),
            provenance=self.run,
            seeds=self.table["seed"].to_numpy(dtype=np.int64)[:, None],
            truth=truth,
            metrics=self.metrics,
        )
        content = content_of_reconstruction(result, stimuli=stimuli)
        content.warnings.append("Of each clip its middle frame is shown.")
        return content

    def _true_stills(self, size: int) -> Array | None:
        files = self.table["truth"].astype(str).tolist()
        if UNKNOWN in files:
            return None
        movies = [open_movie(self.root / file) for file in files]
        return np.concatenate([movie.read([movie.n_frames // 2], size) for movie in movies])
