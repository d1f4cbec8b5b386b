"""Let SDXL go over the pictures of another generator, led by a caption.

Podell et al. 2023 (SDXL); Meng et al. 2022 (starting from a picture). MindEye2 (Scotti et al. 2024)
does so with a caption that is decoded from the brain as well; its ablation finds an empty one
hardly worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.pretrained import PretrainedGenerator
from phosphene.pipelines.generators.prompts import encode_prompts, prompt_rows, size_rows
from phosphene.pipelines.generators.starts import start_latents
from phosphene.pipelines.generators.step_progress import StepEnd
from phosphene.storage import hash_bytes
from phosphene.types import BrainEmbedding

__all__ = ["Refine"]


class RefineOptions(PretrainedOptions):
    """Settings of the refinement.

    Attributes
    ----------
    of : str
        The generator whose pictures are refined: ``NAME`` or ``NAME:PLACE``.
    of_options : dict
        Its settings.
    change : float
        Share of the steps that is run on its pictures: 0 keeps them.
    """

    of: str = ""
    of_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    change: float = 0.48


class Refine(PretrainedGenerator):
    """Renders by another generator, and refines what it rendered.

    Embeddings, starts and strength are those of the other one; a strength of 0 returns the start.
    """

    name: ClassVar[str] = "refine"
    pipeline_class: ClassVar[str] = "StableDiffusionXLPipeline"
    options_class: ClassVar[type[PretrainedOptions]] = RefineOptions
    options: RefineOptions

    def __init__(
        self, pipeline: Any, target: StimulusEncoder, options: RefineOptions, **named: Any
    ) -> None:
        from phosphene.pipelines.generators.choosing import open_generator

        if not options.of or not 0 <= options.change <= 1:
            raise UsageError(
                f"the generator refine with of={options.of!r} and change={options.change}",
                expected="the generator whose pictures are refined, and a share from 0 to 1",
                remedy="--set generator_options.of=kandinsky22, for example",
            )
        _, _, place = options.of.partition(":")
        own = Path(place) if place else Path()
        self.inner: Generator = open_generator(options.of, own, target, options.of_options)
        super().__init__(pipeline, target, options, **named)

    @property
    def wanted(self) -> None:
        return None  # the other one has looked at the target

    @classmethod
    def encode_prompts(cls, pipeline: Any, options: PretrainedOptions) -> dict[str, Tensor]:
        return encode_prompts(
            pipeline, options.prompt, options.negative_prompt, keep_encoders=options.captions
        )

    def make_latents(self) -> LatentTarget | None:
        self.own_latents = super().make_latents()
        return self.inner.latents

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        n, guided = len(embedding), self.guided
        text = prompt_rows(self.given, "negative", "prompt", n, guided=guided)
        pooled = prompt_rows(self.given, "pooled_negative", "pooled_prompt", n, guided=guided)
        more = {"text_embeds": pooled, "time_ids": size_rows(self.size, pooled)}
        return {"encoder_hidden_states": text, "added_cond_kwargs": more}

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        self.inner.to(device, dtype)
        return super().to(device, dtype)

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
        given = self.given_items(condition, captions)
        rendered = self.inner.generate(
            condition,
            init=init,
            strength=strength,
            generators=generators,
            num_inference_steps=num_inference_steps,
            output_type="pt",
        )
        assert isinstance(rendered, Tensor)
        change = self.options.change if strength > 0 else 0.0
        pictures = rendered.float().cpu()
        if change > 0:
            shown = pictures.expand(-1, 3, -1, -1).to(self.device)
            pictures = self.paint(
                torch.zeros(len(shown), 1),
                start_latents(shown, self.latent_shape, self.size, self.encode),
                generators,
                steps=self.options.steps,
                strength=change,
                given=given,
                callback=callback_on_step_end,
            )
        return to_uint8(pictures) if output_type == "np" else pictures

    def free_embedding(self, embedding: Tensor) -> Tensor:
        return embedding

    def encode(self, pictures: Tensor) -> Tensor:
        assert self.own_latents is not None
        return self.own_latents.to_latents(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        assert self.own_latents is not None
        return self.own_latents.decode(latents)

    @property
    def fingerprint(self) -> str:
        """Identity of the weights of both."""
        inner = getattr(self.inner, "fingerprint", self.inner.name)
        return hash_bytes((super().fingerprint + inner).encode())[:16]

    @property
    def settings(self) -> dict[str, str]:
        return super().settings | {f"refined_{k}": v for k, v in self.inner.settings.items()}
