"""Objects of video models and of their output."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from phosphene.schemas.base import Stored
from phosphene.schemas.model import SubjectPreprocessing, TargetSpec

__all__ = ["ClipTiming", "VideoModelIndex", "VideoSidecar"]


class ClipTiming(BaseModel):
    """How clips are cut and which volumes tell of them, in seconds of the movie.

    Attributes
    ----------
    seconds : float
        Length of a clip.
    delay, window : float
        The volumes of a clip begin ``delay`` seconds after it, for ``window`` seconds.
    tr : float
        Seconds between volumes.
    moments : int
        Times within a clip at which latents, flow and cuts are decoded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    seconds: float
    delay: float
    window: float
    tr: float
    moments: int


class VideoModelIndex(Stored):
    """``model_index.json`` of a video model; pictures come from another model that it names.

    ``picture_model`` is a known name, ``local-dir:PATH`` or ``hf-hub:ID``; the hashes say which
    embeddings and latents were decoded, so that another model of that name is noticed.
    """

    schema_name: ClassVar[str] = "video-model"
    name: str
    modality: str = "fmri"
    subjects: dict[str, SubjectPreprocessing]
    encoder: str
    video_generator: str
    picture_model: str
    target: TargetSpec
    latents_hash: str | None
    features_hash: str | None
    timing: ClipTiming
    files: dict[str, str]
    created_with: str
    metrics: dict[str, float] = Field(default_factory=dict)


class VideoSidecar(Stored):
    """JSON beside each clip.

    ``frames_hash`` is the SHA-256 of the lossless frames; ``first_frame`` says where the keyframe
    came from, without which results with optical flow cannot be compared.
    """

    schema_name: ClassVar[str] = "video"
    subject: str
    item: int
    sample: int
    stimulus_id: str | None
    segment: str
    start_seconds: float
    seconds: float
    fps: float
    source_volumes: list[int]
    volume_times: list[float]
    first_frame: str
    cut_probability: list[float]
    blended_with_previous: bool
    seed: int
    item_seed: int
    model: str
    model_hash: str
    picture_model: str
    generator: str
    frames_hash: str
    versions: dict[str, str]
