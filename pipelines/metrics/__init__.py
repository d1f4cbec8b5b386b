"""Numbers that compare pictures with what was shown."""

from __future__ import annotations

from phosphene.pipelines.metrics.identification import IdentificationResult, two_way_identification
from phosphene.pipelines.metrics.intervals import bootstrap_interval, paired_bootstrap
from phosphene.pipelines.metrics.pictures import (
    mean_squared_error,
    pixel_correlation,
    structural_similarity,
)

__all__ = [
    "IdentificationResult",
    "bootstrap_interval",
    "mean_squared_error",
    "paired_bootstrap",
    "pixel_correlation",
    "structural_similarity",
    "two_way_identification",
]
