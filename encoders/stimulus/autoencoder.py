"""A small variational autoencoder of pictures, for laboratories with small pictures.

Kingma and Welling 2014, *Auto-encoding variational Bayes*: the decoder's picture follows a
Bernoulli distribution per value, the latent a standard normal one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.schemas import TargetSpec
from phosphene.storage import hash_bytes

__all__ = ["PictureAutoencoder"]

BATCH = 256
HIDDEN = 256


class PictureAutoencoder(nn.Module, StimulusEncoder):
    """Pictures to a few numbers and back.

    Parameters
    ----------
    size : int
        Side of the pictures in pixels, at least 8.
    channels : {1, 3}
    latent : int
        Numbers per picture.
    width : int
        Channels of the first convolution; doubled at each halving of the side, up to fourfold.
    """

    name = "autoencoder"
    can_decode = True
    # Measured over the training pictures; they bring every latent to mean 0 and variance 1.
    latent_mean: Tensor
    latent_scale: Tensor

    @record_config
    def __init__(self, size: int, channels: int = 1, latent: int = 12, width: int = 16) -> None:
        super().__init__()
        if size < 8 or channels not in (1, 3) or latent < 1 or width < 1:
            raise UsageError(
                f"an autoencoder of size {size}, {channels} channels, latent {latent} and width "
                f"{width}",
                expected="size >= 8, 1 or 3 channels, latent >= 1, width >= 1",
            )
        self.size, self.channels, self.latent, self.width = size, channels, latent, width
        self.encoder = _encoder(size, channels, latent, width)
        self.decoder = _decoder(size, channels, latent, width)
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_scale", torch.ones(latent))

    @property
    def spec(self) -> TargetSpec:
        weights = b"".join(
            name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
            for name, tensor in sorted(self.state_dict().items())
        )
        return TargetSpec(
            name=self.name,
            layer="posterior mean, standardised",
            output="pooled",
            shape=(self.latent,),
            preprocessing={
                "size": self.size,
                "channels": self.channels,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "0..1",
            },
            weights_hash=hash_bytes(weights)[:16],
        )

    def posterior(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance (n, latent) of pictures (n, C, H, W) in 0..1."""
        mean, log_variance = self.encoder(pictures).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 8)

    def logits(self, latent: Tensor) -> Tensor:
        """Return pictures (n, C, H, W) before the sigmoid, from latents (n, latent)."""
        out: Tensor = self.decoder(latent)
        return out[..., : self.size, : self.size]

    def training_loss(
        self, pictures: Tensor, generator: torch.Generator, kl_weight: float
    ) -> dict[str, Tensor]:
        """Return the negative evidence lower bound per picture, and its two parts (nats)."""
        mean, log_variance = self.posterior(pictures)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        logits = self.logits(mean + noise * torch.exp(0.5 * log_variance))
        error = F.binary_cross_entropy_with_logits(logits, pictures, reduction="sum")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        n_items = len(pictures)
        return {
            "loss": (error + kl_weight * divergence) / n_items,
            "reconstruction": error / n_items,
            "divergence": divergence / n_items,
        }

    @torch.no_grad()
    def standardise(self, pictures: Tensor) -> None:
        """Measure mean and standard deviation of each latent over these pictures."""
        means = torch.cat([self.posterior(part)[0] for part in pictures.split(BATCH)])
        self.latent_mean.copy_(means.mean(0))
        self.latent_scale.copy_(means.std(0, unbiased=False).clamp_min(1e-6))

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        self.eval()
        fitted = fit_pictures(pictures, size=self.size, channels=self.channels)
        device = self.latent_mean.device
        parts = []
        for start in range(0, len(fitted), BATCH):
            part = torch.from_numpy(fitted[start : start + BATCH]).to(device)
            mean, _ = self.posterior(part.permute(0, 3, 1, 2).float() / 255)
            parts.append((mean - self.latent_mean) / self.latent_scale)
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def decode(self, embedding: Tensor) -> Tensor:
        self.eval()
        latent = embedding.to(self.latent_mean) * self.latent_scale + self.latent_mean
        return torch.cat([self.logits(part).sigmoid() for part in latent.split(BATCH)])


def _encoder(size: int, channels: int, latent: int, width: int) -> nn.Sequential:
    """Halve the side until it is at most 4, then map to mean and log-variance."""
    layers: list[nn.Module] = []
    side, before, after = size, channels, width
    while side > 4:
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
        side, before, after = (side + 1) // 2, after, min(2 * after, 4 * width)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * side**2, 2 * latent))


def _decoder(size: int, channels: int, latent: int, width: int) -> nn.Sequential:
    """Map to a small grid, then double its side until the picture is covered."""
    side, levels = size, 0
    while side > 7:
        side, levels = (side + 1) // 2, levels + 1
    widths = [min(2**level, 4) * width for level in range(levels, -1, -1)]
    layers: list[nn.Module] = [
        nn.Linear(latent, HIDDEN),
        nn.SiLU(),
        nn.Linear(HIDDEN, widths[0] * side**2),
        nn.SiLU(),
        nn.Unflatten(1, (widths[0], side, side)),
    ]
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))
