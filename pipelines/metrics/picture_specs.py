"""Strict definitions that compare pictures pixel by pixel."""

from __future__ import annotations

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

PAIRS = "phosphene.pipelines.metrics.base:PairMetric"
PIXELS = "phosphene.pipelines.metrics.pictures"
COLOURS = "phosphene.pipelines.metrics.opponents"
MATCHED = "the reconstruction to the truth's size, Pillow bilinear"
SKIMAGE = ("torchmetrics", "skimage")

declare_metric(
    MetricSpec(
        id="pixcorr/strict-v1",
        title="PixCorr",
        kind="picture",
        resize=MATCHED,
        antialias=True,
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
        resize=MATCHED,
        antialias=True,
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
        resize=MATCHED,
        antialias=True,
        value_range=(0, 1),
        higher_is_better=False,
        source="mean squared difference of values in 0..1",
    ),
    PAIRS,
    measure=f"{PIXELS}:mean_squared_error",
)
declare_metric(
    MetricSpec(
        id="ssim/strict-v1",
        title="SSIM",
        kind="picture",
        resize=MATCHED,
        antialias=True,
        value_range=(-1, 1),
        source="Wang et al. 2004: grey, Gaussian window of 1.5 pixels (11 x 11), range 1, "
        "weights of the window as probabilities, margins of 5 pixels left out",
        note="rewards smoothness: compare with the grey picture's score beside it",
        modules=SKIMAGE,
    ),
    PAIRS,
    measure=f"{PIXELS}:gaussian_similarity",
)
declare_metric(
    MetricSpec(
        id="psnr/strict-v1",
        title="PSNR (dB)",
        kind="picture",
        resize=MATCHED,
        antialias=True,
        value_range=(0, 58.9226),
        source="-10 log10 of the mean squared error of each picture, values in 0..1; mean in dB",
        note="at most the 58.92 dB of rounding to 256 levels, so that equal pictures are finite",
    ),
    PAIRS,
    measure=f"{PIXELS}:peak_signal_to_noise",
)
declare_metric(
    MetricSpec(
        id="colour/strict-v1",
        title="Colour agreement",
        kind="picture",
        resize="to 16 x 16, Pillow bilinear",
        antialias=True,
        value_range=(-1, 1),
        source="Lin's concordance (1989) of CIELAB chroma about neutral grey, place by place",
        note="whatever the lightness; a grey picture scores 0; no score where the truth is grey",
        chance=None,
        modules=SKIMAGE,
    ),
    PAIRS,
    measure=f"{COLOURS}:colour_agreement",
)
declare_metric(
    MetricSpec(
        id="edges/strict-v1",
        title="Edge agreement",
        kind="picture",
        resize="shorter side to 64 at most, Pillow bilinear",
        antialias=True,
        value_range=(-1, 1),
        source="Pearson's r of Sobel gradient lengths in grey, smoothed by one pixel",
        note="whatever the colours and the polarity; 0 where either picture is flat",
        modules=SKIMAGE,
    ),
    PAIRS,
    measure=f"{COLOURS}:edge_agreement",
)
