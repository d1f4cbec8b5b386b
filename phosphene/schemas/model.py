"""Objects of a model folder: index, components, preprocessing, protocol, training state."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from phosphene.schemas.base import Stored
from phosphene.schemas.dataset import SensorGeometry

__all__ = [
    "BorrowedPart",
    "ComponentFile",
    "ModelIndex",
    "PreprocessorFile",
    "Protocol",
    "SensorPreprocessorFile",
    "SubjectPreprocessing",
    "TargetSpec",
    "TrainingState",
]


class TargetSpec(Stored):
    """What a brain encoder predicts; its hash names caches of target values.

    Attributes
    ----------
    name : str
        Kind of stimulus encoder, for example ``autoencoder``.
    layer : str
        Which output of it.
    output : {"pooled", "tokens", "lowlevel"}
    shape : tuple of int
        ``(d,)`` or ``(n_tokens, d)``.
    preprocessing : dict
        Size, channels, resize rule and range of the pictures that go in.
    weights_hash : str
        SHA-256 (first 16 digits) of the weights; empty when there are none.
    """

    schema_name: ClassVar[str] = "target"
    name: str
    layer: str
    output: Literal["pooled", "tokens", "lowlevel"]
    shape: tuple[int, ...]
    preprocessing: dict[str, str | int | float | bool]
    weights_hash: str = ""


class Protocol(Stored):
    """Which trials trained what, and by which rules; printed beside every number."""

    schema_name: ClassVar[str] = "protocol"
    dataset: str
    dataset_hash: str
    subjects: list[str]
    mask: str
    normalisation: str
    normalisation_fitted_on: str
    averaging_train: str
    averaging_test: str
    n_train_trials: dict[str, int]
    train_stimulus_ids: list[str]
    train_picture_hashes: list[str]
    validation_rule: str
    selection_rule: str
    transductive: bool = False


class ComponentFile(Stored):
    """``config.json`` of one component: what it is and the arguments that built it."""

    schema_name: ClassVar[str] = "component"
    kind: str
    name: str
    config: dict[str, Any]


class SubjectPreprocessing(BaseModel):
    """Voxels of one subject and how they are normalised."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    grid_shape: tuple[int, ...]
    affine: list[list[float]] | None = None
    voxel_hash: str
    n_trials_fitted: int


class PreprocessorFile(Stored):
    """``preprocessor.json``; means and scales stand beside it in safetensors."""

    schema_name: ClassVar[str] = "preprocessor"
    modality: Literal["fmri", "eeg", "meg"]
    normalisation: Literal["zscore", "weighted-zscore"]
    subjects: dict[str, SubjectPreprocessing]


class SensorPreprocessorFile(Stored):
    """``preprocessor.json`` of EEG and MEG; means and covariances stand beside it.

    Attributes
    ----------
    sensors : SensorGeometry
        Channels in the model's order, rate, start of the window, unit and reference.
    n_times, bin : int
        Samples of a trial, and how many of them are averaged to one.
    whiten_time : bool
    n_trials_fitted : dict of str to int
        Per subject.
    """

    schema_name: ClassVar[str] = "sensor-preprocessor"
    modality: Literal["eeg", "meg"]
    sensors: SensorGeometry
    n_times: int
    bin: int
    whiten_time: bool
    n_trials_fitted: dict[str, int]


class BorrowedPart(BaseModel):
    """A part that lies in another model: its name, and the identity of the part's files."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    hash: str


class ModelIndex(Stored):
    """``model_index.json``: the parts of a model and the SHA-256 of every file.

    ``borrowed`` has the parts, by role, that lie in another model; most models have none.
    """

    schema_name: ClassVar[str] = "model"
    name: str
    modality: Literal["fmri", "eeg", "meg"]
    subjects: list[str]
    components: dict[str, str]
    generator: str
    target: TargetSpec
    files: dict[str, str]
    created_with: str
    metrics: dict[str, float] = Field(default_factory=dict)
    borrowed: dict[str, BorrowedPart] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file; a model that borrows nothing does not speak of it."""
        content = super().to_json()
        if not self.borrowed:
            del content["borrowed"]
        return content


class TrainingState(Stored):
    """Counters of a training checkpoint; tensors stand beside it in safetensors."""

    schema_name: ClassVar[str] = "training"
    config_hash: str
    weights: str
    step: int
    epoch: int
    best_score: float | None
    best_step: int
    history: list[dict[str, float]]
    sums: dict[str, float]
    scheduler: dict[str, Any]
    ema_steps: int
