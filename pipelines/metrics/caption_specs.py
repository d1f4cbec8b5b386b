"""Definitions that compare captions with what was said of the picture."""

from __future__ import annotations

from typing import Any

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

CLASSES = "phosphene.pipelines.metrics.caption_metrics"
OVERLAP = "phosphene.pipelines.metrics.captions"
MEANING = "phosphene.pipelines.metrics.caption_meaning"
WORDS = "lower case, no punctuation; hyphens and apostrophes inside a word belong to it"
COCO = ("torchmetrics", "pycocoevalcap")
MINILM = ("torchmetrics", "sentence_transformers")
PROBE = f"{MEANING}:missing_minilm"
EMBEDDING: dict[str, Any] = {
    "network": "all-MiniLM-L6-v2",
    "weights": "sha256 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "layer": "mean over tokens, unit length",
    "kind": "caption",
    "requires": "captions",
    "modules": MINILM,
}

for order in range(1, 5):
    declare_metric(
        MetricSpec(
            id=f"bleu-{order}/strict-v1",
            title=f"BLEU-{order}",
            kind="caption",
            value_range=(0, 1),
            source="Papineni et al. 2002, over all captions together, no smoothing",
            note=f"words: {WORDS}",
        ),
        f"{CLASSES}:BleuMetric",
        order=order,
    )
for key, name in (("rouge1", "1"), ("rougeL", "L")):
    declare_metric(
        MetricSpec(
            id=f"rouge-{name.lower()}/strict-v1",
            title=f"ROUGE-{name}",
            kind="caption",
            value_range=(0, 1),
            source="Lin 2004: F1, the best of several references, no stemming",
            note=f"words: {WORDS}",
        ),
        f"{CLASSES}:RougeMetric",
        key=key,
    )
declare_metric(
    MetricSpec(
        id="rouge-l/coco",
        title="ROUGE-L (COCO)",
        kind="caption",
        value_range=(0, 1),
        source="pycocoevalcap: F with beta 1.2",
        note="takes the best precision and the best recall, which may be of two references",
        requires="captions",
        modules=COCO,
    ),
    f"{CLASSES}:CaptionSetMetric",
    measure="rouge",
)
declare_metric(
    MetricSpec(
        id="cider/coco-v1",
        title="CIDEr",
        kind="caption",
        value_range=(0, 10),
        source="Vedantam et al. 2015, CIDEr-D as pycocoevalcap computes it",
        note="n-grams weigh by the references of the captions that are scored: comparable only "
        "on the same set",
        transductive=True,
        requires="captions",
        modules=COCO,
    ),
    f"{CLASSES}:CaptionSetMetric",
    measure="cider",
)
declare_metric(
    MetricSpec(
        id="meteor/coco-v1",
        title="METEOR",
        kind="caption",
        value_range=(0, 1),
        source="Denkowski and Lavie 2014, METEOR 1.5 as pycocoevalcap runs it",
        note="mean over captions, where the scorer itself also prints one of summed counts",
        requires="captions",
        modules=COCO,
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=f"{OVERLAP}:missing_java",
    measure="meteor",
)
declare_metric(
    MetricSpec(
        id="meteor/mindeye2",
        title="METEOR (MindEye2)",
        kind="caption",
        value_range=(0, 1),
        source="Scotti et al. 2024: METEOR of NLTK (alpha .9, beta 3, gamma .5)",
        note="other tables and parameters than METEOR 1.5: never in one column with it",
        requires="captions",
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=f"{OVERLAP}:missing_wordnet",
    measure="meteor-wordnet",
)
declare_metric(
    MetricSpec(
        id="spice/coco-v1",
        title="SPICE",
        kind="caption",
        value_range=(0, 1),
        source="Anderson et al. 2016",
        requires="captions",
        modules=COCO,
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=f"{OVERLAP}:missing_spice",
    measure="spice",
)
declare_metric(
    MetricSpec(
        id="sentence-similarity/minilm-v1",
        title="Sentence similarity",
        value_range=(-1, 1),
        source="cosine, mean over references; Reimers and Gurevych 2019, Scotti et al. 2024",
        **EMBEDDING,
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=PROBE,
    measure="similarity",
)
declare_metric(
    MetricSpec(
        id="caption-retrieval/minilm-v1",
        title="Caption retrieval, top-1",
        value_range=(0, 1),
        direction="each predicted caption searches the true captions of all items",
        ties="half",
        source="cosine with the mean embedding of an item's references; chance 1 / n",
        **EMBEDDING,
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=PROBE,
    measure="retrieval",
)
declare_metric(
    MetricSpec(
        id="caption-identification/minilm-v1",
        title="Caption, 2-way",
        value_range=(0, 1),
        ways=2,
        direction="each predicted caption with its own and every other item's true caption",
        ties="half",
        chance=0.5,
        source="Pearson's r with the mean embedding of an item's references",
        **EMBEDDING,
    ),
    f"{CLASSES}:CaptionSetMetric",
    probe=PROBE,
    measure="identification",
)
