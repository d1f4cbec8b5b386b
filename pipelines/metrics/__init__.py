"""Numbers that compare pictures with what was shown."""

from __future__ import annotations

from phosphene.pipelines.metrics.features import (
    FeatureNetwork,
    feature_distance,
    feature_identification,
    identify_among,
    picture_features,
)
from phosphene.pipelines.metrics.identification import IdentificationResult, two_way_identification
from phosphene.pipelines.metrics.intervals import bootstrap_interval, paired_bootstrap
from phosphene.pipelines.metrics.pictures import (
    mean_squared_error,
    pixel_correlation,
    structural_similarity,
)
from phosphene.pipelines.metrics.retrieval import (
    RetrievalResult,
    brain_to_image_retrieval,
    image_to_brain_retrieval,
)

__all__ = [
    "FeatureNetwork",
    "IdentificationResult",
    "RetrievalResult",
    "bootstrap_interval",
    "brain_to_image_retrieval",
    "feature_distance",
    "feature_identification",
    "identify_among",
    "image_to_brain_retrieval",
    "mean_squared_error",
    "paired_bootstrap",
    "picture_features",
    "pixel_correlation",
    "structural_similarity",
    "two_way_identification",
]
