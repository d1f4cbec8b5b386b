"""Objects of an output folder, which is a BIDS derivative."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from phosphene.schemas.base import Stored
from phosphene.schemas.evaluation import PermutedPairing, WithinCategory
from phosphene.schemas.model import Protocol

__all__ = ["ImageSidecar", "MetricValue", "MetricsFile", "OutputDescription", "RunFile"]


class RunFile(Stored):
    """``run.json``: what was asked, with what, so that a run can be repeated or resumed."""

    schema_name: ClassVar[str] = "run"
    command: str
    config: dict[str, Any]
    model: str
    model_hash: str
    input_hash: str
    n_items: int
    n_samples: int
    versions: dict[str, str]
    started: str
    protocol: Protocol


class ImageSidecar(Stored):
    """JSON beside each picture."""

    schema_name: ClassVar[str] = "image"
    subject: str
    item: int
    sample: int
    stimulus_id: str | None
    source_trials: list[str]
    seed: int
    item_seed: int
    model: str
    model_hash: str
    generator: str
    versions: dict[str, str]


class MetricValue(BaseModel):
    """One number with its interval, its chance level and the pictures it rests on.

    Attributes
    ----------
    permuted : PermutedPairing or None
        The same reconstructions with other pictures; ``None`` in files of the first releases and
        where nothing can be exchanged.
    within_category : WithinCategory or None
        Of identification, where the trials say of which category each picture is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    value: float | None
    interval: tuple[float, float] | None
    chance: float | None
    baselines: dict[str, float]
    n_items: int
    higher_is_better: bool
    note: str = ""
    permuted: PermutedPairing | None = None
    within_category: WithinCategory | None = None


class MetricsFile(Stored):
    """``metrics.json``, written when the truth is known."""

    schema_name: ClassVar[str] = "metrics"
    metrics: list[MetricValue]
    per_item: dict[str, list[float | None]]
    protocol: Protocol
    n_pictures: int
    n_seen_in_training: int
    interval_rule: str


class OutputDescription(Stored):
    """``dataset_description.json`` in BIDS words."""

    schema_name: ClassVar[str] = "output"
    Name: str
    BIDSVersion: str = "1.10.0"
    DatasetType: str = "derivative"
    GeneratedBy: list[dict[str, str]]
    SourceDatasets: list[dict[str, str]]
