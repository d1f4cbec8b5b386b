"""Strict definitions that compare pictures in the features of networks.

Each network sees the whole picture at the size it was trained at, brought there by Pillow, which
averages where it reduces.
"""

from __future__ import annotations

from typing import Any

from phosphene.pipelines.metrics.networks import NETWORKS
from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

CLASSES = "phosphene.pipelines.metrics.feature_metrics"
PROBE = "phosphene.pipelines.metrics.networks:missing_network"
IDENTIFICATION = (
    "two-way identification by Pearson's r over features (Ozcelik and VanRullen 2023), "
    "all comparisons, ties one half"
)

# name in ids: network, layer, side in pixels, Pillow's filter, colours
FEATURES: dict[str, tuple[str, str, int, str, str]] = {
    "alexnet2": ("alexnet", "features.4", 224, "pillow-bilinear", "imagenet"),
    "alexnet5": ("alexnet", "features.11", 224, "pillow-bilinear", "imagenet"),
    "inception": ("inception-v3", "avgpool", 299, "pillow-bilinear", "imagenet"),
    "clip": ("clip-vit-l-14", "embedding", 224, "pillow-bicubic", "clip"),
    "dinov2": ("dinov2-base", "embedding", 224, "pillow-bicubic", "imagenet"),
    "efficientnet-b1": ("efficientnet-b1", "avgpool", 240, "pillow-bicubic", "imagenet"),
    "swav": ("swav", "avgpool", 224, "pillow-bilinear", "imagenet"),
    "efficientnet-lite0": ("efficientnet-lite0", "embedding", 224, "pillow-bilinear", "lite"),
}
TITLES = {
    "alexnet2": "AlexNet(2)",
    "alexnet5": "AlexNet(5)",
    "inception": "Inception v3",
    "clip": "CLIP",
    "dinov2": "DINOv2",
    "efficientnet-b1": "EfficientNet-B1",
    "swav": "SwAV",
    "efficientnet-lite0": "EfficientNet-Lite0",
}


def feature_options(name: str) -> dict[str, Any]:
    """Return the arguments of the metric class for one of :data:`FEATURES`."""
    network, layer, side, resize, colours = FEATURES[name]
    return {
        "network": network, "layer": layer, "sizes": (side,), "resize": resize, "colours": colours,
    }  # fmt: skip


def feature_fields(name: str) -> dict[str, Any]:
    """Return what the definition says of network and preprocessing."""
    network, layer, side, resize, _ = FEATURES[name]
    extra = ("efficientnet_lite_pytorch",) if network == "efficientnet-lite0" else ()
    return {
        "kind": "picture",
        "network": network,
        "weights": NETWORKS[network].weights,
        "layer": layer,
        "resize": f"to {side} x {side}, {resize.replace('-', ', ').capitalize()}",
        "antialias": True,
        "modules": ("torchmetrics", *extra),
    }


def declare_identification(name: str, ways: int) -> None:
    """Declare identification among ``ways`` pictures in the features of a network."""
    prefix = "" if ways == 2 else f"{ways}-way-"
    declare_metric(
        MetricSpec(
            id=f"{prefix}{name}/strict-v1",
            title=f"{TITLES[name]}, {ways}-way",
            value_range=(0, 1),
            ways=ways,
            direction="each reconstruction among truths, its own and others",
            ties="half",
            chance=1 / ways,
            source=IDENTIFICATION
            if ways == 2
            else f"expected score among {ways} different pictures, in closed form from ranks",
            **feature_fields(name),
        ),
        f"{CLASSES}:FeatureIdentification",
        probe=PROBE,
        ways=ways,
        **feature_options(name),
    )


for _name in FEATURES:
    declare_identification(_name, 2)
    declare_identification(_name, 50)
    declare_metric(
        MetricSpec(
            id=f"{_name}-distance/strict-v1",
            title=f"{TITLES[_name]} distance",
            value_range=(0, 2),
            higher_is_better=False,
            source="1 - Pearson's r over features (Ozcelik and VanRullen 2023)",
            **feature_fields(_name),
        ),
        f"{CLASSES}:FeatureDistance",
        probe=PROBE,
        **feature_options(_name),
    )

for _ways in (2, 50):
    declare_metric(
        MetricSpec(
            id="two-way-pixels/strict-v1" if _ways == 2 else f"{_ways}-way-pixels/strict-v1",
            title=f"Pixels, {_ways}-way",
            kind="picture",
            resize="the reconstruction to the truth's size, Pillow bilinear",
            antialias=True,
            value_range=(0, 1),
            ways=_ways,
            direction="each reconstruction among truths, its own and others",
            ties="half",
            chance=1 / _ways,
            source=IDENTIFICATION.replace("features", "pixels"),
        ),
        f"{CLASSES}:FeatureIdentification",
        ways=_ways,
    )
