"""What every generator offers, and what it promises about batches and seeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

    from phosphene.encoders.stimulus.latents import LatentTarget
    from phosphene.pipelines.captioning.base import Captioner

__all__ = ["Generator"]


class Generator(ABC):
    """Turns embeddings into pictures, one random generator per item.

    The result of a batch equals the results one at a time (up to rounding of the last digit).
    """

    name: ClassVar[str]
    # Of the low-level branch that can start its pictures; none where nothing can.
    latents: LatentTarget | None = None
    # Says what an embedding is of; generators that were opened for captions draw after it.
    captioner: Captioner | None = None
    tells_steps: ClassVar[bool] = False  # whether it takes `callback_on_step_end`

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        """Build the generator of a model: what :meth:`save` wrote, for embeddings of a target."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what belongs to the generator alone; nothing where it has no parts."""

    @property
    def settings(self) -> dict[str, str]:
        """What decides its pictures besides the model, for the record of a run."""
        return {}

    def with_options(self, options: dict[str, Any]) -> Generator:
        """Return it with other settings; only published generators have any."""
        raise UsageError(
            f"options {', '.join(options)} for the generator {self.name}",
            expected="none; `phosphene models list` names the generators that take any",
        )

    def batch_by_memory(self) -> bool:
        """Return whether it renders as many pictures at a time as fit, from now on."""
        return False  # only published generators choose

    def set_progress_bar_config(self, **settings: Any) -> None:  # noqa: B027 - most show none
        """Set the bar over steps (arguments of tqdm); nothing where none is shown."""

    @abstractmethod
    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move its networks to a device, and denoise in another precision if one is named."""

    @abstractmethod
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
        """Render one picture per item.

        Parameters
        ----------
        condition : BrainEmbedding
            n items.
        init : Tensor of shape (n, C, H, W), optional
            Picture or latent to start from.
        strength : float
            0 returns the init, 1 ignores it.
        generators : sequence of torch.Generator
            One per item.
        num_inference_steps : int, optional
            For generators that take steps.
        output_type : {"np", "pt"}
            ``np``: uint8 (n, H, W, 3), grey repeated. ``pt``: float (n, C, H, W) in 0..1.
        """

    def check(self, condition: BrainEmbedding, generators: Sequence[torch.Generator]) -> None:
        """Refuse another number of random generators than of items."""
        if len(generators) != len(condition):
            raise UsageError(
                f"{len(generators)} random generators for {len(condition)} items",
                expected="one per item",
            )


def to_uint8(pictures: torch.Tensor) -> Pictures:
    """Return (n, C, H, W) in 0..1 as uint8 (n, H, W, 3); grey is repeated over the channels."""
    import torch

    rounded = (pictures.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    if rounded.shape[1] == 1:
        rounded = rounded.expand(-1, 3, -1, -1)
    array: Pictures = rounded.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return array
