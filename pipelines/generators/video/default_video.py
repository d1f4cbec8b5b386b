"""The default picture generator with layers over time: frames of one clip are drawn together.

Guo et al. 2024 (AnimateDiff, SparseCtrl); Ge et al. 2023 (noise that frames share); Ho and
Salimans 2022 (guidance); Meng et al. 2022 (starting from a video). What was decoded of each frame,
its latents and the keyframe moved by decoded flow, leads the network beside the keyframe's
embedding. It knows how rendered scenes move, and may show motion that nobody decoded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.registry import HERE
from phosphene.data.pictures import Pictures
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.denoising import denoise, draw, kept_signal
from phosphene.pipelines.generators.latent_diffusion import (
    Decoded,
    LatentDiffusion,
    predict_velocity,
)
from phosphene.pipelines.generators.starts import check_steps
from phosphene.pipelines.generators.step_progress import watch_steps
from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator, frame_times
from phosphene.pipelines.generators.video.keyframe_flow import other_scene
from phosphene.pipelines.generators.video.motion_module import (
    Guesses,
    MotionModule,
    moving,
    repeat_frames,
)
from phosphene.pipelines.generators.video.shared_noise import mixed_noise
from phosphene.pipelines.generators.video.warping import at_moments, warp_keyframes
from phosphene.schemas import ComponentFile

__all__ = ["WEIGHTS", "DefaultVideo", "overlapping"]

logger = logging.getLogger(__name__)

WEIGHTS = HERE / "weights" / "default_video"


class DefaultVideo(VideoGenerator):
    """Draws the frames of a clip together, one clip after another.

    Parameters
    ----------
    pictures : LatentDiffusion
        Whose networks draw.
    motion : MotionModule
        Layers over time for them.
    steps : int
        Network calls per frame.
    guidance_scale : float
        1 is no guidance.
    noise_share : float
        0 to 1: of the variance of noise, what all frames of a clip have in common.
    """

    name = "default_video"

    def __init__(
        self,
        pictures: LatentDiffusion,
        motion: MotionModule,
        *,
        steps: int = 8,
        guidance_scale: float = 2.5,
        noise_share: float = 1.0,
    ) -> None:
        motion.check(pictures.unet)
        if motion.channels != pictures.latents.shape[0]:
            raise InputError(
                f"layers over time for latents of {motion.channels} channels",
                expected=f"{pictures.latents.shape[0]}, as the picture generator has",
                remedy="train them for this generator",
            )
        self.pictures, self.motion = pictures, motion.eval().requires_grad_(False)
        if not 0 <= noise_share <= 1:
            raise UsageError(f"a noise_share of {noise_share:g}", expected="from 0 to 1")
        self.steps, self.guidance_scale, self.noise_share = steps, guidance_scale, noise_share
        self._bar: dict[str, Any] = {}

    @classmethod
    def load(cls, folder: Path, pictures: Generator) -> Self:
        """Build it from a model's folder, or with the layers that come with the package."""
        if not isinstance(pictures, LatentDiffusion):
            raise UsageError(
                f"the video generator {cls.name} over pictures of {pictures.name}",
                expected="a model whose pictures latent-diffusion renders",
                remedy="name keyframe_flow, or a published video generator",
            )
        own = Path(folder) / "config.json"
        place = Path(folder) if own.is_file() else WEIGHTS
        if not (place / "config.json").is_file():
            raise AssetError(
                f"the layers over time of {cls.name} are not at {place}",
                expected="weights that come with the package",
                remedy="install the package again, or train them: "
                "python -m phosphene.checkpoints.recipes.virtual_video_generator",
            )
        stored = ComponentFile.load(place / "config.json")
        expected = {"steps", "guidance_scale", "noise_share", "latents"}
        if stored.name != cls.name or set(stored.config) != expected:
            raise InputError(
                f"{place} holds {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the video generator {cls.name!r} with {', '.join(sorted(expected))}",
                remedy="name the generator this model was saved with",
            )
        settings = dict(stored.config)
        latents, found = settings.pop("latents"), pictures.latents.spec.hash
        if latents != found:
            raise InputError(
                f"the picture generator renders from the latents {found}",
                expected=f"{latents}, for which the layers over time in {place} were trained",
                remedy="name keyframe_flow, or train them for this picture generator: "
                "python -m phosphene.checkpoints.recipes.virtual_video_generator",
            )
        motion = MotionModule.from_pretrained(place / "motion").float()
        return cls(pictures, motion, **settings)

    def save(self, folder: Path) -> None:
        """Write the layers over time and settings; the networks of pictures are the model's."""
        self.motion.save_pretrained(Path(folder) / "motion")
        ComponentFile(
            kind="video generator",
            name=self.name,
            config={
                "steps": self.steps,
                "guidance_scale": self.guidance_scale,
                "noise_share": self.noise_share,
                "latents": self.pictures.latents.spec.hash,
            },
        ).save(Path(folder) / "config.json")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "video_steps": str(self.steps),
            "video_guidance": f"{self.guidance_scale:g}",
            "video_noise_share": f"{self.noise_share:g}",
        }

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Set how the bar over the steps of a clip looks, as in diffusers: arguments of tqdm."""
        self._bar = settings

    def to(self, device: str | torch.device) -> Self:
        self.pictures.to(device)
        self.motion.to(device, self.pictures.unet.dtype)
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
        steps = self.steps if num_inference_steps is None else num_inference_steps
        check_steps(steps, strength, starts=init is not None)
        if conditions.embedding is None:
            raise InputError(
                f"clips without embeddings for {self.name}",
                expected="the decoded embedding of each keyframe",
                remedy="name keyframe_flow, which needs none",
            )
        if init is not None:
            kept = kept_signal(self.pictures.scheduler, steps, strength)
            logger.info("strength %g keeps %.3f of the start's power", strength, kept)
        self.pictures.unet.eval()
        clips = []
        for row in range(len(conditions)):  # neither rounding nor memory depends on the company
            start = None if init is None or strength == 1 else self._latents(init[row])
            latents = self._clip(
                conditions[row : row + 1], start, generators[row], n_frames, steps, strength
            )
            clips.append(to_uint8(self.pictures.latents.decode(latents)))
        return np.stack(clips)

    def _latents(self, frames: Tensor) -> Tensor:
        """Return latents (F, c, h, w) of pictures (F, 3, H, W) in 0..1 of any size."""
        latents, unet = self.pictures.latents, self.pictures.unet
        shown = frames.float()
        if tuple(shown.shape[-2:]) != (latents.size, latents.size):
            size = (latents.size, latents.size)
            shown = F.interpolate(shown, size, mode="bilinear", antialias=True).clamp(0, 1)
        return latents.to_latents(shown.to(unet.device, unet.dtype) * 2 - 1)

    def _clip(
        self,
        one: VideoConditions,
        start: Tensor | None,
        stream: torch.Generator,
        n_frames: int,
        steps: int,
        strength: float,
    ) -> Tensor:
        """Return the latents (n_frames, c, h, w) of one clip."""
        if start is not None and strength == 0:
            return start
        unet, embedding = self.pictures.unet, one.embedding
        assert embedding is not None
        tokens = embedding.main if embedding.main.ndim == 3 else embedding.main[:, None]
        told = [tokens] if embedding.features is None else [tokens, embedding.features]
        decoded = Decoded(
            *(repeat_frames(part.to(unet.device, unet.dtype), n_frames) for part in told)
        )
        drawn = draw((n_frames + 1, *self.pictures.latents.shape), [stream])[0]
        noise = mixed_noise(drawn[:1], drawn[1:], self.noise_share).to(unet.device, unet.dtype)
        maps = self._guesses(one, n_frames).maps(noise)
        return denoise(
            self.pictures.scheduler,
            lambda noisy, time: self._predict(noisy, time, decoded, maps),
            noise,
            [stream],
            steps=steps,
            start=start,
            strength=strength,
            watch=watch_steps(None, self._bar),
        )

    def _guesses(self, one: VideoConditions, n_frames: int) -> Guesses:
        """Return what was decoded of each frame, where it was."""
        shape, times = self.pictures.latents.shape, frame_times(n_frames, one.seconds)
        lowlevel = moved = None
        if one.lowlevel is not None:
            if tuple(one.lowlevel.shape[2:]) != shape:
                raise InputError(
                    f"a perception flow of shape {tuple(one.lowlevel.shape[2:])}",
                    expected=f"latents {shape} of the picture generator",
                )
            lowlevel = at_moments(one.lowlevel.float().cpu(), times, one.seconds)[0]
        if one.first_frame != "absent":
            key = self._latents(one.keyframes).float().cpu()
            moved = key.expand(n_frames, -1, -1, -1)
            if one.flow is not None:  # latents are moved, as in training
                flow = one.flow.float().cpu()
                moved = warp_keyframes(key, flow, seconds=one.seconds, n_frames=n_frames)[0]
            if one.cut is not None:
                other = other_scene(one.cut[0].float().cpu(), times, one.seconds)
                moved = moved * ~other[:, None, None, None]
        return Guesses(lowlevel, moved)

    def _predict(self, noisy: Tensor, time: Tensor, decoded: Decoded, maps: Tensor) -> Tensor:
        """Return the velocity of all frames: the weighted mean of windows that overlap."""
        windows = overlapping(len(noisy), self.motion.window)
        total = torch.zeros_like(noisy)
        weights = torch.zeros(len(noisy), 1, 1, 1).to(noisy)
        for rows in windows:
            place = torch.arange(len(rows)).to(noisy)
            weight = torch.minimum(place + 1, len(rows) - place).view(-1, 1, 1, 1)
            part = Decoded(
                decoded.tokens[rows], None if decoded.features is None else decoded.features[rows]
            )
            total[rows] += weight * self._window(noisy[rows], time, part, maps[rows])
            weights[rows] += weight
        return total / weights

    def _window(self, noisy: Tensor, time: Tensor, decoded: Decoded, maps: Tensor) -> Tensor:
        unet, count = self.pictures.unet, len(noisy)
        if self.guidance_scale == 1:
            with moving(unet, self.motion, count, maps):
                return predict_velocity(unet, noisy, time, decoded)
        both, guesses = torch.cat([noisy, noisy]), torch.cat([maps, torch.zeros_like(maps)])
        with moving(unet, self.motion, count, guesses):
            found, free = predict_velocity(unet, both, time, decoded.beside_nothing()).chunk(2)
        return free + self.guidance_scale * (found - free)


def overlapping(n_frames: int, window: int) -> list[list[int]]:
    """Return windows over frames, each shifted by half a window, the last one at the end.

    Examples
    --------
    >>> [(rows[0], rows[-1]) for rows in overlapping(13, 8)]
    [(0, 7), (4, 11), (5, 12)]
    >>> overlapping(3, 8)
    [[0, 1, 2]]
    """
    if n_frames <= window:
        return [list(range(n_frames))]
    starts = [*range(0, n_frames - window, max(window // 2, 1)), n_frames - window]
    return [list(range(start, start + window)) for start in starts]
