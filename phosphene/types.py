"""The vocabulary everybody speaks: recordings, where they lie, and embeddings."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.sensors import SensorInfo

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["MODALITIES", "BrainEmbedding", "Recording", "SensorInfo", "VoxelSpace"]

Modality = Literal["fmri", "eeg", "meg"]
MODALITIES = ("eeg", "fmri", "meg")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class VoxelSpace:
    """Which places of a grid a recording's columns are.

    Parameters
    ----------
    grid_shape : tuple of int
        ``(X, Y, Z)`` for volumes; ``(n_columns,)`` for arrays and surfaces.
    indices : ndarray of shape (n_voxels,)
        Flat C-order positions in the grid, increasing.
    affine : ndarray of shape (4, 4), optional
        Voxel to millimetres; volumes only.
    """

    grid_shape: tuple[int, ...]
    indices: Array
    affine: Array | None = None

    def __post_init__(self) -> None:
        indices = np.ascontiguousarray(self.indices, dtype=np.int64)
        size = int(np.prod(self.grid_shape))
        if indices.ndim != 1 or indices.size == 0:
            raise InputError(f"a voxel selection of shape {indices.shape}", "at least one voxel")
        if indices[0] < 0 or indices[-1] >= size or np.any(np.diff(indices) <= 0):
            raise InputError(
                "voxel indices that repeat, are not increasing or lie outside the grid",
                expected=f"increasing positions below {size}",
            )
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "grid_shape", tuple(int(n) for n in self.grid_shape))
        if self.affine is not None:
            object.__setattr__(self, "affine", np.asarray(self.affine, dtype=np.float64))

    @classmethod
    def columns(cls, n_columns: int) -> VoxelSpace:
        """Return the space of a plain array with ``n_columns`` columns, all kept."""
        return cls((n_columns,), np.arange(n_columns))

    @property
    def n_voxels(self) -> int:
        """Number of voxels (columns of the recording)."""
        return int(self.indices.size)

    @property
    def hash(self) -> str:
        """Identity of the voxels: grid, affine (to a micrometre) and indices."""
        digest = hashlib.sha256(repr(self.grid_shape).encode())
        if self.affine is not None:
            digest.update((np.round(self.affine * 1000).astype(np.int64)).tobytes())
        digest.update(self.indices.tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Return the grid in words, for messages."""
        shape = " x ".join(map(str, self.grid_shape))
        if self.affine is None:
            return f"{shape} columns, {self.n_voxels} used"
        steps = np.linalg.norm(self.affine[:3, :3], axis=0)
        size = " x ".join(f"{step:.3g}" for step in steps)
        origin = ", ".join(f"{value:.2f}" for value in self.affine[:3, 3])
        return f"{shape} voxels of {size} mm, origin ({origin}) mm, {self.n_voxels} used"


@dataclass(frozen=True, eq=False)
class Recording:
    """Brain data of one subject.

    Parameters
    ----------
    data : ndarray
        ``(n_trials, n_voxels)`` for fMRI betas (arbitrary units or percent signal change),
        ``(n_trials, n_chans, n_times)`` for EEG (volts) and MEG (tesla). May be memory-mapped.
    modality : {"fmri", "eeg", "meg"}
    subject : str
        A label such as ``"01"``, never an index.
    trials : DataFrame
        One row per trial: session, run, trial, stimulus_id, repetition, split.
    space : VoxelSpace, optional
        Of fMRI columns.
    info : SensorInfo, optional
        Of EEG and MEG channels.
    """

    data: Array
    modality: Modality
    subject: str
    trials: pd.DataFrame
    space: VoxelSpace | None = None
    info: SensorInfo | None = None

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise UsageError(f"`modality` is {self.modality!r}", f"one of {', '.join(MODALITIES)}")
        object.__setattr__(self, "subject", check_subject(self.subject))
        n_axes = 2 if self.modality == "fmri" else 3
        if self.data.ndim != n_axes or 0 in self.data.shape:
            axes = "(n_trials, n_voxels)" if n_axes == 2 else "(n_trials, n_chans, n_times)"
            raise InputError(
                f"{self.modality} data of shape {self.data.shape}", f"{axes}, none of them zero"
            )
        if len(self.trials) != len(self.data):
            raise InputError(
                f"a trials table of {len(self.trials)} rows for {len(self.data)} trials of data",
                expected="one row per trial",
            )
        if self.space is not None and self.space.n_voxels != self.data.shape[1]:
            raise InputError(
                f"{self.data.shape[1]} columns of data for {self.space.n_voxels} voxels",
                expected="one column per voxel",
            )
        if self.info is not None and self.info.n_chans != self.data.shape[1]:
            raise InputError(
                f"{self.data.shape[1]} channels of data for {self.info.n_chans} channel names",
                expected="one name per channel",
            )

    def __len__(self) -> int:
        return len(self.data)

    def select(self, rows: Array) -> Recording:
        """Return the trials of ``rows`` (a boolean mask or integer positions), in that order."""
        positions = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return replace(
            self,
            data=self.data[positions],
            trials=self.trials.iloc[positions].reset_index(drop=True),
        )

    def average(self, column: str = "stimulus_id") -> Recording:
        """Return one row per distinct value of ``column``: the mean of its trials, in float32.

        The trials table keeps the first trial's row, with ``repetition`` the number averaged
        and ``source_trials`` the keys of the trials that went in.
        """
        from phosphene.trials import average_rows

        rows, table = average_rows(self.trials, column)
        data = np.stack([self.data[index].mean(axis=0, dtype=np.float64) for index in rows])
        return replace(self, data=data.astype(np.float32), trials=table)


@dataclass(frozen=True, eq=False)
class BrainEmbedding:
    """What a brain encoder predicts.

    Parameters
    ----------
    pooled : Tensor of shape (n, d), optional
    tokens : Tensor of shape (n, n_tokens, d), optional
    lowlevel : Tensor of shape (n, ...), optional
        Latent or blurred picture that fixes the layout.
    features : Tensor of shape (n, d), optional
        Features of a second network, by which rendered pictures are compared.
    control : Tensor of shape (n, 1, h, w), optional
        Depth or edges in 0..1 that a ControlNet keeps to.
    retrieval : Tensor of shape (n, d), optional
        Where the picture is looked for among others, when another head than that of the target
        says so.
    """

    pooled: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    lowlevel: torch.Tensor | None = None
    features: torch.Tensor | None = None
    control: torch.Tensor | None = None
    retrieval: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if len({len(part) for part in self.parts.values()}) != 1:
            raise InputError(
                f"an embedding whose parts have {sorted(map(len, self.parts.values()))} items",
                expected="pooled, tokens or both, of equal length",
            )

    @property
    def parts(self) -> dict[str, torch.Tensor]:
        """The parts that are there, by name."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: part for name, part in named.items() if part is not None}

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, rows: slice | torch.Tensor) -> BrainEmbedding:
        return BrainEmbedding(**{name: part[rows] for name, part in self.parts.items()})

    @property
    def main(self) -> torch.Tensor:
        """The tokens where there are any, else the pooled embedding."""
        found = self.tokens if self.tokens is not None else self.pooled
        if found is None:
            raise UsageError("an embedding with neither tokens nor a pooled vector")
        return found
