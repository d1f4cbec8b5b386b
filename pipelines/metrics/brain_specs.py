"""Definitions that compare responses predicted from reconstructions with measured ones."""

from __future__ import annotations

from phosphene.pipelines.metrics.specs import MetricSpec, declare_metric

CLASS = "phosphene.pipelines.metrics.brain:BrainMetric"
RULE = (
    "encoding model of another network, fitted to training pictures, for voxels that the decoder "
    "did not read; standard deviations over training"
)

declare_metric(
    MetricSpec(
        id="brain-correlation/strict-v1",
        title="Brain correlation",
        kind="brain",
        value_range=(-1, 1),
        direction="response predicted from each reconstruction with the measured one",
        source="Pearson's r across voxels, mean over pictures; Scotti et al. 2024 compare so",
        note=RULE,
    ),
    CLASS,
    measure="correlation",
)
declare_metric(
    MetricSpec(
        id="brain-correlation/ceiling-v1",
        title="Brain correlation / ceiling",
        kind="brain",
        direction="response predicted from each reconstruction with the measured one",
        source="brain-correlation/strict-v1 over the root of the measured patterns' reliability "
        "(split halves, Spearman-Brown)",
        note=f"1 is all that can be predicted, up to sampling error; {RULE}",
    ),
    CLASS,
    measure="normalised",
)
declare_metric(
    MetricSpec(
        id="brain-identification/strict-v1",
        title="Brain, 2-way",
        kind="brain",
        value_range=(0, 1),
        ways=2,
        direction="response predicted from each reconstruction with all measured ones",
        ties="half",
        chance=0.5,
        source="Pearson's r across voxels",
        note=RULE,
    ),
    CLASS,
    measure="identification",
)
