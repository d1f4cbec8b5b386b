"""What every captioner offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["Captioner", "open_captioner"]


class Captioner(ABC):
    """Says in a sentence what an embedding is of.

    Nothing is drawn at random, and what stands beside an item never changes its sentence.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        """Open a captioner's folder, for embeddings of a target."""

    @abstractmethod
    def caption(self, condition: BrainEmbedding) -> list[str]:
        """Return one sentence per item."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, str]:
        """What decides its sentences, for the record of a run."""

    def to(self, device: str | torch.device) -> Self:
        """Move its networks, where it has any, to a device."""
        return self


def open_captioner(text: str, target: StimulusEncoder) -> Captioner:
    """Return the captioner that ``NAME:FOLDER`` stands for.

    Parameters
    ----------
    text : str
        ``git:FOLDER`` (what :meth:`GitCaptioner.save` wrote) or ``nearest:INDEX``.
    target : StimulusEncoder
        Whose embeddings are captioned.
    """
    from phosphene.pipelines.captioning import CAPTIONERS

    name, _, place = text.partition(":")
    kind: type[Captioner] = CAPTIONERS.get(name)
    if not place:
        raise UsageError(
            f"the captioner {name} without a place",
            expected="git:FOLDER, or nearest:INDEX with captions",
            remedy="name the folder behind a colon",
        )
    return kind.load(Path(place.removeprefix("local-dir:")), target)
