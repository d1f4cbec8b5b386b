"""Picture encoders of CLIP as transformers stores them: embeddings at their own length.

IP-Adapter (Ye et al. 2023), Kandinsky 2 and Stable unCLIP were trained on embeddings that keep
the length the network gives them, or on tokens of the layer before the last; the unCLIP SDXL of
MindEye2 (Scotti et al. 2024) on patch tokens of the last one; Versatile Diffusion (Xu et al. 2022)
and with it MindEye on projected tokens. Whoever decodes for these generators predicts exactly
that; unit-length embeddings of :class:`~phosphene.encoders.stimulus.open_clip.OpenClipTarget`
have lost it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import network_hash
from phosphene.encoders.stimulus.standardised import StandardisedTarget
from phosphene.errors import AssetError, check_option
from phosphene.names import resolve_folder
from phosphene.schemas import TargetSpec

__all__ = ["COLOURS", "ClipVisionTarget"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# (x + 1) / 2 before CLIP's own normalisation, for x in 0..1
PALE = (tuple(2 * one - 1 for one in CLIP_MEAN), tuple(2 * one for one in CLIP_STD))
COLOURS = {"clip": (CLIP_MEAN, CLIP_STD), "mindeye2": PALE}
Output = Literal["pooled", "tokens", "patches", "projected"]
LAYERS: dict[str, str] = {
    "pooled": "projected class token, standardised",
    "tokens": "all tokens before the last layer, standardised",
    "patches": "patch tokens of the last layer before its norm, standardised",
    "projected": "all tokens normed, projected, over the class token's length, standardised",
}


class ClipVisionTarget(StandardisedTarget):
    """Pictures to standardised projected embeddings, or tokens, of a CLIP picture encoder.

    Parameters
    ----------
    model : dict
        Configuration of ``transformers.CLIPVisionModelWithProjection``.
    output : {"pooled", "tokens", "patches", "projected"}
        The projected class token; all tokens of the layer before the last, without a norm; the
        patches' tokens of the last layer, without a norm; or all tokens of the last layer, normed
        and projected as the class token is, divided by the length of that one.
    mean, std : sequence of 3 float
        Normalisation of colours in 0..1.
    """

    name = "clip-vision"
    batch = 64
    mean: Tensor
    std: Tensor

    @record_config
    def __init__(
        self,
        model: dict[str, Any],
        output: Output = "pooled",
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        check_option("output", output, LAYERS)
        self.output: Output = output
        settings: Any = CLIPVisionConfig(**model)
        self.network: Any = CLIPVisionModelWithProjection(settings)
        self.size = int(settings.image_size)
        side = self.size // int(settings.patch_size)
        width, projected = int(settings.hidden_size), int(settings.projection_dim)
        shapes: dict[str, tuple[int, ...]] = {
            "pooled": (projected,),
            "tokens": (side**2 + 1, width),
            "patches": (side**2, width),
            "projected": (side**2 + 1, projected),
        }
        shape = shapes[output]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.keep_moments(shape)

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer=LAYERS[self.output],
            output="pooled" if self.output == "pooled" else "tokens",
            shape=tuple(self.target_mean.shape),
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": f"0..1, {list(self.config['mean'])}, {list(self.config['std'])}",
            },
            weights_hash=network_hash(self, {**self.config["model"], "output": self.output}),
        )

    def features(self, values: Tensor) -> Tensor:
        """Return the embedding at its own length for normalised pictures (n, 3, H, W)."""
        if self.output == "pooled":
            pooled: Tensor = self.network(values).image_embeds
            return pooled
        if self.output == "tokens":
            tokens: Tensor = self.network(values, output_hidden_states=True).hidden_states[-2]
            return tokens
        last: Tensor = self.network(values).last_hidden_state
        if self.output == "patches":
            patches: Tensor = last[:, 1:]
            return patches
        inner = self.network.vision_model
        projected = self.network.visual_projection(inner.post_layernorm(last))
        scaled: Tensor = projected / projected[:, :1].norm(dim=-1, keepdim=True)
        return scaled

    def zero_embedding(self) -> Tensor:
        """Return the embedding, at its own length, of an input of zeros.

        Generators were trained with it in place of a condition.
        """
        return self.plain_embedding(self.mean)

    @torch.no_grad()
    def plain_embedding(self, colour: Tensor | float) -> Tensor:
        """Return the embedding, at its own length, of a picture of one colour in 0..1."""
        self.eval()
        shape = (1, 3, self.size, self.size)
        values = (torch.zeros(shape, device=self.mean.device) + colour - self.mean) / self.std
        return self.features(values)[0]

    def unscaled(self, pictures: Pictures) -> Tensor:
        return self.features((self.on_device(pictures).float() / 255 - self.mean) / self.std)

    @classmethod
    def from_transformers(
        cls,
        name: str,
        *,
        output: Output = "pooled",
        colours: Literal["clip", "mindeye2"] = "clip",
    ) -> Self:
        """Take a published picture encoder.

        Parameters
        ----------
        name : str
            ``local-dir:FOLDER``, ``hf-hub:ID`` or a path.
        output
            As for the class.
        colours : {"clip", "mindeye2"}
            As CLIP was trained, or as all embeddings of MindEye2 were made: values in 0..1 given
            to a network that expects -1..1, so that pictures are paler than they are.
        """
        moments = COLOURS[check_option("colours", colours, COLOURS)]
        from transformers import CLIPVisionModelWithProjection

        folder = resolve_folder(name)
        try:
            network: Any = CLIPVisionModelWithProjection.from_pretrained(
                folder, local_files_only=True
            )
        except Exception as error:  # transformers raises many kinds
            raise AssetError(
                f"the picture encoder in {folder} could not be loaded ({error})",
                expected="config.json and model.safetensors of a CLIPVisionModelWithProjection",
                remedy="name the folder of the picture encoder, often called image_encoder",
            ) from error
        config = _settings(network.config.to_dict())
        made = cls(config, output, *moments)
        weights = {key: value.float() for key, value in network.state_dict().items()}
        check_tensors(made.network.state_dict(), weights, owner=f"the picture encoder in {folder}")
        made.network.load_state_dict(weights, strict=True)
        return made


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return what describes the network, without what describes a file."""
    kept = (
        "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
        "num_attention_heads", "num_channels", "image_size", "patch_size", "hidden_act",
        "layer_norm_eps",
    )  # fmt: skip
    return {key: config[key] for key in kept if key in config}
