"""What generators on published diffusers pipelines share: loading, batches, starts, saving."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.fetching import generator_parts
from phosphene.checkpoints.registry import KnownGenerator, find_generator
from phosphene.config import resolve_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.attention import switch_attention
from phosphene.pipelines.generators.autoencoder import latent_target
from phosphene.pipelines.generators.base import Generator, to_uint8
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
from phosphene.pipelines.generators.options import PretrainedOptions, published_entry
from phosphene.pipelines.generators.overflow import refuse_overflow
from phosphene.pipelines.generators.pipeline_folder import load_pipeline, weights_fingerprint
from phosphene.schemas import ComponentFile
from phosphene.storage import load_tensors, save_tensors
from phosphene.types import BrainEmbedding

__all__ = ["PretrainedGenerator"]

logger = logging.getLogger(__name__)
PROMPT_NAME = "prompt.safetensors"


class PretrainedGenerator(Generator):
    """Renders embeddings by the networks of a published pipeline.

    The networks are called directly, by one loop for all: so every item has its own random
    stream, a picture can start from any other, and no pipeline mixes the items of a batch.

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

    options_class: ClassVar[type[PretrainedOptions]] = PretrainedOptions
    pipeline_class: ClassVar[str]

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
        self.unet: Any = pipeline.unet.eval().requires_grad_(False)
        self.scheduler = choose_scheduler(pipeline.scheduler, options.scheduler)
        self.prompt = prompt or {}
        found = find_generator(entry_name)
        published = None if found is None else found[1].embedding
        check_target(entry_name, self.wanted, published, target)
        self.latents = self.make_latents()
        self.device = torch.device("cpu")
        if options.tiling:
            self.pipeline.vae.enable_tiling()
        switch_attention(self.unet, options.attention, self._try_network)

    # What an adapter says about itself -------------------------------------------------------

    @property
    @abstractmethod
    def wanted(self) -> Wanted:
        """What the loaded networks take."""

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

    def make_latents(self) -> LatentTarget | None:
        """Return the autoencoder as target of a low-level branch."""
        return latent_target(self.pipeline.vae, self.size)

    def length(self) -> float | None:
        """Return the mean length of embeddings, where it is known."""
        return self.options.embedding_length

    @classmethod
    def encode_prompts(cls, pipeline: Any, options: PretrainedOptions) -> dict[str, Tensor]:
        """Encode both prompts once; nothing where the networks take none."""
        return {}

    # What all share ---------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.options.size or int(self.unet.config.sample_size) * self.reduction

    @property
    def reduction(self) -> int:
        """Pixels per latent, along one side."""
        vae = getattr(self.pipeline, "vae", None) or self.pipeline.movq
        return int(2 ** (len(vae.config.block_out_channels) - 1))

    @property
    def guided(self) -> bool:
        """Whether the network is called with and without a condition."""
        return self.options.guidance_scale > 1

    @classmethod
    def open(
        cls,
        name: str,
        target: StimulusEncoder,
        *,
        source: str | None = None,
        options: dict[str, Any] | None = None,
        prompt: dict[str, Tensor] | None = None,
    ) -> Self:
        """Load a published generator by its name in ``generators.yaml``.

        Parameters
        ----------
        name : str
        target : StimulusEncoder
        source : str, optional
            ``local-dir:FOLDER``; the hub's cache by default. Nothing is downloaded.
        options : dict, optional
            Changes of the entry's own options.
        """
        entry_name, entry = published_entry(name, cls.name)
        folders = generator_parts(entry_name, entry, source)
        settings = cls.read_options({**entry.options, **(options or {})})
        pipeline = cls.read_pipeline(folders["pipeline"])
        cls.add_parts(pipeline, folders, entry)
        if prompt is None:
            prompt = cls.encode_prompts(pipeline, settings)
        return cls(pipeline, target, settings, entry_name=entry_name, source=source, prompt=prompt)

    @classmethod
    def read_pipeline(cls, folder: Path) -> Any:
        """Return the pipeline of its folder."""
        return load_pipeline(cls.pipeline_class, folder)

    @classmethod
    def add_parts(cls, pipeline: Any, folders: dict[str, Path], entry: KnownGenerator) -> None:
        """Load what lies outside of the pipeline's own repository."""

    @classmethod
    def read_options(cls, values: dict[str, Any]) -> PretrainedOptions:
        """Return checked options."""
        return resolve_config(cls.options_class, flags=values)

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        stored = ComponentFile.load(folder / "config.json")
        expected = {"entry", "source", "condition", "weights", "options"}
        if stored.name != cls.name or set(stored.config) != expected:
            raise InputError(
                f"{folder} holds {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the generator {cls.name!r} with {', '.join(sorted(expected))}",
                remedy="name the generator this model was saved with",
            )
        config = stored.config
        if config["condition"] != target.spec.hash:
            raise InputError(
                f"the generator in {folder} renders embeddings of {config['condition']}",
                expected=f"those of the target {target.name}, {target.spec.hash}",
                remedy="use a generator that was trained on this target",
            )
        path = folder / PROMPT_NAME
        prompt = load_tensors(path) if path.is_file() else {}
        made = cls.open(
            config["entry"],
            target,
            source=config["source"],
            options=config["options"],
            prompt=prompt,
        )
        if made.fingerprint != config["weights"]:
            raise InputError(
                f"the weights of {config['entry']} here are {made.fingerprint}",
                expected=f"{config['weights']}, which the model in {folder} was made with",
                remedy="fetch the same release of these weights",
            )
        return made

    def save(self, folder: Path) -> None:
        """Write names, settings and encoded prompts; published weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.prompt:
            save_tensors(folder / PROMPT_NAME, self.prompt)
        ComponentFile(
            kind="generator",
            name=self.name,
            config={
                "entry": self.entry_name,
                "source": self.source,
                "condition": self.target.spec.hash,
                "weights": self.fingerprint,
                "options": self.options.model_dump(mode="json"),
            },
        ).save(folder / "config.json")

    def with_options(self, options: dict[str, Any]) -> Self:
        changed = {**self.options.model_dump(), **options}
        same = not {"prompt", "negative_prompt"} & set(options)
        return self.open(
            self.entry_name,
            self.target,
            source=self.source,
            options=changed,
            prompt=self.prompt if same else None,
        )

    @property
    def settings(self) -> dict[str, str]:
        """What decides its pictures besides the model, for the record of a run."""
        return {
            "published": self.entry_name,
            "generator_weights": self.fingerprint,
            "options": self.options.model_dump_json(),
        }

    @property
    def fingerprint(self) -> str:
        """Identity of the UNet's weights."""
        return weights_fingerprint(self.unet)

    def to(self, device: str | torch.device) -> Self:
        self.device = torch.device(device)
        automatic = torch.float16 if self.device.type == "cuda" else torch.float32
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
    ) -> Pictures | Tensor:
        self.check(condition, generators)
        steps = self.options.steps if num_inference_steps is None else num_inference_steps
        if steps < 1 or not 0 <= strength <= 1:
            raise UsageError(
                f"{steps} steps at strength {strength}",
                expected="at least one step, and a strength from 0 to 1",
            )
        if init is None and strength < 1:
            raise UsageError(
                f"a strength of {strength} without a picture to start from",
                expected="an init, or strength 1",
            )
        if init is not None:
            kept = kept_signal(self.scheduler, steps, strength)
            logger.info("strength %g keeps %.3f of the start's power", strength, kept)
        embedding = at_own_length(self.target, condition.main.float(), self.length())
        start = None if init is None or strength == 1 else self._start(init)
        parts = []
        size = self.options.batch or (4 if self.device.type == "cuda" else 1)
        # Blocks of one size: how a matrix product rounds depends on its number of rows.
        for first in range(0, len(condition), size):
            rows = torch.arange(first, first + size).clamp(max=len(condition) - 1)
            block = padded(generators[first : first + size], size)
            here = None if start is None else start[rows].to(self.device)
            found = self._render(embedding[rows].to(self.device), here, block, steps, strength)
            parts.append(found[: len(condition) - first].cpu())
        pictures = torch.cat(parts)
        return to_uint8(pictures) if output_type == "np" else pictures

    def _render(
        self,
        embedding: Tensor,
        start: Tensor | None,
        generators: Sequence[torch.Generator],
        steps: int,
        strength: float,
    ) -> Tensor:
        free = zero_embedding(self.target, embedding)
        side = self.size // self.reduction
        channels = int(self.unet.config.in_channels)
        inputs = in_precision(self.inputs(embedding, free, generators), self.unet.dtype)
        noise = draw((channels, side, side), generators).to(self.device)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = torch.cat([noisy, noisy]) if self.guided else noisy
            found: Tensor = self.unet(
                rows.to(self.unet.dtype),
                time,
                return_dict=False,
                **in_precision(inputs, self.unet.dtype),
            )[0].float()
            if self.guided:
                found = guide(found, self.options.guidance_scale, channels)
            return found if takes_variance(self.scheduler) else found[:, :channels]

        latents = denoise(
            self.scheduler, predict, noise, generators, steps=steps, start=start, strength=strength
        )
        refuse_overflow(latents, where="the UNet")
        return refuse_overflow(self.decode(latents), where="the autoencoder")

    def _start(self, init: Tensor) -> Tensor:
        """Return latents as they are; pictures (n, 3, H, W) in 0..1 are resized and encoded."""
        side = self.size // self.reduction
        if tuple(init.shape[1:]) == (int(self.unet.config.in_channels), side, side):
            return init.float()
        if init.ndim != 4 or init.shape[1] != 3:
            raise InputError(
                f"an init of shape {tuple(init.shape[1:])}",
                expected=f"latents {(self.unet.config.in_channels, side, side)} or pictures "
                "(3, height, width)",
            )
        pictures = init.float()
        if pictures.shape[-2:] != (self.size, self.size):
            pictures = F.interpolate(
                pictures, (self.size, self.size), mode="bilinear", antialias=True
            ).clamp(0, 1)
        return torch.cat([self.encode(one[None].to(self.device) * 2 - 1).cpu() for one in pictures])

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
