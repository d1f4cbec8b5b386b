"""Autoencoder latents as target: what the low-level branch predicts and generators start from.

Any diffusers autoencoder serves, of the kinds :data:`AUTOENCODERS` lists; its folder is
diffusers' own. Rombach et al. 2022, *High-resolution image synthesis with latent diffusion
models*.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder, network_hash
from phosphene.errors import check_option
from phosphene.schemas import ComponentFile, TargetSpec
from phosphene.storage import load_tensors, read_json

__all__ = ["AUTOENCODERS", "LatentTarget", "load_network"]

AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
BATCH = 64


class LatentTarget(nn.Module, StimulusEncoder):
    """Pictures to the latents of a diffusers autoencoder and back, both deterministic.

    Parameters
    ----------
    autoencoder : {"AutoencoderKL", "AutoencoderTiny"}
        Class in diffusers.
    options : dict
        Its configuration.
    size : int
        Side of the pictures in pixels.
    mean, scale : float
        Of the latents over training pictures; they bring them to mean 0 and variance 1.
    """

    name = "latents"
    can_decode = True

    @record_config
    def __init__(
        self,
        autoencoder: Literal["AutoencoderKL", "AutoencoderTiny"],
        options: dict[str, Any],
        size: int,
        mean: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        import diffusers

        check_option("autoencoder", autoencoder, AUTOENCODERS)
        self.vae = getattr(diffusers, autoencoder).from_config(options)
        self.size, self.mean, self.scale = size, mean, scale

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latent."""
        channels = int(self.vae.config.latent_channels)
        side = self.size // self._reduction
        return channels, side, side

    @property
    def _reduction(self) -> int:
        name = "block_out_channels" if "block_out_channels" in self.vae.config else ""
        name = name or "encoder_block_out_channels"
        return int(2 ** (len(self.vae.config[name]) - 1))

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer="posterior mean, standardised",
            output="lowlevel",
            shape=self.shape,
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "-1..1",
                "mean": self.mean,
                "scale": self.scale,
            },
            weights_hash=network_hash(self, self.config["options"]),
        )

    def standardise(self, pictures: Pictures) -> None:
        """Measure mean and standard deviation of the latents over pictures (n, H, W, 3)."""
        self._set(0.0, 1.0)
        latents = self.encode(pictures)
        self._set(float(latents.mean()), max(float(latents.std()), 1e-6))

    def _set(self, mean: float, scale: float) -> None:
        self.mean, self.scale = mean, scale
        object.__setattr__(self, "_recorded_config", {**self.config, "mean": mean, "scale": scale})

    def to_latents(self, pictures: Tensor) -> Tensor:
        """Return standardised latents (n, c, h, w) of pictures (n, 3, H, W) in -1..1."""
        encoded = self.vae.encode(pictures)
        latents = encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latents
        standardised: Tensor = (latents - self.mean) / self.scale
        return standardised

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        self.eval()
        fitted = fit_pictures(pictures, size=self.size, channels=3)
        parts = []
        for start in range(0, len(fitted), BATCH):
            part = torch.from_numpy(fitted[start : start + BATCH]).permute(0, 3, 1, 2)
            parts.append(self.to_latents(part.to(self._device).float() / 127.5 - 1).float().cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, embedding: Tensor) -> Tensor:
        self.eval()
        parts = []
        for part in embedding.to(self._device).split(BATCH):
            shown = self.vae.decode(part * self.scale + self.mean).sample
            parts.append((shown.float() / 2 + 0.5).clamp(0, 1))
        return torch.cat(parts)

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        target = Path(folder)
        self.vae.save_pretrained(target / "vae")
        ComponentFile(kind=self.kind, name=self.name, config=self.config).save(
            target / "config.json"
        )

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        import diffusers

        source = Path(folder)
        stored = ComponentFile.load(source / "config.json")
        target = cls.from_config(stored.config, source=str(source / "config.json"))
        target.vae = load_network(getattr(diffusers, stored.config["autoencoder"]), source / "vae")
        return target


def load_network(kind: Any, folder: Path) -> Any:
    """Return a network of diffusers from its folder; every tensor must be there and fit."""
    network = kind.from_config(read_json(folder / "config.json"))
    tensors = load_tensors(folder / "diffusion_pytorch_model.safetensors")
    check_tensors(network.state_dict(), tensors, owner=f"{kind.__name__} in {folder}")
    network.load_state_dict(tensors, strict=True)
    return network
