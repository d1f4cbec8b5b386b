"""Canonical datasets: one layout on disk for every recording, read back memory-mapped.

``dataset.json``, ``trials.parquet``, ``recordings/sub-01.npy``, ``stimuli/<id>.png`` with
``stimuli.parquet``, and ``targets/<hash>/`` for caches. ``dataset.json`` is written last, so
a folder without it is not a dataset and a subject it does not name is not there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phosphene.data.pictures import PictureFiles
from phosphene.errors import InputError
from phosphene.schemas import DatasetFile
from phosphene.sensors import SensorInfo
from phosphene.storage import load_array
from phosphene.trials import TRIAL_COLUMNS
from phosphene.types import Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CanonicalDataset"]


@dataclass(frozen=True, eq=False)
class CanonicalDataset:
    """A dataset on disk.

    Use :meth:`open`; recordings come back memory-mapped.
    """

    root: Path
    file: DatasetFile
    table: pd.DataFrame
    stimuli: pd.DataFrame

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> CanonicalDataset:
        """Open and check a dataset folder."""
        folder = Path(root)
        if not (folder / "dataset.json").is_file():
            raise InputError(
                f"{folder} is not a dataset: it has no dataset.json",
                expected="a folder written by `phosphene prepare`",
                remedy="run `phosphene prepare arrays ...` first, or check the path",
            )
        file = DatasetFile.load(folder / "dataset.json")
        table = _read_parquet(folder / "trials.parquet", ["subject", *TRIAL_COLUMNS])
        table = table[table["subject"].isin(list(file.subjects))].reset_index(drop=True)
        for subject, geometry in file.subjects.items():
            rows = int((table["subject"] == subject).sum())
            if rows != geometry.n_trials:
                raise InputError(
                    f"{folder / 'trials.parquet'} has {rows} trials of subject {subject}",
                    expected=f"{geometry.n_trials}, as dataset.json says",
                    remedy="prepare the dataset again",
                )
        return cls(
            folder,
            file,
            table,
            _read_parquet(folder / "stimuli.parquet", ["stimulus_id", "file", "hash"]),
        )

    def check_subject(self, subject: str) -> str:
        """Return the label when the dataset has that subject, else say which it has."""
        if subject not in self.file.subjects:
            raise InputError(
                f"the dataset {self.root} has no subject {subject!r}",
                expected=f"one of {', '.join(sorted(self.file.subjects))}",
                remedy="add that subject with `phosphene prepare`, or choose one of these",
            )
        return subject

    def recording(self, subject: str, splits: Sequence[str] | None = None) -> Recording:
        """Return one subject's recording, all of it (memory-mapped) or some splits.

        Parameters
        ----------
        subject : str
        splits : sequence of {"train", "validation", "test"}, optional
        """
        geometry = self.file.subjects[self.check_subject(subject)]
        path = self.root / "recordings" / f"sub-{subject}.npy"
        data = load_array(path)
        if data.shape != geometry.shape or str(data.dtype) != geometry.dtype:
            raise InputError(
                f"{path} holds {data.dtype} of shape {data.shape}",
                expected=f"{geometry.dtype} of shape {geometry.shape}, as dataset.json says",
                remedy="prepare the dataset again",
            )
        sensors = geometry.sensors
        whole = Recording(
            data=data,
            modality=self.file.modality,
            subject=subject,
            trials=self.table[self.table["subject"] == subject]
            .drop(columns="subject")
            .reset_index(drop=True),
            space=self.space(subject) if self.file.modality == "fmri" else None,
            info=None if sensors is None else SensorInfo.from_dict(sensors.model_dump()),
        )
        if splits is None:
            return whole
        rows = whole.trials["split"].isin(list(splits)).to_numpy()
        if not rows.any():
            raise InputError(
                f"subject {subject} of {self.root} has no trials in {', '.join(splits)}",
                expected="at least one trial",
                remedy="choose another subject, or mark such trials in the --trials table",
            )
        return whole.select(rows)

    def space(self, subject: str) -> VoxelSpace:
        """Return where the columns of a subject's recording lie; EEG and MEG have none."""
        geometry = self.file.subjects[self.check_subject(subject)]
        if self.file.modality != "fmri":
            raise InputError(
                f"the dataset {self.root} holds {self.file.modality} and has no voxels",
                expected="a dataset of fMRI",
                remedy="use an encoder of EEG or MEG",
            )
        indices = load_array(self.root / "recordings" / f"sub-{subject}_voxels.npy")
        affine = None if geometry.affine is None else np.asarray(geometry.affine)
        space = VoxelSpace(geometry.grid_shape, indices, affine)
        if space.hash != geometry.voxel_hash:
            raise InputError(
                f"the voxels of subject {subject} in {self.root} have the hash {space.hash}",
                expected=f"{geometry.voxel_hash}, as dataset.json says",
                remedy="prepare the dataset again",
            )
        return space

    def pictures(self, stimulus_ids: Sequence[str]) -> PictureFiles:
        """Return the pictures of these identifiers, uint8 (H, W, C), each read when asked for."""
        files = dict(zip(self.stimuli["stimulus_id"], self.stimuli["file"], strict=True))
        missing = [name for name in stimulus_ids if name not in files]
        if missing:
            raise InputError(
                f"the dataset {self.root} has no picture of {len(missing)} stimuli, "
                f"{missing[0]!r} for example",
                expected="a picture per stimulus",
                remedy="prepare it with --stimuli",
            )
        return PictureFiles([self.root / "stimuli" / files[name] for name in stimulus_ids])


def _read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
        absent = [name for name in columns if name not in table]
        if absent:
            raise ValueError(f"no column {', '.join(absent)}")
        for name in table:  # text is decoded only when it is looked at
            table[name].tolist()
        for name in columns:
            table[name].tolist()  # text that is damaged shows only when it is read
        return table
    except Exception as error:  # a damaged file can make pyarrow raise any of its own kinds
        raise InputError(
            f"{path} is missing or damaged ({error})",
            expected="a parquet table",
            remedy="prepare the dataset again",
        ) from error
