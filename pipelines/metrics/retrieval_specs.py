"""Definitions of retrieval: the direction is part of every name.

``brain-to-image`` takes the embedding predicted from one response and searches the pictures;
``image-to-brain`` takes a picture and searches the responses. Published tables swap the two.
"""

from __future__ import annotations

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

CLASSES = "phosphene.pipelines.metrics.retrieval_metrics"
DIRECTIONS = {
    "brain-to-image": "each predicted embedding searches the true ones",
    "image-to-brain": "each true embedding searches the predicted ones, one mean per picture",
}
COSINE = "none: embeddings are compared, by cosine"
TOP_K, POOLS, NEIGHBOURS = (1, 5), (2, 10, 50, 300), 10

for _name, _direction in DIRECTIONS.items():
    for _k in TOP_K:
        declare_metric(
            MetricSpec(
                id=f"{_name}-top{_k}/strict-v1",
                title=f"{_name.replace('-', ' ')}, top {_k}",
                kind="retrieval",
                resize=COSINE,
                value_range=(0, 1),
                direction=_direction,
                ties="half",
                source="expected share over all orders of tied candidates, all pictures as pool",
                note="chance is k over the number of pictures; it stands with the outcome",
            ),
            f"{CLASSES}:EmbeddingRetrieval",
            direction=_name,
            k=_k,
        )
    for _pool in POOLS:
        declare_metric(
            MetricSpec(
                id=f"{_name}-top1-of-{_pool}/strict-v1",
                title=f"{_name.replace('-', ' ')}, top 1 of {_pool}",
                kind="retrieval",
                resize=COSINE,
                value_range=(0, 1),
                ways=_pool,
                direction=_direction,
                ties="half",
                chance=1 / _pool,
                source="C(n - rank, pool - 1) / C(n - 1, pool - 1): the mean over all pools",
            ),
            f"{CLASSES}:EmbeddingRetrieval",
            direction=_name,
            pool=_pool,
        )
    declare_metric(
        MetricSpec(
            id=f"{_name}-rank/strict-v1",
            title=f"{_name.replace('-', ' ')}, mean rank",
            kind="retrieval",
            resize=COSINE,
            value_range=(1, None),
            higher_is_better=False,
            direction=_direction,
            ties="half",
            source="mean over orders of tied candidates; 1 is first",
            note="chance is half of one more than the pictures; it stands with the outcome",
        ),
        f"{CLASSES}:EmbeddingRetrieval",
        direction=_name,
        k=0,
    )
    declare_metric(
        MetricSpec(
            id=f"{_name}-top1/csls{NEIGHBOURS}-v1",
            title=f"{_name.replace('-', ' ')}, top 1 (CSLS, transductive)",
            kind="retrieval",
            resize=COSINE,
            value_range=(0, 1),
            direction=_direction,
            ties="half",
            source="Conneau et al. 2018, 10 neighbours",
            note="rescores with all test items at once: not what a single trial can reach",
            transductive=True,
        ),
        f"{CLASSES}:EmbeddingRetrieval",
        direction=_name,
        csls_neighbours=NEIGHBOURS,
    )
