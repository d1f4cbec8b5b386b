"""What came out: pictures, embeddings, which trials, and how it was made."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.data.pictures import Pictures, read_picture
from phosphene.data.readers import read_trials
from phosphene.data.readers.damage import reading
from phosphene.errors import InputError, check_option
from phosphene.schemas import MetricsFile, RunFile
from phosphene.storage import load_array
from phosphene.trials import OUTPUT_COLUMNS, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.retrieval.index import Index
    from phosphene.pipelines.retrieval.search_result import SearchResult

__all__ = ["Reconstruction"]


@dataclass(eq=False)
class Reconstruction:
    """Result of :meth:`phosphene.Reconstructor.reconstruct`.

    Attributes
    ----------
    images : ndarray of shape (n_items, n_samples, H, W, 3)
        uint8; grey is repeated over the channels.
    embeddings : dict of str to ndarray
        ``pooled`` (n_items, d) and/or ``tokens`` (n_items, n_tokens, d), float32.
    trials : DataFrame
        One row per item.
    provenance : RunFile
        Model, seeds, versions and protocol.
    seeds : ndarray of shape (n_items, n_samples)
        Seed of each picture.
    truth : ndarray of shape (n_items, H, W, 3), optional
        What was shown, where known.
    metrics : MetricsFile, optional
    """

    images: Pictures
    embeddings: dict[str, np.ndarray[Any, Any]]
    trials: pd.DataFrame
    provenance: RunFile
    seeds: np.ndarray[Any, Any]
    truth: Pictures | None = None
    metrics: MetricsFile | None = None
    baseline: Pictures | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def convert(self, output_type: Literal["np", "pil", "pt"]) -> Any:
        """Return the pictures in another form.

        Parameters
        ----------
        output_type : {"np", "pil", "pt"}
            ``np``: :attr:`images`. ``pil``: a list of items, each a list of samples. ``pt``: float
            Tensor (n_items, n_samples, 3, H, W) in 0..1.
        """
        check_option("output_type", output_type, ("np", "pil", "pt"))
        if output_type == "np":
            return self.images
        if output_type == "pt":
            import torch

            return torch.from_numpy(self.images).movedim(-1, -3).float() / 255
        from PIL import Image

        return [[Image.fromarray(sample) for sample in item] for item in self.images]

    def save(self, folder: str | os.PathLike[str], *, stimuli: bool = True) -> Path:
        """Write the output folder; ``stimuli=False`` keeps shown pictures out of it."""
        from phosphene.pipelines.output import OutputFolder

        output = OutputFolder.create(folder, self.provenance)
        for item in range(len(self.images)):
            output.write_item(self, item)
        return output.finish(self, stimuli=stimuli)

    def to_html(self, *, stimuli: bool = True) -> str:
        """Return the report as one self-contained page."""
        from phosphene.pipelines.report import render_report

        return render_report(self, stimuli=stimuli)

    def retrieve(self, index: Index | str | os.PathLike[str], k: int = 10) -> SearchResult:
        """Find the pictures of an index that are nearest to what was decoded.

        Parameters
        ----------
        index : Index or path
            Of the same target as the model's; another is refused.
        k : int
            Pictures per item.
        """
        from phosphene.pipelines.retrieval.index import Index

        found = index if isinstance(index, Index) else Index.open(index)
        target = self.provenance.config.get("target")
        if target is not None:  # runs of earlier releases do not say
            found.check_target(str(target), f"the model {self.provenance.model} ({target})")
        main = self.embeddings["tokens" if "tokens" in self.embeddings else "pooled"]
        return found.search(main, k)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Reconstruction:
        """Read a finished output folder.

        Shown pictures are read back when they were stored, that is unless the run was made
        with ``--no-stimuli``.
        """
        root = Path(folder)
        if not (root / "dataset_description.json").is_file():
            raise InputError(
                f"{root} is not a finished output folder: it has no dataset_description.json",
                expected="a folder written by `reconstruct`",
                remedy="finish an interrupted run with the same command and --resume",
            )
        run = RunFile.load(root / "run.json")
        rows = read_trials(root / "trials.tsv")
        shape = (run.n_items, run.n_samples)
        if len(rows) != shape[0] * shape[1]:
            raise InputError(
                f"{root / 'trials.tsv'} has {len(rows)} rows",
                expected=f"{shape[0]} items x {shape[1]} samples",
                remedy="run `reconstruct` again into another folder",
            )
        metrics = root / "metrics.json"
        with reading(root, "a finished output folder of `reconstruct`"):
            images = np.stack([read_picture(root / file) for file in rows["file"]])
            items = rows[:: run.n_samples].reset_index(drop=True)
            return cls(
                images=images.reshape(*shape, *images.shape[1:]),
                embeddings={
                    key: load_array(f"{root / 'embeddings.npz'}:{key}")
                    for key in _keys(root / "embeddings.npz")
                },
                trials=items.drop(columns=list(OUTPUT_COLUMNS)),
                provenance=run,
                seeds=rows["seed"].to_numpy(dtype=np.int64).reshape(shape),
                truth=_read_truth(root, items["truth"].tolist()),
                metrics=MetricsFile.load(metrics) if metrics.is_file() else None,
            )


def _keys(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as archive:
        return list(archive.files)


def _read_truth(root: Path, files: list[str]) -> Pictures | None:
    if UNKNOWN in files:
        return None
    return np.stack([read_picture(root / file) for file in files])
