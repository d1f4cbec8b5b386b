"""Picture encoders of CLIP as transformers stores them: embeddings at their own length.

IP-Adapter (Ye et al. 2023), Kandinsky 2 and Stable unCLIP were trained on embeddings that keep
the length the network gives them, or on tokens of the layer before the last. Whoever decodes for
these generators predicts exactly that; unit-length embeddings of
:class:`~phosphene.encoders.stimulus.open_clip.OpenClipTarget` have lost it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder, network_hash
from phosphene.errors import AssetError, check_option
from phosphene.names import resolve_folder
from phosphene.schemas import TargetSpec

__all__ = ["ClipVisionTarget"]

BATCH = 64
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipVisionTarget(nn.Module, StimulusEncoder):
    """Pictures to standardised projected embeddings, or tokens, of a CLIP picture encoder.

    Parameters
    ----------
    model : dict
        Configuration of ``transformers.CLIPVisionModelWithProjection``.
    output : {"pooled", "tokens"}
        The projected class token, or all tokens of the layer before the last, without a norm.
    mean, std : sequence of 3 float
        Normalisation of colours in 0..1.
    """

    name = "clip-vision"
    # Measured over training pictures; they bring every number to mean 0 and variance 1.
    target_mean: Tensor
    target_scale: Tensor
    mean: Tensor
    std: Tensor

    @record_config
    def __init__(
        self,
        model: dict[str, Any],
        output: Literal["pooled", "tokens"] = "pooled",
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        check_option("output", output, ("tokens", "pooled"))
        self.output: Literal["pooled", "tokens"] = output
        settings: Any = CLIPVisionConfig(**model)
        self.network: Any = CLIPVisionModelWithProjection(settings)
        self.size = int(settings.image_size)
        side = self.size // int(settings.patch_size)
        shape = (
            (int(settings.projection_dim),)
            if output == "pooled"
            else (side**2 + 1, int(settings.hidden_size))
        )
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.register_buffer("target_mean", torch.zeros(shape))
        self.register_buffer("target_scale", torch.ones(shape))

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer="projected class token, standardised"
            if self.output == "pooled"
            else "all tokens before the last layer, standardised",
            output=self.output,
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
        tokens: Tensor = self.network(values, output_hidden_states=True).hidden_states[-2]
        return tokens

    @torch.no_grad()
    def zero_embedding(self) -> Tensor:
        """Return the embedding, at its own length, of an input of zeros.

        Generators were trained with it in place of a condition.
        """
        self.eval()
        device = self.target_mean.device
        return self.features(torch.zeros(1, 3, self.size, self.size, device=device))[0]

    @torch.no_grad()
    def standardise(self, pictures: Pictures) -> None:
        """Measure mean and standard deviation of the target over pictures (n, H, W, 3)."""
        self.target_mean.zero_()
        self.target_scale.fill_(1)
        values = self.encode(pictures)
        self.target_mean.copy_(values.mean(0))
        self.target_scale.copy_(values.std(0, unbiased=False).clamp_min(1e-6))

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        self.eval()
        fitted = fit_pictures(pictures, size=self.size, channels=3)
        parts = []
        for start in range(0, len(fitted), BATCH):
            part = torch.from_numpy(fitted[start : start + BATCH]).permute(0, 3, 1, 2)
            scaled = part.to(self.target_mean.device).float() / 255
            found = self.features((scaled - self.mean) / self.std)
            parts.append(((found - self.target_mean) / self.target_scale).cpu())
        return torch.cat(parts)

    @classmethod
    def from_transformers(
        cls, name: str, *, output: Literal["pooled", "tokens"] = "pooled"
    ) -> Self:
        """Take a published picture encoder: ``local-dir:FOLDER``, ``hf-hub:ID`` or a path."""
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
        made = cls(config, output)
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
