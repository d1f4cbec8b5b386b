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
from phosphene.pipelines.metrics.opponents import colour_agreement, edge_agreement
from phosphene.pipelines.metrics.pictures import (
    gaussian_similarity,
    mean_squared_error,
    peak_signal_to_noise,
    pixel_correlation,
    structural_similarity,
)
from phosphene.pipelines.metrics.retrieval import (
    RetrievalResult,
    brain_to_image_retrieval,
    csls_similarity,
    image_to_brain_retrieval,
)
from phosphene.pipelines.metrics.specs import (
    METRICS,
    MetricOutcome,
    MetricSpec,
    create_metric,
    list_metrics,
)

__all__ = [
    "METRICS",
    "FeatureNetwork",
    "IdentificationResult",
    "MetricOutcome",
    "MetricSpec",
    "RetrievalResult",
    "bootstrap_interval",
    "brain_to_image_retrieval",
    "colour_agreement",
    "create_metric",
    "csls_similarity",
    "edge_agreement",
    "feature_distance",
    "feature_identification",
    "gaussian_similarity",
    "identify_among",
    "image_to_brain_retrieval",
    "list_metrics",
    "mean_squared_error",
    "paired_bootstrap",
    "peak_signal_to_noise",
    "picture_features",
    "pixel_correlation",
    "structural_similarity",
    "two_way_identification",
]
