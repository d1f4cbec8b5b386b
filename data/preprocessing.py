"""Fitted preprocessing: which voxels, and how they are normalised.

It learns from training trials only, is saved with the model, and refuses test trials.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.schemas import PreprocessorFile
from phosphene.schemas.model import SubjectPreprocessing
from phosphene.storage import load_tensors, save_tensors
from phosphene.trials import UNKNOWN
from phosphene.types import Recording, VoxelSpace

__all__ = ["Preprocessor", "refuse_test_trials"]

Array = np.ndarray[Any, Any]
BLOCK_BYTES = 64 * 2**20


def refuse_test_trials(recording: Recording, *, purpose: str) -> None:
    """Raise when a recording that something is to be fitted on holds test trials."""
    n_test = int((recording.trials["split"] == "test").sum())
    if n_test:
        raise InputError(
            f"{n_test} of {len(recording)} trials given to {purpose} are of the test split",
            expected="training trials only",
            remedy="select the train split before fitting",
        )


@dataclass
class Preprocessor:
    """Z-scores every voxel with the mean and standard deviation of its training trials.

    A voxel that never varied in training carries no information and is set to zero.

    Parameters
    ----------
    modality : {"fmri", "eeg", "meg"}
    weighted : bool
        Whether voxels were scaled by how much the pictures explain of them.
    """

    modality: str = "fmri"
    weighted: bool = False
    _subjects: dict[str, tuple[VoxelSpace, Array, Array, int]] = field(default_factory=dict)
    _training_ids: set[str] = field(default_factory=set)

    @property
    def training_ids(self) -> frozenset[str]:
        """Stimuli it was fitted on here; a saved model keeps them in its protocol alone."""
        return frozenset(self._training_ids)

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it was fitted on."""
        return sorted(self._subjects)

    def fit(self, recording: Recording) -> Preprocessor:
        """Learn one subject's voxels, means and standard deviations (ddof 0)."""
        refuse_test_trials(recording, purpose="z-scoring")
        if recording.space is None:
            raise UsageError("z-scoring needs a recording with a voxel space")
        if len(recording) < 2:
            raise InputError(
                f"{len(recording)} training trial",
                expected="at least two",
                remedy="mark more trials as train in the trials table",
            )
        mean, variance = _moments(recording.data)
        scale = np.sqrt(variance)
        floor = 1e-6 * np.maximum(np.abs(mean), np.finfo(np.float32).tiny)
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > floor)
        self._subjects[recording.subject] = (
            recording.space,
            mean.astype(np.float32),
            inverse.astype(np.float32),
            len(recording),
        )
        self._training_ids |= set(recording.trials["stimulus_id"]) - {UNKNOWN}
        return self

    def accept(self, subject: str, space: VoxelSpace) -> Preprocessor:
        """Take recordings of a subject as they are; whatever normalises them comes before.

        Weights that were trained elsewhere come without means and deviations of their voxels.
        """
        zero, one = np.zeros(space.n_voxels, np.float32), np.ones(space.n_voxels, np.float32)
        self._subjects[subject] = (space, zero, one, 0)
        return self

    def weigh(self, subject: str, weights: Array) -> Preprocessor:
        """Scale each voxel of a subject by the square root of its weight, after z-scoring.

        Parameters
        ----------
        subject : str
        weights : ndarray of shape (n_voxels,)
            Expected relative size of a voxel's squared coefficient, from training trials.
        """
        space, mean, inverse, n_trials = self._of(subject)
        scaled = inverse * np.sqrt(weights / np.mean(weights)).astype(np.float32)
        self._subjects[subject] = (space, mean, scaled, n_trials)
        self.weighted = True
        return self

    def space(self, subject: str) -> VoxelSpace:
        """Return the voxels of a subject; an unknown one is an error that says how to add it."""
        return self._of(subject)[0]

    def scaling(self, subject: str) -> tuple[Array, Array]:
        """Return mean and inverse scale (n_voxels,) of a subject, for rows read one by one."""
        _, mean, inverse, _ = self._of(subject)
        return mean, inverse

    def _of(self, subject: str) -> tuple[VoxelSpace, Array, Array, int]:
        if subject not in self._subjects:
            raise InputError(
                f"the model does not know subject {subject!r}",
                expected=f"one of {', '.join(self.subjects)}",
                remedy="train one for that subject: phosphene train encoder --subject "
                f"{subject} --dataset DATASET --target TARGET --output MODEL",
            )
        return self._subjects[subject]

    def transform(self, recording: Recording) -> Recording:
        """Return the recording z-scored with training statistics, as float32."""
        from dataclasses import replace

        space, mean, inverse, _ = self._of(recording.subject)
        if recording.space is None or recording.space.hash != space.hash:
            found = "none" if recording.space is None else recording.space.describe()
            raise InputError(
                f"the recording of subject {recording.subject} has these voxels: {found}",
                expected=f"those of the model: {space.describe()}",
                remedy="bring the recording to the model's grid and mask, or train on these voxels",
            )
        return replace(
            recording, data=(np.asarray(recording.data, dtype=np.float32) - mean) * inverse
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``preprocessor.json`` and ``preprocessor.safetensors``."""
        import torch

        tensors, subjects = {}, {}
        for label, (space, mean, inverse, n_trials) in self._subjects.items():
            tensors[f"{label}.indices"] = torch.from_numpy(space.indices.copy())
            tensors[f"{label}.mean"] = torch.from_numpy(mean)
            tensors[f"{label}.inverse_scale"] = torch.from_numpy(inverse)
            subjects[label] = SubjectPreprocessing(
                grid_shape=space.grid_shape,
                affine=None if space.affine is None else space.affine.tolist(),
                voxel_hash=space.hash,
                n_trials_fitted=n_trials,
            )
        save_tensors(Path(folder) / "preprocessor.safetensors", tensors)
        PreprocessorFile.model_validate(
            {
                "modality": self.modality,
                "normalisation": "weighted-zscore" if self.weighted else "zscore",
                "subjects": subjects,
            }
        ).save(Path(folder) / "preprocessor.json")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Preprocessor:
        """Read what :meth:`save` wrote."""
        file = PreprocessorFile.load(Path(folder) / "preprocessor.json")
        tensors = load_tensors(Path(folder) / "preprocessor.safetensors")
        made = cls(file.modality, weighted=file.normalisation == "weighted-zscore")
        for label, stored in file.subjects.items():
            try:
                indices, mean, inverse = (
                    tensors[f"{label}.{part}"].numpy()
                    for part in ("indices", "mean", "inverse_scale")
                )
            except KeyError as error:
                raise InputError(
                    f"{folder}/preprocessor.safetensors has no {error.args[0]}",
                    expected="indices, mean and inverse_scale of each subject",
                    remedy="copy the model again from its source",
                ) from error
            affine = None if stored.affine is None else np.asarray(stored.affine)
            space = VoxelSpace(stored.grid_shape, indices, affine)
            if space.hash != stored.voxel_hash:
                raise InputError(
                    f"the voxels of subject {label} in {folder} have the hash {space.hash}",
                    expected=f"{stored.voxel_hash}, as preprocessor.json says",
                    remedy="copy the model again from its source",
                )
            if not len(mean) == len(inverse) == space.n_voxels:
                raise InputError(
                    f"{folder}/preprocessor.safetensors has {len(mean)} means and {len(inverse)} "
                    f"scales of subject {label}",
                    expected=f"{space.n_voxels}, one per voxel",
                    remedy="copy the model again from its source",
                )
            made._subjects[label] = (space, mean, inverse, stored.n_trials_fitted)
        return made


def _moments(data: Array) -> tuple[Array, Array]:
    """Return mean and variance over trials in float64, in one pass over blocks of rows."""
    rows = max(1, BLOCK_BYTES // (int(np.prod(data.shape[1:])) * 8))
    shift = np.asarray(data[0], dtype=np.float64)  # guards the sum of squares against offsets
    total, squares = np.zeros_like(shift), np.zeros_like(shift)
    for start in range(0, len(data), rows):
        block = np.asarray(data[start : start + rows], dtype=np.float64) - shift
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    mean = total / len(data)
    return mean + shift, np.maximum(squares / len(data) - np.square(mean), 0.0)
