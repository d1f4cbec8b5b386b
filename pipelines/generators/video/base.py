"""What every video generator is given, offers, and promises about batches and seeds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

    from phosphene.pipelines.generators.base import Generator

__all__ = ["FirstFrame", "VideoConditions", "VideoGenerator", "frame_times"]

FirstFrame = Literal["decoded", "true", "absent"]


@dataclass(frozen=True, eq=False)
class VideoConditions:
    """What is known of n clips, all of one length.

    The *perception flow* (``lowlevel``, a blurred video) and *optical flow* (``flow``, where
    things move to) are two things.

    Parameters
    ----------
    seconds : float
        Length of a clip.
    keyframes : Tensor of shape (n, 3, H, W)
        Picture of the middle of each clip, 0 to 1: what the picture generator rendered, or the
        true one.
    embedding : BrainEmbedding, optional
        Decoded embedding of the keyframe, for generators that take it beside the picture.
    lowlevel : Tensor of shape (n, T, c, h, w), optional
        Perception flow: latents of the picture generator at T moments, each in the middle of its
        share of the clip.
    flow : Tensor of shape (n, T, 2, h, w), optional
        Optical flow at T such moments, to the right and down, in picture widths per second: it
        holds for pictures of any size at any rate.
    motion_energy : Tensor of shape (n, T), optional
        How much changes from frame to frame.
    cut : Tensor of shape (n, T), optional
        Probability that a new scene begins in each share of the clip.
    captions : tuple of n str, optional
        What an adapter that takes words is given.
    first_frame : {"decoded", "true", "absent"}
        Where the keyframe comes from; ``absent`` stands for a grey one. Results with different
        ones cannot be compared.
    """

    seconds: float
    keyframes: torch.Tensor
    embedding: BrainEmbedding | None = None
    lowlevel: torch.Tensor | None = None
    flow: torch.Tensor | None = None
    motion_energy: torch.Tensor | None = None
    cut: torch.Tensor | None = None
    captions: tuple[str, ...] | None = None
    first_frame: FirstFrame = "decoded"

    def __post_init__(self) -> None:
        n, axes = len(self.keyframes), {"lowlevel": 5, "flow": 5, "motion_energy": 2, "cut": 2}
        if self.keyframes.ndim != 4 or self.keyframes.shape[1] != 3 or n == 0 or self.seconds <= 0:
            raise InputError(
                f"keyframes of shape {tuple(self.keyframes.shape)} for clips of {self.seconds:g} s",
                expected="(n, 3, height, width) with at least one clip of positive length",
            )
        for name, number in axes.items():
            part = getattr(self, name)
            if part is not None and (part.ndim != number or len(part) != n):
                raise InputError(
                    f"{name} of shape {tuple(part.shape)} for {n} clips",
                    expected=f"{number} axes, the first of length {n}",
                )
        if self.flow is not None and self.flow.shape[2] != 2:
            raise InputError(
                f"flow of shape {tuple(self.flow.shape)}", expected="(n, T, 2, h, w): right, down"
            )
        for name in ("embedding", "captions"):
            part = getattr(self, name)
            if part is not None and len(part) != n:
                raise InputError(f"{name} of {len(part)} for {n} clips", expected="one per clip")

    def __len__(self) -> int:
        return len(self.keyframes)

    def __getitem__(self, rows: slice | torch.Tensor) -> VideoConditions:
        """Return some of the clips, by a slice or by positions."""
        import torch

        chosen: dict[str, Any] = {}
        for field in fields(self):
            part = getattr(self, field.name)
            if isinstance(part, torch.Tensor | BrainEmbedding):
                chosen[field.name] = part[rows]
        if self.captions is not None:
            order = torch.arange(len(self))[rows].tolist()
            chosen["captions"] = tuple(self.captions[row] for row in order)
        return replace(self, **chosen)

    def n_frames(self, fps: float) -> int:
        """Return the number of frames of a clip at a rate; at least one."""
        if not fps > 0:
            raise UsageError(f"`fps` is {fps}", expected="frames per second, above 0")
        return max(1, round(self.seconds * fps))


class VideoGenerator(ABC):
    """Turns what was decoded of clips into their frames, one random generator per clip.

    The result of a batch equals the results one at a time, and in another order the results are
    the same in that order: no clip may look at its neighbours in the batch. Whoever joins clips
    of one run does so afterwards, on purpose.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, pictures: Generator) -> Self:
        """Build the generator of a model.

        Parameters
        ----------
        folder : Path
            What :meth:`save` wrote, ``video_generator`` of the model; may not exist where a
            generator has nothing of its own.
        pictures : Generator
            Renders the keyframes; its ``latents`` decode the perception flow.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what belongs to the generator alone; nothing where it has no parts."""

    @property
    def settings(self) -> dict[str, str]:
        """What decides its frames besides the model, for the record of a run."""
        return {}

    def batch_by_memory(self) -> bool:
        """Return whether it renders as many clips at a time as fit, from now on."""
        return False  # only published generators choose

    @abstractmethod
    def to(self, device: str | torch.device) -> Self:
        """Move its networks to a device."""

    @abstractmethod
    def generate(
        self,
        conditions: VideoConditions,
        *,
        init: torch.Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        fps: float = 8.0,
    ) -> Pictures:
        """Render the frames of n clips.

        Parameters
        ----------
        conditions : VideoConditions
        init : Tensor of shape (n, F, 3, H, W), optional
            Frames from 0 to 1 to start from, such as the decoded perception flow.
        strength : float
            1 ignores the init, 0 returns it (after the generator's own autoencoder, where it has
            one), as SDEdit defines it.
        generators : sequence of torch.Generator
            One per clip.
        num_inference_steps : int, optional
            For generators that take steps.
        fps : float
            Frames per second; F is ``conditions.n_frames(fps)``.

        Returns
        -------
        ndarray of shape (n, F, H, W, 3)
            uint8; frame k shows the moment ``(k + 1/2) / fps`` after the start of the clip.
        """

    def check(
        self,
        conditions: VideoConditions,
        generators: Sequence[torch.Generator],
        init: torch.Tensor | None,
        strength: float,
        fps: float,
    ) -> int:
        """Refuse arguments that do not go together; return the number of frames F."""
        n, n_frames = len(conditions), conditions.n_frames(fps)
        if len(generators) != n:
            raise UsageError(
                f"{len(generators)} random generators for {n} clips", expected="one per clip"
            )
        if not 0 <= strength <= 1 or (init is None and strength < 1):
            raise UsageError(
                f"a strength of {strength:g} {'with' if init is not None else 'without'} frames "
                "to start from",
                expected="from 0 to 1, and below 1 only with an init",
            )
        if init is not None and (init.ndim != 5 or tuple(init.shape[:3]) != (n, n_frames, 3)):
            raise InputError(
                f"an init of shape {tuple(init.shape)}",
                expected=f"({n}, {n_frames}, 3, height, width), the frames of {n} clips",
            )
        return n_frames


def frame_times(n_frames: int, seconds: float) -> torch.Tensor:
    """Return the moment each frame shows, in seconds after the start of the clip (n_frames,).

    Examples
    --------
    >>> frame_times(4, 2.0).tolist()
    [0.25, 0.75, 1.25, 1.75]
    """
    import torch

    return (torch.arange(n_frames) + 0.5) * (seconds / n_frames)
