"""Strict definitions that compare pictures pixel by pixel."""

from __future__ import annotations

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

PAIRS = "phosphene.pipelines.metrics.base:PairMetric"
PIXELS = "phosphene.pipelines.metrics.pictures"
SKIMAGE = ("torchmetrics", "skimage")

declare_metric(
    MetricSpec(
        id="pixcorr/strict-v1",
        title="PixCorr",
        kind="picture",
        value_range=(-1, 1),
        source="Pearson's r over all values of each pair; Ozcelik and VanRullen 2023",
        note="0 where either picture is flat",
    ),
    PAIRS,
    measure=f"{PIXELS}:pixel_correlation",
)
declare_metric(
    MetricSpec(
        id="ssim/uniform7-v1",
        title="SSIM, 7 x 7 window",
        kind="picture",
        value_range=(-1, 1),
        source="Wang et al. 2004 with scikit-image's default window; mean over colour channels",
        modules=SKIMAGE,
    ),
    PAIRS,
    measure=f"{PIXELS}:structural_similarity",
)
declare_metric(
    MetricSpec(
        id="mse/unit-range-v1",
        title="MSE",
        kind="picture",
        value_range=(0, 1),
        higher_is_better=False,
        source="mean squared difference of values in 0..1",
    ),
    PAIRS,
    measure=f"{PIXELS}:mean_squared_error",
)
