"""``dataset.json`` of a canonical dataset."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from phosphene.schemas.base import Stored

__all__ = ["DatasetFile", "SensorGeometry", "SubjectGeometry"]


class SensorGeometry(BaseModel):
    """Channels and time axis of one subject's EEG or MEG."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ch_names: list[str]
    sfreq: float
    tmin: float
    unit: str
    reference: str
    positions: list[list[float]] | None = None


class SubjectGeometry(BaseModel):
    """Shape and place of one subject's recording.

    ``content_hash`` is that of the recording's values and trials, ``voxel_hash`` that of
    :class:`phosphene.types.VoxelSpace`; the positions themselves stand in
    ``recordings/sub-<label>_voxels.npy``. EEG and MEG have ``sensors`` in place of both.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    n_trials: int
    shape: tuple[int, ...]
    dtype: Literal["float16", "float32"]
    grid_shape: tuple[int, ...] = ()
    affine: list[list[float]] | None = None
    voxel_hash: str = ""
    content_hash: str
    source: str
    sensors: SensorGeometry | None = None


class DatasetFile(Stored):
    """What a canonical dataset holds and under which conditions it may be used."""

    schema_name: ClassVar[str] = "dataset"
    name: str
    modality: Literal["fmri", "eeg", "meg"]
    subjects: dict[str, SubjectGeometry]
    stimulus_kind: Literal["pictures", "none"]
    n_stimuli: int
    stimuli_hash: str
    licence: str = "unknown"
    created_with: str
