"""Output folders of videos: a BIDS derivative, built aside and shown only when complete."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.data.movies.frames import write_movie
from phosphene.data.pictures import Pictures
from phosphene.pipelines.output import DESCRIPTION, check_same_run, metrics_table
from phosphene.schemas import MetricsFile, OutputDescription, RunFile
from phosphene.schemas.video import VideoSidecar
from phosphene.storage import atomic_path, hash_file, load_array, save_array, write_text
from phosphene.trials import UNKNOWN
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VideoOutput", "clip_stem"]

RAW = "raw"  # clips as they were rendered, while the run goes on
SMOOTH = 25.0  # frames per second of a preview, about


def clip_stem(subject: str, item: int) -> str:
    """Return what the files of a clip are called, below the output folder.

    Examples
    --------
    >>> clip_stem("01", 3)
    'sub-01/sub-01_item-000003_sample-00'
    """
    return f"sub-{subject}/sub-{subject}_item-{item:06d}_sample-00"


@dataclass(frozen=True, eq=False)
class VideoOutput:
    """One run's output while it is being written; clips one at a time, never all in memory."""

    work: WorkFolder
    run: RunFile

    @classmethod
    def create(
        cls, folder: str | os.PathLike[str], run: RunFile, *, resume: bool = False
    ) -> VideoOutput:
        """Open a new output folder, or an interrupted one with ``resume``."""
        work = WorkFolder.open(folder, last=DESCRIPTION, resume=resume)
        stored = (work.root if work.finished else work.partial) / "run.json"
        if not stored.is_file():
            run.save(stored)
            return cls(work, run)
        before = RunFile.load(stored)
        check_same_run(before, run, work.root)
        return cls(work, before)

    @property
    def subject(self) -> str:
        """Label of the subject."""
        return str(self.run.config["subject"])

    @property
    def partial(self) -> Path:
        """Where files lie until the run is complete."""
        return self.work.partial

    def rendered(self, item: int) -> Pictures | None:
        """Return a clip (F, H, W, 3) as it was rendered, None where it is not there yet."""
        path = self._raw(item)
        return np.asarray(load_array(path)) if path.is_file() else None

    def is_rendered(self, item: int) -> bool:
        """Whether a clip was rendered already."""
        return self._raw(item).is_file()

    def keep_rendered(self, item: int, frames: Pictures) -> None:
        """Write a clip as it was rendered; seams need its neighbours too."""
        save_array(self._raw(item), frames)

    def written(self, item: int) -> Pictures:
        """Return the frames of a clip (F, H, W, 3) as they were written."""
        stem = self.partial / clip_stem(self.subject, item)
        return np.asarray(load_array(stem.with_name(f"{stem.name}_desc-recon_frames.npy")))

    def stacked(self, name: str, count: int, clips: Iterable[Pictures]) -> Pictures:
        """Return clips as one array (n, F, H, W, 3) on disk, which :meth:`finish` removes."""
        array: Pictures | None = None
        for item, frames in enumerate(clips):
            if array is None:
                path, shape = self.partial / RAW / f"{name}.npy", (count, *frames.shape)
                array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            array[item] = frames
        assert array is not None  # a run has at least one clip
        return array

    @property
    def rendered_size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        first = load_array(self._raw(0))
        return int(first.shape[1]), int(first.shape[2])

    def _raw(self, item: int) -> Path:
        return self.partial / RAW / f"{item:06d}.npy"

    def write_clip(self, item: int, frames: Pictures, fps: float, sidecar: dict[str, Any]) -> None:
        """Write frames, MP4, animated preview and sidecar (last, so it vouches for the others)."""
        stem = self.partial / clip_stem(self.subject, item)
        arrays = stem.with_name(f"{stem.name}_desc-recon_frames.npy")
        save_array(arrays, frames)
        write_movie(stem.with_name(f"{stem.name}_desc-recon_video.mp4"), frames, fps)
        write_preview(stem.with_name(f"{stem.name}_desc-preview_video.gif"), frames, fps)
        VideoSidecar(frames_hash=hash_file(arrays), **sidecar).save(
            stem.with_name(f"{stem.name}_desc-recon_video.json")
        )

    def finish(
        self,
        table: pd.DataFrame,
        embeddings: dict[str, np.ndarray[Any, Any]],
        *,
        metrics: MetricsFile | None,
        report: str,
        log: str,
    ) -> Path:
        """Write tables and report, drop what was kept for seams, show the folder as complete."""
        import shutil

        root = self.partial
        with atomic_path(root / "embeddings.npz") as temporary:
            np.savez(temporary, **embeddings)  # type: ignore[arg-type]
        with atomic_path(root / "trials.tsv") as temporary:
            table.to_csv(temporary, sep="\t", index=False, na_rep=UNKNOWN)
        if metrics is not None:
            metrics.save(root / "metrics.json")
            write_text(root / "metrics.tsv", metrics_table(metrics))
        write_text(root / "log.txt", log)
        write_text(root / "report.html", report)
        shutil.rmtree(root / RAW, ignore_errors=True)
        OutputDescription(
            Name=f"phosphene video reconstructions of sub-{self.subject}",
            GeneratedBy=[
                {
                    "Name": "phosphene",
                    "Version": phosphene.__version__,
                    "Description": f"model {self.run.model} ({self.run.model_hash})",
                }
            ],
            SourceDatasets=[{"Version": f"input {self.run.input_hash}"}],
        ).save(root / DESCRIPTION)
        return self.work.finish()


def write_preview(path: Path, frames: Pictures, fps: float) -> None:
    """Write an animated GIF that goes on for ever, as long as the clip, a palette per frame.

    A GIF counts in hundredths of a second, and viewers slow down what is quicker than two of them:
    of quick clips every second frame is shown, or fewer.
    """
    from PIL import Image

    step = max(1, round(fps / SMOOTH))
    pictures = [Image.fromarray(frame) for frame in frames[::step]]
    times = np.round(100 * np.minimum(np.arange(len(pictures) + 1) * step, len(frames)) / fps)
    with atomic_path(path) as temporary:
        pictures[0].save(
            temporary,
            save_all=True,
            append_images=pictures[1:],
            duration=[10 * int(share) for share in np.diff(times)],
            loop=0,
        )
