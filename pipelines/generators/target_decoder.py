"""The decoder of the target itself as generator: what an autoencoder or pixels bring along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["TargetDecoder"]


class TargetDecoder(Generator):
    """Renders an embedding by the decoder that belongs to its target.

    It is deterministic: all samples of an item are the same picture.

    Parameters
    ----------
    target : StimulusEncoder
        With a decoder.
    """

    name: ClassVar[str] = "target-decoder"

    def __init__(self, target: StimulusEncoder) -> None:
        if not target.can_decode:
            raise UsageError(
                f"the target {target.name} has no decoder",
                expected="a target that can be decoded, such as autoencoder or pixels",
                remedy="name another generator",
            )
        self.target = target

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        return cls(target)

    def save(self, folder: Path) -> None:
        """Write nothing: the decoder lies in the target's own folder."""

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        return self

    def generate(
        self,
        condition: BrainEmbedding,
        *,
        init: torch.Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        output_type: Literal["np", "pt"] = "np",
    ) -> Pictures | torch.Tensor:
        self.check(condition, generators)
        if num_inference_steps is not None:
            raise UsageError(
                "the target-decoder takes no steps",
                expected="no --steps",
                remedy="leave the flag away, or name a generator that takes steps",
            )
        if init is not None:
            raise UsageError(
                "the target-decoder renders from the embedding alone", "no init picture"
            )
        pictures = self.target.decode(condition.main)
        return to_uint8(pictures) if output_type == "np" else pictures
