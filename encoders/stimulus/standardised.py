"""Targets whose numbers are brought to mean 0 and variance 1 over the pictures of a training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder

__all__ = ["StandardisedTarget"]


class StandardisedTarget(nn.Module, StimulusEncoder):
    """A target that keeps mean and standard deviation of every number it gives."""

    size: int
    batch: int  # pictures at a time
    least_scale = 1e-6
    # Measured over training pictures; nothing changes before that.
    target_mean: Tensor
    target_scale: Tensor

    def keep_moments(self, shape: tuple[int, ...]) -> None:
        """Make room for mean and scale of an embedding of that shape."""
        self.register_buffer("target_mean", torch.zeros(shape))
        self.register_buffer("target_scale", torch.ones(shape))

    @property
    def reading(self) -> int:
        """Side of the pictures that are read, in pixels."""
        return self.size

    @abstractmethod
    def unscaled(self, pictures: Pictures) -> Tensor:
        """Return what is standardised (n, *shape) of fitted pictures (n, H, H, 3), uint8."""

    @torch.no_grad()
    def standardise(self, pictures: Pictures) -> None:
        """Measure mean and standard deviation of the target over pictures (n, H, W, 3)."""
        self.target_mean.zero_()
        self.target_scale.fill_(1)
        values = self.encode(pictures)
        self.target_mean.copy_(values.mean(0))
        self.target_scale.copy_(values.std(0, unbiased=False).clamp_min(self.least_scale))

    @torch.no_grad()
    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        self.eval()
        fitted = fit_pictures(pictures, size=self.reading, channels=3)
        parts = []
        for start in range(0, len(fitted), self.batch):
            found = self.unscaled(fitted[start : start + self.batch])
            parts.append(((found - self.target_mean) / self.target_scale).cpu())
        return torch.cat(parts)

    def on_device(self, pictures: Pictures) -> Tensor:
        """Return pictures (n, H, W, 3) as a tensor (n, 3, H, W), uint8, where the target is."""
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.target_mean.device)
