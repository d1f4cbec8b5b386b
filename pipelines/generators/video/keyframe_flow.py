"""The keyframe, moved by decoded flow and corrected by decoded low-level frames.

No network of its own: everything that moves was decoded, so it is the honest baseline of all
other video generators, and it runs everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator, frame_times
from phosphene.pipelines.generators.video.warping import at_moments, warp_keyframes
from phosphene.schemas import ComponentFile

__all__ = ["KeyframeFlow", "other_scene"]

CUT = 0.5  # a more probable new scene ends the warp
BLUR = 4.0  # pixels of 64, SD of the Gaussian: what low-level frames know


class KeyframeFlow(VideoGenerator):
    """Warps keyframes; a clip depends on its own conditions alone and draws no random number.

    Parameters
    ----------
    latents : LatentTarget or None
        Decodes the perception flow; without one nothing is corrected.
    correction : float
        0 to 1: how much of what is coarser than the blur is taken from the low-level frames
        where these differ from the keyframe's own moment. Chosen on validation clips.
    gain : float
        Multiplies the flow. A ridge predicts flow that is shrunken towards none; which factor
        makes frames most alike is chosen on validation clips too.
    """

    name = "keyframe_flow"

    def __init__(
        self, latents: LatentTarget | None = None, correction: float = 0.5, gain: float = 1.0
    ) -> None:
        if not 0 <= correction <= 1 or not gain >= 0:
            raise UsageError(
                f"a correction of {correction} and a gain of {gain}",
                expected="a correction from 0 to 1, a gain of 0 or more",
            )
        self.latents, self.correction, self.gain = latents, correction, gain

    @classmethod
    def load(cls, folder: Path, pictures: Generator) -> Self:
        path = Path(folder) / "config.json"
        if not path.is_file():
            return cls(pictures.latents)
        stored = ComponentFile.load(path)
        if stored.name != cls.name or set(stored.config) != {"correction", "gain"}:
            raise InputError(
                f"{path} describes {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the video generator {cls.name!r} with correction and gain",
                remedy="name the generator this model was saved with",
            )
        return cls(pictures.latents, **stored.config)

    def save(self, folder: Path) -> None:
        ComponentFile(
            kind="video generator",
            name=self.name,
            config={"correction": self.correction, "gain": self.gain},
        ).save(Path(folder) / "config.json")

    @property
    def settings(self) -> dict[str, str]:
        return {"correction": f"{self.correction:g}", "flow_gain": f"{self.gain:g}"}

    def to(self, device: str | torch.device) -> Self:
        if self.latents is not None:
            self.latents.to(device)
        return self

    @torch.no_grad()
    def generate(
        self,
        conditions: VideoConditions,
        *,
        init: Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        fps: float = 8.0,
    ) -> Pictures:
        n_frames = self.check(conditions, generators, init, strength, fps)
        clips = [self._clip(conditions[row : row + 1], n_frames) for row in range(len(conditions))]
        if init is not None and strength < 1:  # no noise to start from: the start shows through
            size = clips[0].shape[-2:]
            start = [F.interpolate(clip.float(), size, mode="bilinear") for clip in init.cpu()]
            clips = [
                strength * made + (1 - strength) * begun
                for made, begun in zip(clips, start, strict=True)
            ]
        return torch.stack([torch.from_numpy(to_uint8(clip)) for clip in clips]).numpy()

    def _clip(self, one: VideoConditions, n_frames: int) -> Tensor:
        """Return the frames (n_frames, 3, H, W) of one clip, 0 to 1.

        One clip at a time: neither rounding nor memory depends on the company.
        """
        keyframe, times = one.keyframes.float().cpu(), frame_times(n_frames, one.seconds)
        frames = keyframe[:, None].expand(-1, n_frames, -1, -1, -1)
        if one.flow is not None:
            flow = self.gain * one.flow.float().cpu()
            frames = warp_keyframes(keyframe, flow, seconds=one.seconds, n_frames=n_frames)
        if one.lowlevel is None or self.latents is None:
            return frames[0]
        shown = self.latents.decode(one.lowlevel[0].float()).cpu()
        shown = F.interpolate(shown, keyframe.shape[-2:], mode="bilinear", antialias=True)
        lowlevel = at_moments(shown[None], times, one.seconds)
        corrected = frames[0] + self.correction * _blurred(lowlevel[0] - frames[0])
        if one.cut is None:
            return corrected.clamp(0, 1)
        other = other_scene(one.cut[0].float().cpu(), times, one.seconds)
        return torch.where(other[:, None, None, None], lowlevel[0], corrected).clamp(0, 1)


def other_scene(cut: Tensor, times: Tensor, seconds: float) -> Tensor:
    """Return which frames (F,) belong to another scene than the middle of the clip."""
    other = torch.zeros(len(times), dtype=torch.bool)
    for share in torch.nonzero(cut > CUT).flatten().tolist():
        begins = (share + 0.5) * seconds / len(cut)  # within its share nothing more is known
        other |= (times >= begins) if begins > seconds / 2 else (times < begins)
    return other


def _blurred(pictures: Tensor) -> Tensor:
    """Return pictures (F, 3, H, W) without what is finer than low-level frames know."""
    sigma = BLUR * pictures.shape[-1] / 64
    radius = min(math.ceil(3 * sigma), min(pictures.shape[-2:]) - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(pictures)
    channels = pictures.shape[1]
    for shape, padding in (
        ((1, 1, 1, -1), (radius, radius, 0, 0)),
        ((1, 1, -1, 1), (0, 0, radius, radius)),
    ):
        weight = kernel.view(shape).repeat(channels, 1, 1, 1)
        pictures = F.conv2d(F.pad(pictures, padding, mode="replicate"), weight, groups=channels)
    return pictures
