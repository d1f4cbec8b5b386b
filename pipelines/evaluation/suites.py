"""Which metrics are computed together; every one is named, and none is dropped silently."""

from __future__ import annotations

import os
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from phosphene.errors import AssetError, UsageError, check_option
from phosphene.pipelines.metrics.specs import METRICS, create_metric
from phosphene.schemas import AbsentMetric

__all__ = ["SUITES", "create_suite", "create_where_known", "suite_metrics", "what_is_scored"]

# What `reconstruct` itself reports, and colours and edges: no network, no weights.
QUICK = (
    "pixcorr/strict-v1",
    "ssim/uniform7-v1",
    "mse/unit-range-v1",
    "two-way-pixels/strict-v1",
    "colour/strict-v1",
    "edges/strict-v1",
)
SUITES: dict[str, tuple[str, ...]] = {
    "quick": QUICK,
    "nsd": (
        "pixcorr/strict-v1",
        "ssim/strict-v1",
        "psnr/strict-v1",
        "two-way-pixels/strict-v1",
        "alexnet2/strict-v1",
        "alexnet5/strict-v1",
        "inception/strict-v1",
        "clip/strict-v1",
        "dinov2/strict-v1",
        "efficientnet-lite0/strict-v1",
        "efficientnet-b1-distance/strict-v1",
        "swav-distance/strict-v1",
        "lpips-alex/strict-v1",
        "dists/strict-v1",
        "dreamsim/strict-v1",
        "colour/strict-v1",
        "edges/strict-v1",
        "brain-to-image-top1/strict-v1",
        "image-to-brain-top1/strict-v1",
        "brain-to-image-top1-of-300/strict-v1",
        "brain-to-image-rank/strict-v1",
    ),
    # As published code computes them, quirks included: to stand beside published tables.
    "mindeye2": (
        "pixcorr/mindeye2",
        "ssim/mindeye2",
        "alexnet2/mindeye2",
        "alexnet5/mindeye2",
        "inception/mindeye2",
        "clip/mindeye2",
        "efficientnet-b1/mindeye2",
        "swav/mindeye2",
        "image-retrieval/mindeye2",
        "brain-retrieval/mindeye2",
    ),
    "things-eeg": (
        "pixcorr/strict-v1",
        "ssim/strict-v1",
        "two-way-pixels/strict-v1",
        "alexnet2/strict-v1",
        "alexnet5/strict-v1",
        "inception/strict-v1",
        "clip/strict-v1",
        "efficientnet-lite0/strict-v1",
        "50-way-efficientnet-lite0/strict-v1",
        "swav-distance/strict-v1",
        "brain-to-image-top1/strict-v1",
        "brain-to-image-top5/strict-v1",
        "brain-to-image-top1-of-50/strict-v1",
        "brain-to-image-top1-of-2/strict-v1",
    ),
    "video": (
        "video-ssim/strict-v1",
        "video-psnr/strict-v1",
        "hue-correlation/strict-v1",
        "flow-epe/strict-v1",
        "temporal-consistency/strict-v1",
        "video-identification/strict-v1",
        "video-identification/strict-10way-v1",
        "video-2way/strict-v1",
        "video-50way/strict-v1",
    ),
    "captions": (
        "bleu-1/strict-v1",
        "bleu-4/strict-v1",
        "rouge-1/strict-v1",
        "rouge-l/strict-v1",
        "cider/coco-v1",
        "meteor/coco-v1",
        "spice/coco-v1",
        "sentence-similarity/minilm-v1",
        "caption-retrieval/minilm-v1",
        "caption-identification/minilm-v1",
    ),
}
NEEDS = {
    "retrieval": "it compares embeddings: give --model and --dataset",
    "caption": "it compares captions, and pictures were given",
    "video": "it compares clips, and pictures were given",
    "brain": "its judge is fitted to voxels that the decoder did not read: from Python, with "
    "score_responses (docs/metrics_video_captions_brain.md)",
}


def suite_metrics(suite: str, metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the ids of a suite, or of the metrics that were named in its place."""
    check_option("suite", suite, SUITES)
    for name in metrics:
        check_option("metric", name, METRICS)
    return tuple(dict.fromkeys(metrics)) if metrics else SUITES[suite]


def what_is_scored(names: Sequence[str]) -> Literal["pictures", "clips", "captions"]:
    """Return what these metrics compare.

    Raises
    ------
    UsageError
        If some of them compare one thing and some another.
    """
    kinds: set[Literal["pictures", "clips", "captions"]] = {
        "clips" if kind == "video" else "captions" if kind == "caption" else "pictures"
        for kind in (METRICS[name].spec.kind for name in names)
    }
    if len(kinds) > 1:
        raise UsageError(
            f"metrics of {' together with metrics of '.join(sorted(kinds))}",
            expected="metrics of one of these",
            remedy="evaluate each by itself",
        )
    return kinds.pop()


def create_suite(
    names: Sequence[str],
    *,
    network: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    device: str = "cpu",
    embeddings: bool = False,
) -> tuple[dict[str, Any], list[AbsentMetric]]:
    """Make the metrics that can run on pictures here, and say why others cannot.

    Parameters
    ----------
    names : sequence of str
        Ids.
    network : str, optional
        Folder where weights of networks lie; what it lacks is looked for where it usually is.
    cache : path, optional
        Folder where features of truths are kept, found again by network and content.
    device : str
        Of the networks.
    embeddings : bool
        Whether predicted embeddings are known, so that they can be searched.

    Returns
    -------
    metrics : dict of str to torchmetrics.Metric
    absent : list of AbsentMetric
    """
    if network is not None and not Path(network).is_dir():
        raise UsageError(
            f"there is no folder {network}",
            expected="a folder with weights of networks (--network)",
            remedy="check the path",
        )
    metrics, absent = {}, []
    for name in names:
        spec = METRICS[name].spec
        if spec.kind in NEEDS and not (embeddings and spec.kind == "retrieval"):
            absent.append(AbsentMetric(id=name, reason=NEEDS[spec.kind]))
            continue
        try:
            metrics[name] = create_where_known(
                name, network, {"cache": cache, "compute_on": device}
            )
        except AssetError as error:
            parts = (error.found, error.expected, error.remedy)
            reason = spec.availability() or "; ".join(part for part in parts if part)
            absent.append(AbsentMetric(id=name, reason=reason))
    return metrics, absent


def _parameters(function: Any) -> list[str]:
    try:
        return list(signature(function).parameters)
    except ValueError:  # written in C
        return []


def create_where_known(name: str, folder: str | None, settings: dict[str, Any]) -> Any:
    """Make a metric with weights from a folder, or else from where they usually lie."""
    kind = METRICS[name].load()
    # A class hands on to its bases what it does not name itself.
    starts: list[Any] = [part.__dict__.get("__init__") for part in kind.__mro__]
    known = {key for start in starts if callable(start) for key in _parameters(start)}
    options = {key: value for key, value in settings.items() if key in known and value is not None}
    if folder is not None and "weights_folder" in known:
        try:
            return create_metric(name, weights_folder=folder, **options)
        except AssetError:  # not in that folder: perhaps where such weights usually lie
            pass
    return create_metric(name, **options)
