"""Stable Diffusion 1.5 that keeps to a decoded depth map: ControlNet beside IP-Adapter.

Zhang et al. 2023, *Adding conditional control to text-to-image diffusion models*; Ye et al. 2023
(IP-Adapter). The embedding says what is there, the depth map where; decoders that predict depth
apart are those of Takagi and Nishimoto 2023 and of Xia et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.registry import KnownGenerator
from phosphene.errors import InputError
from phosphene.pipelines.generators.ip_adapter import IPAdapter, IPAdapterOptions
from phosphene.pipelines.generators.options import PretrainedOptions
from phosphene.pipelines.generators.pipeline_folder import load_part, weights_fingerprint
from phosphene.pipelines.generators.prompts import prompt_rows
from phosphene.storage import hash_bytes
from phosphene.types import BrainEmbedding

__all__ = ["ControlNetDepth"]


class ControlNetOptions(IPAdapterOptions):
    """Settings of a ControlNet.

    Attributes
    ----------
    control_scale : float
        Weight of the map; 0 leaves it out.
    """

    control_scale: float = 1.0


class ControlNetDepth(IPAdapter):
    """Renders pooled embeddings and the map that stands beside them (``condition.control``)."""

    name: ClassVar[str] = "sd-controlnet-depth"
    options_class: ClassVar[type[PretrainedOptions]] = ControlNetOptions
    options: ControlNetOptions

    def __init__(self, pipeline: Any, *arguments: Any, **named: Any) -> None:
        self.controlnet: Any = pipeline.controlnet.eval().requires_grad_(False)
        super().__init__(pipeline, *arguments, **named)

    @classmethod
    def add_parts(cls, pipeline: Any, folders: dict[str, Path], entry: KnownGenerator) -> Any:
        """Return a pipeline with the adapter's weights in its UNet, and the ControlNet."""
        from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

        base = super().add_parts(pipeline, folders, entry)
        found = load_part(ControlNetModel, folders["controlnet"])
        given, wanted = (one.config.cross_attention_dim for one in (found, base.unet))
        if given != wanted:
            raise InputError(
                f"the ControlNet in {folders['controlnet']} reads words of {given} numbers",
                expected=f"{wanted}, as its UNet",
                remedy="name a generator whose parts belong together",
            )
        return StableDiffusionControlNetPipeline(
            **base.components, controlnet=found, requires_safety_checker=False
        )

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        super().to(device, dtype)
        self.controlnet.to(self.unet.dtype)
        return self

    def given_items(
        self, condition: BrainEmbedding, captions: Sequence[str] | None
    ) -> dict[str, Tensor]:
        found = super().given_items(condition, captions)
        control = condition.control
        if control is None or control.ndim != 4 or control.shape[1] not in (1, 3):
            shape = "none" if control is None else f"one of shape {tuple(control.shape[1:])}"
            raise InputError(
                f"a generator that keeps to a depth map, and {shape}",
                expected="condition.control (n, 1, h, w) in 0..1, near is bright",
                remedy="decode depth beside the embedding: see `Depth and edges` in the "
                "documentation of generators, or name another generator",
            )
        size = (self.size, self.size)
        fitted = F.interpolate(control.float(), size, mode="bilinear", antialias=True)
        return found | {"control": fitted.clamp(0, 1).expand(-1, 3, -1, -1)}

    def blank_items(self) -> dict[str, Tensor]:
        return {"control": torch.zeros(1, 3, self.size, self.size, device=self.device)}

    def call_unet(self, rows: Tensor, time: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Let the ControlNet add to what the UNet sees; it reads words, not the embedding."""
        if self.options.control_scale == 0:
            return super().call_unet(rows, time, inputs)
        control = self.given["control"]
        n = len(control)
        text = prompt_rows(self.given, "negative", "prompt", n, guided=self.guided)
        down, middle = self.controlnet(
            rows,
            time,
            encoder_hidden_states=text.to(rows),
            controlnet_cond=control.repeat(len(rows) // n, 1, 1, 1).to(rows),
            conditioning_scale=self.options.control_scale,
            return_dict=False,
        )
        more = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return super().call_unet(rows, time, inputs | more)

    @property
    def fingerprint(self) -> str:
        """Identity of the weights of UNet and ControlNet."""
        both = super().fingerprint + weights_fingerprint(self.controlnet)
        return hash_bytes(both.encode())[:16]
