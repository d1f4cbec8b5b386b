"""``dataset.json`` of a canonical dataset."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from phosphene.schemas.base import Stored

__all__ = ["DatasetFile", "SubjectGeometry"]


class SubjectGeometry(BaseModel):
    """Shape and place of one subject's recording.

    ``content_hash`` is that of the recording's values and trials, ``voxel_hash`` that of
    :class:`phosphene.types.VoxelSpace`; the positions themselves stand in
    ``recordings/sub-<label>_voxels.npy``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    n_trials: int
    shape: tuple[int, ...]
    dtype: Literal["float16", "float32"]
    grid_shape: tuple[int, ...]
    affine: list[list[float]] | None = None
    voxel_hash: str
    content_hash: str
    source: str


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
