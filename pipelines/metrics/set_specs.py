"""Definitions that compare sets of pictures, and perceptual distances of pairs."""

from __future__ import annotations

from phosphene.pipelines.metrics.feature_specs import (
    PROBE,
    TITLES,
    feature_fields,
    feature_options,
)
from phosphene.pipelines.metrics.networks import NETWORKS
from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

SETS = "phosphene.pipelines.metrics.set_metrics"
PERCEPTUAL = "phosphene.pipelines.metrics.perceptual_metrics"

for _name in ("inception", "dinov2", "efficientnet-lite0"):
    _fields = feature_fields(_name) | {
        "kind": "set", "higher_is_better": False, "direction": "one set with the other",
    }  # fmt: skip
    declare_metric(
        MetricSpec(
            id=f"fid-{_name}/strict-v1",
            title=f"FID ({TITLES[_name]})",
            value_range=(0, None),
            source="Heusel et al. 2017, in float64, on the features named here",
            note="not the FID of papers, whose Inception has weights of its own; too large for "
            "few pictures, so compare only sets of as many",
            **_fields,
        ),
        f"{SETS}:FrechetDistance",
        probe=PROBE,
        **feature_options(_name),
    )
    declare_metric(
        MetricSpec(
            id=f"kid-{_name}/strict-v1",
            title=f"KID ({TITLES[_name]})",
            source="Binkowski et al. 2018: cubic kernel, unbiased, through torchmetrics",
            note="all pictures at once, where other code averages random subsets",
            chance=0.0,
            **_fields,
        ),
        f"{SETS}:KernelDistance",
        probe=PROBE,
        **feature_options(_name),
    )

for _id, _title, _network, _class, _source in (
    (
        "lpips-alex/strict-v1", "LPIPS (AlexNet)", "alexnet", "PerceptualSimilarity",
        "Zhang et al. 2018, version 0.1, through torchmetrics",
    ),
    (
        "dists/strict-v1", "DISTS", "vgg16", "StructureTextureSimilarity",
        "Ding et al. 2020, through torchmetrics",
    ),
):  # fmt: skip
    declare_metric(
        MetricSpec(
            id=_id,
            title=_title,
            kind="picture",
            network=_network,
            weights=NETWORKS[_network].weights,
            layer="after each block",
            resize="the reconstruction to the truth's size, then both to 256 x 256, "
            "Pillow bilinear",
            antialias=True,
            value_range=(0, None),
            higher_is_better=False,
            source=_source,
        ),
        f"{PERCEPTUAL}:{_class}",
        probe=PROBE,
        network=_network,
    )

declare_metric(
    MetricSpec(
        id="dreamsim/strict-v1",
        title="DreamSim",
        kind="picture",
        resize="the library's own",
        value_range=(0, None),
        higher_is_better=False,
        source="Fu et al. 2023, through the dreamsim package",
        note="the package fetches 2 GB of weights when it is first used",
        requires=None,
        modules=("torchmetrics", "dreamsim"),
    ),
    f"{PERCEPTUAL}:DreamSimDistance",
    probe=f"{PERCEPTUAL}:missing_dreamsim",
)
