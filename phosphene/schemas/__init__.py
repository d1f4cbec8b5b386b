"""One versioned schema per object on disk; unknown keys and versions are errors."""

from __future__ import annotations

from phosphene.schemas.audit import AuditFile, AuditFinding
from phosphene.schemas.base import Stored
from phosphene.schemas.dataset import DatasetFile, SensorGeometry, SubjectGeometry
from phosphene.schemas.evaluation import (
    AbsentMetric,
    AcrossSubjects,
    EvaluatedItem,
    EvaluatedMetric,
    EvaluationControl,
    EvaluationFile,
    EvaluationProtocol,
    PermutedPairing,
    RepetitionScores,
    ShareOfIdeal,
    WithinCategory,
)
from phosphene.schemas.index import (
    CalibrationPoint,
    ConfidenceFile,
    IndexedFile,
    IndexFile,
    IndexPlan,
    RetrievalFile,
    SearchSpace,
)
from phosphene.schemas.model import (
    BorrowedPart,
    ComponentFile,
    ModelIndex,
    PreprocessorFile,
    Protocol,
    SensorPreprocessorFile,
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
from phosphene.schemas.preparation import PreparationFile
from phosphene.schemas.shards import Shard, ShardedSubject, ShardsFile

__all__ = [
    "AbsentMetric",
    "AcrossSubjects",
    "AuditFile",
    "AuditFinding",
    "BorrowedPart",
    "CalibrationPoint",
    "ComponentFile",
    "ConfidenceFile",
    "DatasetFile",
    "EvaluatedItem",
    "EvaluatedMetric",
    "EvaluationControl",
    "EvaluationFile",
    "EvaluationProtocol",
    "ImageSidecar",
    "IndexFile",
    "IndexPlan",
    "IndexedFile",
    "MetricValue",
    "MetricsFile",
    "ModelIndex",
    "OutputDescription",
    "PermutedPairing",
    "PreparationFile",
    "PreprocessorFile",
    "Protocol",
    "RepetitionScores",
    "RetrievalFile",
    "RunFile",
    "SearchSpace",
    "SensorGeometry",
    "SensorPreprocessorFile",
    "Shard",
    "ShardedSubject",
    "ShardsFile",
    "ShareOfIdeal",
    "Stored",
    "SubjectGeometry",
    "TargetSpec",
    "TrainingState",
    "WithinCategory",
]
