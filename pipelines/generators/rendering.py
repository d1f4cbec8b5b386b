"""How published networks render: one loop for all, in blocks, from noise or from a picture."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from phosphene.checkpoints.registry import find_generator
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import UsageError
from phosphene.pipelines.generators.attention import switch_attention
from phosphene.pipelines.generators.autoencoder import latent_target
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.block_size import CPU_BATCH, GPU_BATCH, fitting_block
from phosphene.pipelines.generators.denoising import (
    choose_scheduler,
    denoise,
    draw,
    guide,
    in_precision,
    kept_signal,
    padded,
    takes_variance,
)
from phosphene.pipelines.generators.expected import (
    Wanted,
    at_own_length,
    check_target,
    zero_embedding,
)
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.overflow import refuse_overflow
from phosphene.pipelines.generators.prompts import encode_captions
from phosphene.pipelines.generators.starts import check_steps, start_latents
from phosphene.pipelines.generators.step_progress import StepEnd, watch_steps
from phosphene.types import BrainEmbedding

__all__ = ["RenderingGenerator"]

logger = logging.getLogger(__name__)


class RenderingGenerator(Generator):
    """Renders embeddings by the networks of a diffusers pipeline, called directly.

    Every item has its own random stream, a picture can start from any other, and no pipeline
    mixes the items of a batch.

    Parameters
    ----------
    pipeline : diffusers pipeline
        Only its parts are used.
    target : StimulusEncoder
        Whose embeddings are rendered.
    options : PretrainedOptions
    entry_name : str
        In ``generators.yaml``.
    source : str, optional
        Where its parts were found, if not in the hub's cache.
    prompt : dict of str to Tensor
        Encoded prompts, where the networks take any.
    """

    tells_steps: ClassVar[bool] = True

    def __init__(
        self,
        pipeline: Any,
        target: StimulusEncoder,
        options: PretrainedOptions,
        *,
        entry_name: str,
        source: str | None = None,
        prompt: dict[str, Tensor] | None = None,
    ) -> None:
        self.pipeline, self.target, self.options = pipeline, target, options
        self.entry_name, self.source = entry_name, source
        self.unet: Any = self.find_unet().eval().requires_grad_(False)
        self.scheduler = choose_scheduler(pipeline.scheduler, options.scheduler)
        self.prompt = prompt or {}
        # What the block that is being rendered is given beside embeddings: encoded prompts, ...
        self.given: dict[str, Tensor] = dict(self.prompt)
        self._bar: dict[str, Any] = {}
        self._block: int | None = None
        found = find_generator(entry_name)
        published = None if found is None else found[1].embedding
        if (wanted := self.wanted) is not None:
            check_target(entry_name, wanted, published, target)
        self.latents = self.make_latents()
        self.device = torch.device("cpu")
        if options.tiling:
            self.autoencoder.enable_tiling()
        switch_attention(self.unet, options.attention, self._try_network)

    # What an adapter says about itself -------------------------------------------------------

    @property
    @abstractmethod
    def wanted(self) -> Wanted | None:
        """What the loaded networks take; none, where they take no embedding."""

    @abstractmethod
    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        """Return what the UNet takes beside latents and time.

        Parameters
        ----------
        embedding : Tensor of shape (n, ...)
            At the network's own length.
        free : Tensor of the same shape
            In place of a condition.
        generators : sequence of torch.Generator

        Returns
        -------
        dict
            For 2n rows, those without condition first, under guidance; for n rows otherwise.
        """

    def find_unet(self) -> Any:
        """Return the network that denoises."""
        return self.pipeline.unet

    def call_unet(self, rows: Tensor, time: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Return what the UNet sees in noisy latents (2n or n, c, h, w)."""
        found: Tensor = self.unet(rows, time, return_dict=False, **inputs)[0]
        return found

    def make_latents(self) -> LatentTarget | None:
        """Return the autoencoder as target of a low-level branch."""
        return latent_target(self.autoencoder, self.size)

    def length(self) -> float | None:
        """Return the mean length of embeddings, where it is known."""
        return self.options.embedding_length

    def free_embedding(self, embedding: Tensor) -> Tensor:
        """Return what stands in place of a condition, (n, ...)."""
        return zero_embedding(self.target, embedding)

    def given_items(
        self, condition: BrainEmbedding, captions: Sequence[str] | None
    ) -> dict[str, Tensor]:
        """Return what each item is given beside its embedding, by name, n rows each."""
        if captions is None and self.captioner is not None and self.options.captions:
            captions = self.captioner.caption(condition)
        if captions is None:
            return {}
        self.check_captions(captions, len(condition))
        return encode_captions(self.pipeline, captions, self.device)

    def blank_items(self) -> dict[str, Tensor]:
        """Return the same for one item that is rendered on trial."""
        return {}

    # What all share ---------------------------------------------------------------------------

    @property
    def autoencoder(self) -> Any:
        """The pipeline's autoencoder."""
        return getattr(self.pipeline, "vae", None) or self.pipeline.movq

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.options.size or int(self.unet.config.sample_size) * self.reduction

    @property
    def reduction(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.autoencoder.config.block_out_channels) - 1))

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what is denoised."""
        side = self.size // self.reduction
        return int(self.unet.config.in_channels), side, side

    @property
    def guided(self) -> bool:
        """Whether the network is called with and without a condition."""
        return self.options.guidance_scale > 1

    def set_progress_bar_config(self, **settings: Any) -> None:
        """Set how the bar over the steps of a block looks, as in diffusers: arguments of tqdm.

        It is shown on a terminal, and removed when the block is done.
        """
        self._bar = settings

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        self.device = torch.device(device)
        automatic = torch.float16 if self.device.type == "cuda" else torch.float32
        if dtype is not None:
            named = str(dtype).removeprefix("torch.")
            self.options = self.options.model_copy(update={"dtype": named})
        named = self.options.dtype
        dtype = automatic if named == "auto" else getattr(torch, named)
        self.unet.to(dtype=dtype)
        if self.options.offload:
            if self.device.type != "cuda":
                raise UsageError("`offload` without a GPU", "a CUDA device", "leave it away")
            self.pipeline.enable_model_cpu_offload(device=self.device)
        else:
            self.pipeline.to(self.device)
        self.prompt = {key: value.to(self.device) for key, value in self.prompt.items()}
        self.given = dict(self.prompt)
        self._block = None
        return self

    @torch.no_grad()
    def generate(
        self,
        condition: BrainEmbedding,
        *,
        init: Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        output_type: Literal["np", "pt"] = "np",
        callback_on_step_end: StepEnd | None = None,
        captions: Sequence[str] | None = None,
    ) -> Pictures | Tensor:
        """Render one picture per item; more than :meth:`Generator.generate` has are two arguments.

        Parameters
        ----------
        condition, init, strength, generators, num_inference_steps, output_type
            As for every generator.
        callback_on_step_end : callable, optional
            Called with number, time and latents after every step of a block.
        captions : sequence of str, optional
            One per item, in place of the prompt; the option ``captions`` has to be set.
        """
        self.check(condition, generators)
        steps = self.options.steps if num_inference_steps is None else num_inference_steps
        check_steps(steps, strength, starts=init is not None)
        if init is not None:
            kept = kept_signal(self.scheduler, steps, strength)
            logger.info("strength %g keeps %.3f of the start's power", strength, kept)
        embedding = at_own_length(self.target, condition.main.float(), self.length())
        start = None
        if init is not None and strength < 1:
            start = start_latents(init.to(self.device), self.latent_shape, self.size, self.encode)
        pictures = self.paint(
            embedding,
            start,
            generators,
            steps=steps,
            strength=strength,
            given=self.given_items(condition, captions),
            callback=callback_on_step_end,
        )
        return to_uint8(pictures) if output_type == "np" else pictures

    def paint(
        self,
        embedding: Tensor,
        start: Tensor | None,
        generators: Sequence[torch.Generator],
        *,
        steps: int,
        strength: float,
        given: dict[str, Tensor],
        callback: StepEnd | None = None,
    ) -> Tensor:
        """Return pictures (n, 3, H, W) in 0..1, block by block.

        Parameters
        ----------
        embedding : Tensor of shape (n, ...)
            At the network's own length.
        start : Tensor of shape (n, c, h, w), optional
            Latents.
        generators, steps, strength, callback
            As for :meth:`generate`.
        given : dict of str to Tensor
            From :meth:`given_items`.
        """
        parts = []
        size = self.block
        # Blocks of one size: how a matrix product rounds depends on its number of rows.
        for first in range(0, len(embedding), size):
            rows = torch.arange(first, first + size).clamp(max=len(embedding) - 1)
            block = padded(generators[first : first + size], size)
            here = None if start is None else start[rows].to(self.device)
            self.given = self.prompt | {
                name: value[rows.to(value.device)].to(self.device) for name, value in given.items()
            }
            found = self._render(
                embedding[rows].to(self.device), here, block, steps, strength, callback
            )
            parts.append(found[: len(embedding) - first].cpu())
        return torch.cat(parts)

    def check_captions(self, captions: Sequence[str], n: int) -> None:
        """Refuse captions where they cannot be used, or another number of them than of items."""
        if not self.prompt or not self.options.captions:
            raise UsageError(
                f"captions for the generator {self.entry_name}",
                expected="one that takes a prompt, opened with the option captions",
                remedy="--set generator_options.captions=true"
                if self.prompt
                else "leave the captions away, or name ip-adapter, stable-unclip or refine",
            )
        if len(captions) != n:
            raise UsageError(f"{len(captions)} captions for {n} items", "one per item")

    def batch_by_memory(self) -> bool:
        self.options = self.options.model_copy(update={"batch": "auto"})
        self._block = None
        return True

    @property
    def block(self) -> int:
        """Pictures rendered at a time; ``auto`` tries one picture and looks at the memory."""
        named = self.options.batch
        if isinstance(named, int):
            return named
        if named is None:
            return GPU_BATCH if self.device.type == "cuda" else CPU_BATCH
        if self._block is None:
            self._block = fitting_block(self.device, self._try_picture)
            logger.info("batch auto: %d pictures at a time", self._block)
        return self._block

    def _render(
        self,
        embedding: Tensor,
        start: Tensor | None,
        generators: Sequence[torch.Generator],
        steps: int,
        strength: float,
        callback: StepEnd | None,
    ) -> Tensor:
        # Some targets come without the network that embeds the picture of no condition.
        free = self.free_embedding(embedding) if self.guided else embedding
        channels = int(self.unet.config.in_channels)
        inputs = in_precision(self.inputs(embedding, free, generators), self.unet.dtype)
        noise = draw(self.latent_shape, generators).to(self.device)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = torch.cat([noisy, noisy]) if self.guided else noisy
            found = self.call_unet(rows.to(self.unet.dtype), time, inputs).float()
            if self.guided:
                found = guide(found, self.options.guidance_scale, channels)
            return found if takes_variance(self.scheduler) else found[:, :channels]

        latents = denoise(
            self.scheduler,
            predict,
            noise,
            generators,
            steps=steps,
            start=start,
            strength=strength,
            watch=watch_steps(callback, self._bar),
        )
        refuse_overflow(latents, where="the UNet")
        return refuse_overflow(self.decode(latents), where="the autoencoder")

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents of pictures (n, 3, H, W) in -1..1."""
        assert self.latents is not None
        return self.latents.to_latents(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (n, 3, H, W) in 0..1."""
        assert self.latents is not None
        return self.latents.decode(latents)

    def _try_network(self) -> Tensor:
        """Run the UNet once on a small input."""
        like = torch.zeros(1, *self.target.spec.shape)
        generators = [torch.Generator().manual_seed(0)]
        noise = draw((int(self.unet.config.in_channels), 8, 8), generators)
        inputs = self.inputs(like, like, generators)
        rows = torch.cat([noise, noise]) if self.guided else noise
        with torch.no_grad():
            found: Tensor = self.unet(rows, 1, return_dict=False, **inputs)[0]
        return found

    @torch.no_grad()
    def _try_picture(self) -> None:
        """Render one picture in one step, for what it takes of the memory."""
        like = torch.zeros(1, *self.target.spec.shape, device=self.device)
        self.given = self.prompt | self.blank_items()
        self._render(like, None, [torch.Generator().manual_seed(0)], 1, 1.0, None)
