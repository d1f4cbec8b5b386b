"""IP-Adapter on Stable Diffusion 1.5, SDXL and SDXL-Turbo: an embedding beside the prompt.

Ye et al. 2023, *IP-Adapter: text compatible image prompt adapter for text-to-image diffusion
models*. The library's own pipelines repeat the embeddings of a batch so often that every picture
attends to all of them; calling the UNet directly, each row has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.checkpoints.registry import KnownGenerator
from phosphene.errors import InputError
from phosphene.pipelines.generators.expected import Wanted
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.pipeline_folder import load_pipeline
from phosphene.pipelines.generators.pretrained import PretrainedGenerator
from phosphene.pipelines.generators.prompts import encode_prompts, prompt_rows, size_rows
from phosphene.storage import load_tensors, read_json

__all__ = ["IPAdapter"]


class IPAdapterOptions(PretrainedOptions):
    """Settings of IP-Adapter.

    Attributes
    ----------
    adapter_scale : float
        Weight of the embedding beside the prompt.
    """

    adapter_scale: float = 1.0


class IPAdapter(PretrainedGenerator):
    """Renders pooled embeddings (plain adapters) or tokens (plus adapters)."""

    name: ClassVar[str] = "ip-adapter"
    pipeline_class: ClassVar[str] = "StableDiffusionPipeline"
    options_class: ClassVar[type[PretrainedOptions]] = IPAdapterOptions
    options: IPAdapterOptions

    def __init__(self, pipeline: Any, *arguments: Any, **named: Any) -> None:
        super().__init__(pipeline, *arguments, **named)
        self.pipeline.set_ip_adapter_scale(self.options.adapter_scale)

    @classmethod
    def read_pipeline(cls, folder: Path) -> Any:
        """Return the pipeline of its folder, which tells whether it is an SDXL one."""
        listed = str(read_json(folder / "model_index.json").get("_class_name"))
        large = "StableDiffusionXLPipeline"
        return load_pipeline(large if listed == large else cls.pipeline_class, folder)

    @classmethod
    def add_parts(cls, pipeline: Any, folders: dict[str, Path], entry: KnownGenerator) -> Any:
        """Return the pipeline with the adapter's weights in its UNet."""
        (name,) = entry.parts["adapter"].files
        path = folders["adapter"] / name
        weights: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for key, value in load_tensors(path).items():
            part, _, rest = key.partition(".")
            if part not in weights:
                raise InputError(
                    f"{path} holds the tensor {key}",
                    expected="those of an IP-Adapter: image_proj and ip_adapter",
                    remedy="fetch it again with `phosphene models fetch`",
                )
            weights[part][rest] = value.float()
        try:
            pipeline.load_ip_adapter(
                weights, subfolder=None, weight_name=None, image_encoder_folder=None
            )
        except Exception as error:  # shapes of another network raise several kinds
            raise InputError(
                f"the adapter {path} does not fit the UNet ({error})",
                expected="an adapter that was trained for this pipeline",
                remedy="name a generator whose parts belong together",
            ) from error
        return pipeline

    @classmethod
    def encode_prompts(cls, pipeline: Any, options: PretrainedOptions) -> dict[str, Tensor]:
        return encode_prompts(
            pipeline, options.prompt, options.negative_prompt, keep_encoders=options.captions
        )

    @property
    def wanted(self) -> Wanted:
        projection = self.unet.encoder_hid_proj.image_projection_layers[0]
        if hasattr(projection, "proj_in"):
            return Wanted("tokens", int(projection.proj_in.in_features))
        return Wanted("pooled", int(projection.image_embeds.in_features))

    @property
    def large(self) -> bool:
        """Whether the UNet also takes sizes and a pooled prompt, as that of SDXL."""
        return bool(self.unet.config.addition_embed_type == "text_time")

    def inputs(
        self, embedding: Tensor, free: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Any]:
        n = len(embedding)
        if self.wanted.output == "pooled":
            free = torch.zeros_like(embedding)  # plain adapters were trained with zeros
        rows = torch.cat([free, embedding]) if self.guided else embedding
        more: dict[str, Any] = {"image_embeds": [rows[:, None]]}  # one picture per row
        if self.large:
            more["text_embeds"] = prompt_rows(
                self.given, "pooled_negative", "pooled_prompt", n, guided=self.guided
            )
            more["time_ids"] = size_rows(self.size, rows)
        text = prompt_rows(self.given, "negative", "prompt", n, guided=self.guided)
        return {"encoder_hidden_states": text, "added_cond_kwargs": more}
