"""``index.json`` of a picture index, and the plan of one that is being built."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from phosphene.schemas.base import Stored
from phosphene.schemas.model import TargetSpec

__all__ = [
    "CalibrationPoint",
    "ConfidenceFile",
    "IndexFile",
    "IndexPlan",
    "IndexedFile",
    "RetrievalFile",
    "SearchSpace",
]

Metric = Literal["cosine", "dot", "euclidean"]
Kind = Literal["flat", "hnsw", "ivfpq"]


class SearchSpace(Stored):
    """Where vectors are compared: a target, and how its embeddings become search keys.

    Attributes
    ----------
    target : TargetSpec
        Whose embeddings are searched.
    projector : str
        Hash of the projection that turns embeddings into keys; empty where a key is the
        flattened embedding itself.
    dimension : int
        Numbers per key.
    """

    schema_name: ClassVar[str] = "search-space"
    target: TargetSpec
    projector: str = ""
    dimension: int

    def describe(self) -> str:
        """Return target and projection in words, for messages."""
        shape = " x ".join(map(str, self.target.shape))
        keys = f", searched in projection {self.projector}" if self.projector else ""
        return f"{self.target.name} {self.target.hash} ({self.target.layer}; {shape}{keys})"


class IndexedFile(BaseModel):
    """One file of an index.

    Attributes
    ----------
    name : str
        Below the index folder.
    size : int
        Bytes.
    sha256 : str
        Of all of it; ``phosphene index verify`` recomputes it.
    edges : str
        SHA-256 of its first and last 64 KiB, which opening compares.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    size: int
    sha256: str
    edges: str


class IndexFile(Stored):
    """``index.json``: what is indexed, in which space, and with which parameters.

    Attributes
    ----------
    target_name : str
        As the user named the target: it is opened by this name for queries of pictures and text.
    parameters : dict
        Of the search structure, with the reason for its kind.
    additions : list of str
        Hashes of the plans that were carried out, so that none is carried out twice.
    """

    schema_name: ClassVar[str] = "index"
    target_name: str
    space: SearchSpace
    metric: Metric
    kind: Kind
    automatic: bool
    parameters: dict[str, int | float | str]
    n: int
    n_skipped: int
    sources: list[str]
    files: dict[str, IndexedFile]
    additions: list[str] = Field(default_factory=list)
    created_with: str


class IndexPlan(Stored):
    """What an interrupted build has to be resumed with."""

    schema_name: ClassVar[str] = "index-plan"
    space: SearchSpace
    metric: Metric
    kind: Literal["auto", "flat", "hnsw", "ivfpq"]
    source: str
    source_hash: str
    n_items: int
    part_size: int


class RetrievalFile(Stored):
    """``retrieval.json``: what was searched for, where, and with what."""

    schema_name: ClassVar[str] = "retrieval"
    config: dict[str, Any]
    index: str
    space: SearchSpace
    queries: str
    n_queries: int
    versions: dict[str, str]


class CalibrationPoint(BaseModel):
    """How well confidences and hits agree, on pictures left out of the fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pool: int
    k: int
    hit_rate: float
    mean_confidence: float
    calibration_error: float


class ConfidenceFile(Stored):
    """Sharpness of the softmax over scores and the logistic curve on its log odds.

    ``model`` (a hash), ``subject`` and ``average`` say whose predictions it is good for, where it
    was fitted for an index; ``pictures`` taught it and are given no confidence.
    """

    schema_name: ClassVar[str] = "confidence"
    space: str
    model: str = ""
    subject: str = ""
    average: str = ""
    pictures: list[str] = Field(default_factory=list)
    sharpness: float
    intercept: float
    slope: float
    n_pictures: int
    points: list[CalibrationPoint]
