"""How published video networks render: one loop for all, clip by clip or several at a time.

The library's pipelines are not called: several mix the clips of a batch (the keyframe of
SparseCtrl and IP-Adapter's embeddings serve all of them, Wan encodes every keyframe once per clip,
the decoder of Stable Video Diffusion runs across clips), and none starts from a video. Their
networks are, with what the pipelines would give them.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from phosphene.data.pictures import Pictures
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.block_size import fitting_block
from phosphene.pipelines.generators.denoising import (
    choose_scheduler,
    denoise,
    draw,
    kept_signal,
    padded,
)
from phosphene.pipelines.generators.overflow import refuse_overflow
from phosphene.pipelines.generators.starts import check_steps
from phosphene.pipelines.generators.step_progress import StepEnd, watch_steps
from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator
from phosphene.pipelines.generators.video.fitting import Frame, at_rate, picked_frames
from phosphene.pipelines.generators.video.options import VideoOptions
from phosphene.pipelines.generators.video.perception import perception_videos
from phosphene.pipelines.generators.video.radial import LEAST_FRAMES, RadialLayout
from phosphene.pipelines.generators.video.radial_attention import check_kernel, through_mask
from phosphene.pipelines.generators.video.warping import warp_keyframes
from phosphene.types import BrainEmbedding

__all__ = ["Block", "Predict", "RenderingVideo", "guided"]

logger = logging.getLogger(__name__)

Predict = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Block:
    """What the clips of one block are made of; ``n`` rows each.

    Attributes
    ----------
    picture : Tensor of shape (n, 3, H, W)
        In 0..1; the moment it shows is the adapter's :attr:`RenderingVideo.begins`.
    frames : int
        Of the network.
    rate : float
        Frames per second.
    words : dict of str to Tensor
        Encoded prompts, in the network's precision.
    generators : list of torch.Generator
    embedding : BrainEmbedding, optional
    """

    picture: Tensor
    frames: int
    rate: float
    words: dict[str, Tensor]
    generators: list[torch.Generator]
    embedding: BrainEmbedding | None


def guided(free: Tensor, told: Tensor, scale: float | Tensor) -> Tensor:
    """Return what classifier-free guidance makes of both predictions."""
    return free + scale * (told - free)


class RenderingVideo(VideoGenerator):
    """Renders clips by the networks of a diffusers pipeline, called directly.

    Latents are (n, c, f, h, w) here, whatever order of axes a network has.

    Parameters
    ----------
    pipeline : diffusers pipeline
        Only its parts are used.
    pictures : Generator, optional
        Renders the keyframes; its target says what embeddings are.
    options : VideoOptions
    entry_name : str
    source : str, optional
    prompt : dict of str to Tensor
        Encoded prompts, where the network takes any.
    """

    network_part: ClassVar[str] = "transformer"
    half: ClassVar[str] = "bfloat16"
    begins: ClassVar[bool] = True  # the picture is the first frame, else the one in the middle
    takes_radial: ClassVar[bool] = True

    def __init__(
        self,
        pipeline: Any,
        pictures: Generator | None,
        options: VideoOptions,
        *,
        entry_name: str,
        source: str | None = None,
        prompt: dict[str, Tensor] | None = None,
    ) -> None:
        self.pipeline, self.pictures, self.options = pipeline, pictures, options
        self.entry_name, self.source = entry_name, source
        self.network: Any = getattr(pipeline, self.network_part).eval().requires_grad_(False)
        self.vae: Any = pipeline.vae.float().eval().requires_grad_(False)
        self.scheduler = choose_scheduler(pipeline.scheduler, options.scheduler)
        self.prompt = prompt or {}
        self.device = torch.device("cpu")
        self._bar: dict[str, Any] = {}
        self._block: int | None = None
        if options.radial and not self.takes_radial:
            raise UsageError(
                f"radial attention for {entry_name}",
                expected="a transformer that looks at whole clips at once",
                remedy="leave `radial` away, or name wan, cogvideox or ltx",
            )
        if options.tiling:
            self.vae.enable_tiling()

    # What an adapter says about itself -------------------------------------------------------

    @abstractmethod
    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        """Return channels, latent frames, height and width of what is denoised."""

    @abstractmethod
    def encode(self, frames: Tensor) -> Tensor:
        """Return latents (1, c, f, h, w) of a clip (1, 3, F, H, W) in -1..1."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Return the frames (F, 3, H, W) of one clip in 0..1, of latents (1, c, f, h, w)."""

    @abstractmethod
    def prepare(self, block: Block, noise: Tensor) -> Predict:
        """Return the function of noisy latents and time that the network is for a block."""

    @classmethod
    def encode_words(
        cls, pipeline: Any, texts: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        """Return what the network is given of texts, by name, one row each; nothing by default."""
        return {}

    def whole_frames(self, frames: int) -> int:
        """Return the next larger number of frames that the autoencoder can compress."""
        return frames

    def spacing(self, latents: Tensor, steps: int) -> dict[str, Any]:
        """Return what the scheduler is told beside the number of steps."""
        return {}

    def words_before(self, block: Block) -> int:
        """Return how many words stand before a clip in the sequence that attention sees."""
        return 0

    def tokens_per_frame(self) -> int:
        """Return how many tokens the network makes of a latent frame."""
        raise NotImplementedError(self.name)

    def fixed(self, latents: Tensor, made: Tensor) -> Tensor:
        """Return latents with what the network does not denoise."""
        return made

    # What all share ---------------------------------------------------------------------------

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Set how the bar over the steps of a block looks, as in diffusers: arguments of tqdm."""
        self._bar = settings

    def batch_by_memory(self) -> bool:
        """Return True: from now on it renders as many clips at a time as fit."""
        self.options = self.options.model_copy(update={"batch": "auto"})
        self._block = None
        return True

    def to(self, device: str | torch.device) -> Self:
        self.device = torch.device(device)
        named = self.half if self.device.type == "cuda" else "float32"
        named = named if self.options.dtype == "auto" else self.options.dtype
        self.network.to(dtype=getattr(torch, named))
        if self.options.offload:
            if self.device.type != "cuda":
                raise UsageError("`offload` without a GPU", "a CUDA device", "leave it away")
            self.pipeline.enable_model_cpu_offload(device=self.device)
        else:
            self.pipeline.to(self.device)
        if self.options.radial:
            check_kernel(self.options.radial_kernel, self.device)
        self._block = None
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
        callback_on_step_end: StepEnd | None = None,
    ) -> Pictures:
        n_frames = self.check(conditions, generators, init, strength, fps)
        if init is None and self.options.start is not None:
            init, strength = self._perception(conditions, n_frames), self.options.start
        steps = self.options.steps if num_inference_steps is None else num_inference_steps
        check_steps(steps, strength, starts=init is not None)
        frames, rate = self._length(conditions.seconds, n_frames, fps)
        shape = tuple(conditions.keyframes.shape[-2:])
        frame = Frame((shape[0], shape[1]), (self.options.height, self.options.width))
        chosen = picked_frames(n_frames, conditions.seconds, rate, frames)
        words, size = self._words(conditions), self._clips_at_a_time(frames)
        if init is not None:
            some = torch.zeros(1, *self.latent_shape(frames))
            kept = kept_signal(self.scheduler, steps, strength, self.spacing(some, steps))
            logger.info("strength %g keeps %.3f of the start's power", strength, kept)
        clips: list[Pictures] = []
        # Blocks of one size: how a matrix product rounds depends on its number of rows.
        for first in range(0, len(conditions), size):
            rows = torch.arange(first, first + size).clamp(max=len(conditions) - 1)
            some_clips, count = conditions[rows], min(size, len(conditions) - first)
            block = Block(
                frame.around(self._picture(some_clips)).to(self.device),
                frames,
                rate,
                {name: value[rows.to(value.device)] for name, value in words.items()},
                padded(generators[first : first + size], size),
                some_clips.embedding,
            )
            start = None
            if init is not None and strength < 1:
                start = self._start(init[rows], conditions.seconds, frame, block)
            latents = self._denoise(block, start, steps, strength, callback_on_step_end)
            for row in range(count):  # one clip after another: no decoder looks across clips
                shown = refuse_overflow(self.decode(latents[row : row + 1]), where="the decoder")
                clips.append(to_uint8(frame.inside(shown.cpu()[chosen])))
        return np.stack(clips)

    def _length(self, seconds: float, n_frames: int, fps: float) -> tuple[int, float]:
        """Return how many frames the network makes, and at which rate."""
        rate = self.options.rate or fps
        wanted = n_frames if self.options.rate is None else math.ceil(seconds * rate - 1e-6)
        frames = self.whole_frames(max(wanted, 1))
        if self.options.frames is None:
            return frames, rate
        if wanted > self.options.frames:
            raise UsageError(
                f"clips of {seconds:g} s for {self.entry_name}",
                expected=f"{self.options.frames / rate:g} s at most, {self.options.frames} frames "
                f"at {rate:g} per second",
                remedy="decode shorter clips, or name another video generator",
            )
        return self.options.frames, rate

    def _picture(self, conditions: VideoConditions) -> Tensor:
        """Return the keyframe, followed back to the first frame where motion was decoded."""
        keyframes = conditions.keyframes.float().cpu()
        if not self.begins or conditions.flow is None:
            return keyframes
        n_frames = max(2, conditions.flow.shape[1] * 2)
        flow = conditions.flow.float().cpu()
        return warp_keyframes(keyframes, flow, seconds=conditions.seconds, n_frames=n_frames)[:, 0]

    def _perception(self, conditions: VideoConditions, n_frames: int) -> Tensor:
        return perception_videos(
            conditions, n_frames, self.pictures, self.vae, self.device, owner=self.entry_name
        )

    def _words(self, conditions: VideoConditions) -> dict[str, Tensor]:
        """Return encoded prompts, one row per clip."""
        found = dict(self.prompt)
        if self.options.captions and conditions.captions is not None and found:
            # One caption at a time, so that company never changes the rounding.
            rows = [
                self.encode_words(self.pipeline, [text], self.device)
                for text in conditions.captions
            ]
            found |= {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        dtype, n = self.network.dtype, len(conditions)
        return {
            name: (value.to(dtype) if value.is_floating_point() else value)
            .to(self.device)
            .expand(n, *value.shape[1:])
            for name, value in found.items()
        }

    def _start(self, init: Tensor, seconds: float, frame: Frame, block: Block) -> Tensor:
        """Return latents of videos (n, F, 3, H, W) in 0..1, one clip at a time."""
        found = []
        for clip in init.float().cpu():
            video = at_rate(clip[None], seconds, block.frames, block.rate)[0]
            video = frame.around(video).to(self.device) * 2 - 1
            found.append(self.encode(video.transpose(0, 1)[None]).float())
        return torch.cat(found)

    def _denoise(
        self,
        block: Block,
        start: Tensor | None,
        steps: int,
        strength: float,
        callback: StepEnd | None,
    ) -> Tensor:
        if start is not None and strength == 0:
            return start
        noise = draw(self.latent_shape(block.frames), block.generators).to(self.device)
        predict = self._through_mask(self.prepare(block, noise), block, noise, steps, strength)
        made = denoise(
            self.scheduler,
            predict,
            noise,
            block.generators,
            steps=steps,
            start=start,
            strength=strength,
            watch=watch_steps(callback, self._bar),
            spacing=self.spacing(noise, steps),
        )
        return self.fixed(noise, refuse_overflow(made, where="the network"))

    def _through_mask(
        self, predict: Predict, block: Block, noise: Tensor, steps: int, strength: float
    ) -> Predict:
        """Return the same function with radial attention, where it is asked for and of use."""
        if not self.options.radial:
            return predict
        frames = self.latent_shape(block.frames)[1]
        if frames < LEAST_FRAMES:
            logger.info("%d latent frames: radial attention would save nothing", frames)
            return predict
        options = self.options
        left_out = steps - max(round(steps * strength), 1)
        return through_mask(
            predict,
            RadialLayout(frames, self.tokens_per_frame(), factor=options.radial_factor, sink=True),
            before=self.words_before(block),
            dense_calls=round(options.radial_dense_share * steps) - left_out,
            dense_layers=options.radial_dense_layers,
            layers=len(getattr(self.network, "blocks", None) or self.network.transformer_blocks),
            kernel=options.radial_kernel,
        )

    def _clips_at_a_time(self, frames: int) -> int:
        named = self.options.batch
        if isinstance(named, int):
            return named
        if named is None:
            return 1
        if self._block is None:
            self._block = fitting_block(self.device, lambda: self._try_clip(frames))
            logger.info("batch auto: %d clips at a time", self._block)
        return self._block

    def _try_clip(self, frames: int) -> None:
        """Render one clip in one step, for what it takes of the memory."""
        picture = torch.zeros(1, 3, self.options.height, self.options.width, device=self.device)
        conditions = VideoConditions(1.0, picture.cpu())
        block = Block(
            picture,
            frames,
            self.options.rate or 8.0,
            self._words(conditions),
            [torch.Generator().manual_seed(0)],
            None,
        )
        self.decode(self._denoise(block, None, 1, 1.0, None))
