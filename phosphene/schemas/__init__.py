"""One versioned schema per object on disk; unknown keys and versions are errors."""

from __future__ import annotations

from phosphene.schemas.base import Stored
from phosphene.schemas.dataset import DatasetFile, SubjectGeometry
from phosphene.schemas.model import (
    ComponentFile,
    ModelIndex,
    PreprocessorFile,
    Protocol,
    TargetSpec,
    TrainingState,
)
from phosphene.schemas.output import (
    ImageSidecar,
    MetricsFile,
    MetricValue,
    OutputDescription,
    RunFile,
)

__all__ = [
    "ComponentFile",
    "DatasetFile",
    "ImageSidecar",
    "MetricValue",
    "MetricsFile",
    "ModelIndex",
    "OutputDescription",
    "PreprocessorFile",
    "Protocol",
    "RunFile",
    "Stored",
    "SubjectGeometry",
    "TargetSpec",
    "TrainingState",
]
