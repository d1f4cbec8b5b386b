"""``evaluation.json``: scores of pictures beside everything they have to be read with."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from phosphene.schemas.base import Stored
from phosphene.schemas.model import Protocol

__all__ = [
    "AbsentMetric",
    "AcrossSubjects",
    "EvaluatedItem",
    "EvaluatedMetric",
    "EvaluationControl",
    "EvaluationFile",
    "EvaluationProtocol",
    "PermutedPairing",
    "RepetitionScores",
    "ShareOfIdeal",
    "WithinCategory",
]


class Part(BaseModel):
    """Base of what stands inside: unknown keys are errors, values do not change later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PermutedPairing(Part):
    """What the same pictures score when they are paired with other truths.

    Attributes
    ----------
    mean : float or None
        Mean over all wrong pairs; ``None`` where there are none, or where a score of whole sets
        does not depend on the pairing.
    p_value : float or None
        Share of pairings, the real one included, that score at least as well.
    n_permutations : int
    rule : str
        What was exchanged among what.
    p_holm : float or None
        The p-value corrected for all metrics of the result that have one (Holm).
    """

    mean: float | None
    p_value: float | None
    n_permutations: int
    rule: str
    p_holm: float | None = None


class WithinCategory(Part):
    """Identification among pictures of the same category only.

    Attributes
    ----------
    shuffled : float or None
        What the metric itself scores when pictures are exchanged within their categories: what
        knowing the category alone gives.
    p_value : float or None
        Of the real pairing against those.
    """

    value: float
    interval: tuple[float, float] | None
    chance: float
    n_items: int
    collapsed: bool
    shuffled: float | None = None
    p_value: float | None = None


class AcrossSubjects(Part):
    """Subjects as the random factor: what another person may score.

    Attributes
    ----------
    interval : (float, float)
        95 %, Student's t over subjects.
    p_value : float or None
        Two-sided, against chance; ``None`` where chance is not known.
    """

    value: float
    interval: tuple[float, float]
    p_value: float | None
    n_subjects: int
    rule: str


class ShareOfIdeal(Part):
    """How far a score is on the way from chance to the ideal observer of a virtual subject.

    Attributes
    ----------
    ideal : float
        What maximum likelihood with the true model and noise scores, mean over subjects.
    repetitions : int
        Trials that were averaged for it, as for the predictions.
    """

    share: float
    ideal: float
    chance: float
    repetitions: int


class EvaluatedMetric(Part):
    """One metric: its whole definition, its value, and its controls.

    Attributes
    ----------
    id : str
        Such as ``ssim/strict-v1``.
    spec : dict
        The whole definition; two results may be compared only where it is the same.
    value : float
        Mean over subjects of the mean over items.
    interval : (float, float) or None
        95 % bootstrap over pictures; ``None`` where there is only one.
    chance : float or None
        Of guessing, where the definition fixes it; else the mean of the permuted pairing.
    permuted : PermutedPairing
    controls : dict of str to float or None
        What rivals score; ``grey_picture`` is always there.
    per_subject : dict of str to float
    per_item : list of float or None
        In the order of the file's ``items``; empty for scores of whole sets.
    collapsed : bool
        Whether most predictions are the same to this metric.
    """

    id: str
    spec: dict[str, Any]
    value: float
    interval: tuple[float, float] | None
    chance: float | None
    permuted: PermutedPairing
    controls: dict[str, float | None]
    within_category: WithinCategory | None = None
    across_subjects: AcrossSubjects | None = None
    share_of_ideal: ShareOfIdeal | None = None
    per_subject: dict[str, float]
    per_item: list[float | None]
    n_items: int
    n_pictures: int
    higher_is_better: bool
    collapsed: bool = False
    note: str = ""


class AbsentMetric(Part):
    """A metric of the suite that could not be computed here, and why."""

    id: str
    reason: str


class EvaluationControl(Part):
    """A rival that stands beside every score, or the reason why it does not."""

    name: str
    meaning: str
    reason_absent: str = ""


class EvaluatedItem(Part):
    """One row of predictions.

    Attributes
    ----------
    key : str
        Unique in the file.
    picture : str
        Identifier of what was shown; the unit of all intervals.
    picture_hash : str
        Of its content.
    files : list of str
        One per sample, below the folder of predictions.
    """

    key: str
    picture: str
    picture_hash: str
    subject: str | None
    category: str | None
    files: list[str]
    source_trials: list[str]


class RepetitionScores(Part):
    """Scores of items averaged over so many repetitions."""

    n_repetitions: int
    n_items: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]


class EvaluationProtocol(Part):
    """On which pictures and by which rules; results are comparable only where these agree.

    Attributes
    ----------
    truth : str
        Name of the dataset or folder.
    truth_hash : str
        Of the dataset, or of the shown pictures with their identifiers.
    pictures_hash : str
        Of the identifiers and contents that were scored.
    averaging : str
        What was done with repetitions in the test.
    n_missing : int
        Shown pictures without a prediction.
    """

    truth: str
    truth_hash: str
    split: str
    pictures_hash: str
    averaging: str
    subjects: list[str]
    n_pictures: int
    n_items: int
    n_samples: int
    n_missing: int
    size_rule: str
    transductive: bool | None
    training: Protocol | None


class EvaluationFile(Stored):
    """Everything ``phosphene evaluate`` found.

    Attributes
    ----------
    name : str
        What tables call the result.
    predictions : str
        Folder of the pictures: as it was given, or below the result's own folder where they
        were decoded here.
    n_seen_in_training : int or None
        Items whose picture trained the model; ``None`` where nobody knows.
    """

    schema_name: ClassVar[str] = "evaluation"
    name: str
    predictions: str
    suite: str
    config: dict[str, Any]
    model: str | None
    model_hash: str | None
    protocol: EvaluationProtocol
    items: list[EvaluatedItem]
    metrics: list[EvaluatedMetric]
    absent: list[AbsentMetric]
    controls: list[EvaluationControl]
    audit: dict[str, Any] | None
    n_seen_in_training: int | None
    repetition_curve: list[RepetitionScores] = Field(default_factory=list)
    noise_ceiling: dict[str, float] = Field(default_factory=dict)
    seeds: dict[str, int]
    interval_rule: str
    versions: dict[str, str]
    started: str

    @model_validator(mode="after")
    def _never_alone(self) -> Self:
        """No number without its plainest rivals."""
        for metric in self.metrics:
            if metric.controls.get("grey_picture") is None:
                raise ValueError(f"{metric.id} stands without the grey picture beside it")
            if metric.per_item and len(metric.per_item) != len(self.items):
                raise ValueError(f"{metric.id} has {len(metric.per_item)} scores per item")
        return self
