"""What a report says, apart from how it looks: one description for page, figure and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.pipelines.report.brain_map import BrainMap
from phosphene.pipelines.report.ranking import Ranking

__all__ = [
    "WRONG_PAIRING",
    "Content",
    "Curve",
    "CurvePoint",
    "Measure",
    "Retrieved",
    "SubjectTable",
    "Within",
    "control_words",
    "metric_words",
    "ordered_controls",
]

Array = np.ndarray[Any, Any]

METRIC_WORDS = {
    "pixcorr": "Pixel correlation",
    "ssim": "Structural similarity (SSIM)",
    "mse": "Mean squared error",
    "psnr": "Peak signal-to-noise ratio (PSNR)",
    "video-ssim": "Structural similarity of frames (SSIM)",
    "video-psnr": "Peak signal-to-noise ratio of frames (PSNR)",
    "two-way-pixels": "Two-way identification (pixels)",
    "two-way-tokens": "Two-way identification (tokens of the target)",
    "two-way-pooled": "Two-way identification (the target)",
    "efficientnet-lite0": "Two-way identification (EfficientNet-Lite0)",
}
WRONG_PAIRING = "wrong_pairing"  # the control that stands for chance
CONTROL_WORDS = {
    WRONG_PAIRING: "Wrong pairing",
    "grey_picture": "Grey picture",
    "still_picture": "Middle frame of its own, still",
    "still_truth": "True middle frame, still",
    "mean_picture": "Mean training picture",
    "class_mean_picture": "Mean picture of the class",
    "nearest_training": "Nearest training picture",
    "noise_brain": "Noise as recording",
    "shuffled_brain": "Recording of another picture",
    "truth_through_generator": "Truth through the generator",
    "oracle_embedding": "Oracle embedding",
    "noise_ceiling": "Noise ceiling",
}


@dataclass(frozen=True)
class Within:
    """Identification among pictures of the same category only."""

    value: float
    interval: tuple[float, float] | None
    chance: float


@dataclass(frozen=True)
class Measure:
    """One metric beside its controls.

    Attributes
    ----------
    id, name : str
        Identifier of the definition, and words for it.
    identifies : bool
        Whether it is the share of comparisons in which the own picture wins.
    value : float or None
        None where it could not be computed; ``note`` says why.
    interval : (float, float) or None
        95 % interval of the value.
    controls : dict of str to float or None
        What rivals reach on the same items: ``wrong_pairing`` (chance) first.
    higher_is_better : bool
    n_items : int
    p_value : float, optional
        Of the value against permuted pairings.
    within : Within, optional
        Identification among pictures of the same category.
    note : str
    """

    id: str
    name: str
    identifies: bool
    value: float | None
    interval: tuple[float, float] | None
    controls: Mapping[str, float | None]
    higher_is_better: bool
    n_items: int
    p_value: float | None = None
    within: Within | None = None
    note: str = ""


@dataclass(frozen=True)
class CurvePoint:
    """Score at a number of averaged repetitions."""

    repetitions: int
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Curve:
    """How a score grows with the number of repetitions that are averaged."""

    name: str
    points: Sequence[CurvePoint]
    chance: float | None = None


@dataclass(frozen=True)
class SubjectTable:
    """One row per subject: label and a cell of text per column."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What a search found for one item, best first.

    Attributes
    ----------
    item : int
        Position of the item.
    pictures : sequence of ndarray (H, W, 3)
        uint8.
    names : sequence of str
    correct : sequence of bool
        Whether the picture is the one that was shown.
    """

    item: int
    pictures: Sequence[Pictures]
    names: Sequence[str]
    correct: Sequence[bool]


@dataclass(eq=False)
class Content:
    """Everything a report shows.

    Attributes
    ----------
    heading, lead : str
        Title, and one sentence on what was done.
    model : str
        Short name of what was decoded with.
    labels : list of str
        Name of each item; no stimulus names where shown pictures are kept out.
    images : sequence of sequence of ndarray (H, W, C)
        uint8, the samples of each item; read when asked for where they are files.
    truth : sequence of ndarray (H, W, C), optional
        What was shown.
    ranking : Ranking, optional
        None where nothing is known to rank by.
    scores : dict of str to list of float or None
        Per metric identifier, one number per item.
    virtual : bool
        Whether the recordings are simulated; said wherever a number or picture stands.
    warnings : list of str
        What has to be known before any number is read.
    absent : list of (str, str)
        Metrics and controls that could not be computed, and why.
    audit : list of (str, str)
        What was asked about overlap of training and test, and what was found.
    """

    heading: str
    lead: str
    model: str
    labels: list[str]
    images: Sequence[Sequence[Pictures]] | Array
    truth: Sequence[Pictures] | Array | None = None
    ranking: Ranking | None = None
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    interval_rule: str = ""
    virtual: bool = False
    stimuli: bool = True
    warnings: list[str] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    subjects: SubjectTable | None = None
    absent: list[tuple[str, str]] = field(default_factory=list)
    audit: list[tuple[str, str]] = field(default_factory=list)
    retrieved: Sequence[Retrieved] = ()
    brain: BrainMap | None = None
    brain_missing: str = ""
    protocol: list[tuple[str, str]] = field(default_factory=list)
    provenance: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def name_of(self, metric: str) -> str:
        """Return words for one of the metrics, as they stand within a sentence."""
        words = next((one.name for one in self.measures if one.id == metric), metric_words(metric))
        first = words.split()[0]
        return words if first[1:] != first[1:].lower() else first.lower() + words[len(first) :]

    @property
    def ranked_by(self) -> Measure | None:
        """The metric that items are ranked by."""
        metric = "" if self.ranking is None else self.ranking.metric
        return next((measure for measure in self.measures if measure.id == metric), None)


def metric_words(identifier: str) -> str:
    """Return words for a metric, or its identifier where there are none.

    Examples
    --------
    >>> metric_words("pixcorr/strict-v1")
    'Pixel correlation'
    """
    return METRIC_WORDS.get(identifier.partition("/")[0], identifier)


def ordered_controls(
    controls: Mapping[str, float | None],
) -> list[tuple[str, float | None]]:
    """Return controls from what knows least to ceilings, others in between."""
    known = list(CONTROL_WORDS)
    place = {name: float(known.index(name)) for name in controls if name in known}
    middle = known.index("truth_through_generator") - 0.5
    return sorted(controls.items(), key=lambda one: place.get(one[0], middle))


def control_words(name: str) -> str:
    """Return words for a control.

    Examples
    --------
    >>> control_words("mean_picture"), control_words("something_new")
    ('Mean training picture', 'Something new')
    """
    return CONTROL_WORDS.get(name, name.replace("_", " ").replace("-", " ").capitalize())
