"""Peers' variants under their own names, to compare with printed tables.

``mindeye2`` is the evaluation of Scotti et al. 2024 (and 2023), ``brain-diffuser`` that of
Ozcelik and VanRullen 2023, ``takagi`` the direction of Takagi and Nishimoto 2023, ``enigma`` and
``atm`` two evaluations of EEG. What each does otherwise than the strict definition is its note.
"""

from __future__ import annotations

from typing import Any

from phosphene.pipelines.metrics.feature_specs import (
    CLASSES,
    FEATURES,
    PROBE,
    TITLES,
    feature_fields,
    feature_options,
)
from phosphene.pipelines.metrics.networks import NETWORKS
from phosphene.pipelines.metrics.retrieval_specs import CLASSES as RETRIEVAL
from phosphene.pipelines.metrics.retrieval_specs import COSINE, DIRECTIONS
from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

PAIRS = "phosphene.pipelines.metrics.base:PairMetric"
LEGACY = "phosphene.pipelines.metrics.legacy"
SKIMAGE = ("torchmetrics", "skimage")
MINDEYE = "evaluation code of Scotti et al. 2024 (MindEye2)"
DIFFUSER = "evaluation code of Ozcelik and VanRullen 2023 (Brain-Diffuser)"
NO_AVERAGE = "no averaging where pictures are reduced, so that fine texture aliases"
LOSE = "a tie is lost, so that equal predictions score 0 and not .5"


def _pictures(
    name: str, title: str, measure: str, source: str, note: str, **arguments: Any
) -> None:
    chain = " then ".join(f"{size} x {size}" for size in arguments["sizes"])
    declare_metric(
        MetricSpec(
            id=name,
            title=title,
            kind="picture",
            resize=f"to {chain}, {arguments['rule']}",
            antialias=arguments["rule"] != "tensor-bilinear",
            value_range=(-1, 1),
            source=source,
            note=note,
            modules=SKIMAGE,
        ),
        PAIRS,
        measure=f"{LEGACY}:{measure}",
        arguments=arguments,
        match_size=False,
    )


_CHAIN: dict[str, Any] = {"sizes": (256, 425), "rule": "tensor-bilinear"}
_BICUBIC: dict[str, Any] = {"sizes": (425,), "rule": "pillow-bicubic"}
_pictures(
    "pixcorr/mindeye2", "PixCorr (MindEye2)", "chained_correlation", MINDEYE,
    f"everything is reduced to 256 and enlarged to 425: {NO_AVERAGE}", **_CHAIN,
)  # fmt: skip
_pictures(
    "pixcorr/brain-diffuser", "PixCorr (Brain-Diffuser)", "chained_correlation", DIFFUSER,
    "bicubic to 425, rounded to whole levels", **_BICUBIC,
)  # fmt: skip
_pictures(
    "ssim/mindeye2", "SSIM (MindEye2)", "chained_similarity", MINDEYE,
    f"reduced to 256 and enlarged to 425, which smooths what a window sees: {NO_AVERAGE}; "
    "the code's multichannel flag has no effect on grey pictures from scikit-image 0.20 on",
    **_CHAIN,
)  # fmt: skip
_pictures(
    "ssim/brain-diffuser", "SSIM (Brain-Diffuser)", "chained_similarity", DIFFUSER,
    "columns of the grey picture are taken for channels, so that windows have one dimension "
    "(inferred from the interface of scikit-image 0.17, which that code pins)",
    columns=True, **_BICUBIC,
)  # fmt: skip

# name: network, sizes of MindEye2's chain, sizes of Brain-Diffuser's
_PEERS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "alexnet2": ((256,), (224,)),
    "alexnet5": ((256,), (224,)),
    "inception": ((256, 342), (224,)),
    "clip": ((256, 224), (224,)),
    "efficientnet-b1": ((256, 255), (224,)),
    "swav": ((256, 224), (224,)),
}
_DISTANCES = ("efficientnet-b1", "swav")


def _features(
    name: str, variant: str, network: str, sizes: tuple[int, ...], rule: str, source: str
) -> None:
    distance = name in _DISTANCES
    chain = " then ".join(f"{size} x {size}" for size in sizes)
    resized = NO_AVERAGE if rule == "tensor-bilinear" else "Pillow's filter, which averages"
    fields = feature_fields(name) | {
        "network": network,
        "weights": NETWORKS[network].weights,
        "resize": f"to {chain}, {rule}",
        "antialias": rule != "tensor-bilinear",
    }
    if distance:
        fields |= {"value_range": (0, 2), "higher_is_better": False}
    else:
        fields |= {
            "value_range": (0, 1), "ways": 2, "chance": 0.5, "ties": "lose",
            "direction": "each reconstruction with all truths",
        }  # fmt: skip
    quirk = f"{NETWORKS[network].weights}; " if distance else f"{LOSE}; "
    options: dict[str, Any] = feature_options(name) | {
        "network": network, "sizes": sizes, "resize": rule,
    }  # fmt: skip
    declare_metric(
        MetricSpec(
            id=f"{name}/{variant}",
            title=f"{TITLES[name]} ({variant})",
            source=source,
            note=f"{quirk}{resized}",
            **fields,
        ),
        f"{CLASSES}:{'FeatureDistance' if distance else 'FeatureIdentification'}",
        probe=PROBE,
        **options,
        **({} if distance else {"ties": "lose"}),
    )


for _name, (_mindeye, _diffuser) in _PEERS.items():
    _network = FEATURES[_name][0]
    _features(_name, "mindeye2", _network, _mindeye, "tensor-bilinear", MINDEYE)
    # `weights=True` of that code meant the first weights of EfficientNet-B1, MindEye2's the second.
    _old = "efficientnet-b1-v1" if _name == "efficientnet-b1" else _network
    _features(_name, "brain-diffuser", _old, _diffuser, "pillow-bilinear", DIFFUSER)

_TWO_WAY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "strict-less": (MINDEYE, LOSE, {"ties": "lose"}),
    "takagi": (
        "evaluation code of Takagi and Nishimoto 2023",
        "the other direction: each truth is compared with all reconstructions, so that a "
        "reconstruction that resembles everything costs the others and not itself",
        {"candidates": "reconstructions"},
    ),
    "enigma": (
        "evaluation code of an EEG decoder (ENIGMA)",
        "one win too many is subtracted from each item: (wins - 1) / (n - 1), so that identity "
        "does not score 1, and guessing scores 1 / (n - 1) less than .5",
        {"wins_taken_off": 1},
    ),
}

for _variant, (_source, _note, _more) in _TWO_WAY.items():
    for _base in (None, "efficientnet-lite0"):
        _fields: dict[str, Any] = {"kind": "picture"}
        _options: dict[str, Any] = dict(_more)
        if _base is not None:
            _fields, _options = feature_fields(_base), feature_options(_base) | _options
        _title = "Pixels" if _base is None else TITLES[_base]
        declare_metric(
            MetricSpec(
                id=f"{_base or 'two-way-pixels'}/{_variant}",
                title=f"{_title}, 2-way ({_variant})",
                value_range=(-1 if _more.get("wins_taken_off") else 0, 1),
                ways=2,
                direction="each truth with all reconstructions"
                if _variant == "takagi"
                else "each reconstruction with all truths",
                ties="lose" if _variant == "strict-less" else "half",
                chance=None if _more.get("wins_taken_off") else 0.5,
                source=_source,
                note=_note,
                **_fields,
            ),
            f"{CLASSES}:FeatureIdentification",
            probe=PROBE,
            **_options,
        )

for _name, _direction in (
    ("image-retrieval", "image-to-brain"),
    ("brain-retrieval", "brain-to-image"),
):
    declare_metric(
        MetricSpec(
            id=f"{_name}/mindeye2",
            title=f"{_name.replace('-', ' ').capitalize()} (MindEye2)",
            kind="retrieval",
            resize=COSINE,
            value_range=(0, 1),
            ways=300,
            direction=DIRECTIONS[_direction].partition(", one mean")[0],
            ties="first",
            chance=1 / 300,
            source=MINDEYE,
            note=f"the name is the paper's; what is computed is {_direction}. Mean of 30 draws of "
            "300 items, without a seed there (seed 0 here), and an interval over those "
            "overlapping draws instead of over pictures",
        ),
        f"{RETRIEVAL}:SampledRetrieval",
        direction=_direction,
        pool=300,
        draws=30,
    )

for _pool in (2, 4, 10):
    declare_metric(
        MetricSpec(
            id=f"{_pool}-way-retrieval/atm",
            title=f"{_pool}-way retrieval (ATM)",
            kind="retrieval",
            resize=COSINE,
            value_range=(0, 1),
            ways=_pool,
            direction=DIRECTIONS["brain-to-image"],
            ties="lose",
            chance=1 / _pool,
            source="evaluation code of Li et al. 2024 (ATM)",
            note="rivals of each item are drawn once, without a seed there (seed 0 here): the "
            "number changes from run to run, where the closed form is its mean",
        ),
        f"{RETRIEVAL}:SampledRetrieval",
        direction="brain-to-image",
        pool=_pool,
        draws=0,
    )
