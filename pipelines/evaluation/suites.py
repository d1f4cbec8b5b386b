"""Which metrics are computed together; every one is named, and none is dropped silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phosphene.errors import AssetError, UsageError, check_option
from phosphene.pipelines.metrics.specs import METRICS, create_metric
from phosphene.schemas import AbsentMetric

__all__ = ["SUITES", "create_suite", "suite_metrics"]

QUICK = (
    "pixcorr/strict-v1",
    "ssim/uniform7-v1",
    "mse/unit-range-v1",
)
SUITES: dict[str, tuple[str, ...]] = {
    "quick": QUICK,
    "nsd": QUICK,
    "things-eeg": QUICK,
    "video": (),
}
NEEDS = {
    "retrieval": "it compares embeddings: give --model and --dataset",
    "caption": "it compares captions, and pictures were given",
    "video": "it compares videos, and pictures were given",
    "brain": "it compares responses of voxels: see the metric's own page",
}


def suite_metrics(suite: str, metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the ids of a suite, or of the metrics that were named in its place."""
    check_option("suite", suite, SUITES)
    for name in metrics:
        check_option("metric", name, METRICS)
    return tuple(dict.fromkeys(metrics)) if metrics else SUITES[suite]


def create_suite(
    names: Sequence[str], *, networks: Sequence[str] = (), device: str = "auto"
) -> tuple[dict[str, Any], list[AbsentMetric]]:
    """Make the metrics that can run on pictures here, and say why others cannot.

    Parameters
    ----------
    names : sequence of str
        Ids.
    networks : sequence of str
        ``NAME=FOLDER``: where weights of a network lie.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    metrics : dict of str to torchmetrics.Metric
    absent : list of AbsentMetric
    """
    folders = _folders(networks, names)
    metrics, absent = {}, []
    for name in names:
        spec = METRICS[name].spec
        if spec.kind in NEEDS:
            absent.append(AbsentMetric(id=name, reason=NEEDS[spec.kind]))
            continue
        options: dict[str, Any] = {}
        if spec.network in folders:
            options["weights_folder"] = folders[spec.network]
        try:
            metrics[name] = create_metric(name, **options)
        except AssetError as error:
            reason = error.found.partition(" cannot run here: ")[2] or error.found
            remedy = f": {error.remedy}" if error.remedy else ""
            absent.append(AbsentMetric(id=name, reason=reason + remedy))
    return metrics, absent


def _folders(networks: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    known = {spec for name in names if (spec := METRICS[name].spec.network) is not None}
    folders = {}
    for text in networks:
        name, separator, folder = text.partition("=")
        if not separator or not Path(folder).is_dir():
            raise UsageError(
                f"`--network` got {text!r}",
                expected="NAME=FOLDER with a folder that exists",
                remedy=f"name a network among {', '.join(sorted(known)) or '(none is used)'}",
            )
        folders[check_option("network", name, known)] = Path(folder)
    return folders
